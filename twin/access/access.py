"""The room's one door: users, sessions, tokens, log-in and the books over one file."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from argon2 import PasswordHasher

from twin.access import chain
from twin.access.chain import Entry, Proof
from twin.access.file import File
from twin.access.passwords import Passwords
from twin.access.sessions import Sessions
from twin.access.throttle import Throttle
from twin.access.tokens import Tokens
from twin.access.users import User, Users

FILE = "users.db"


class Access:
    """Who may come in, and what was done about it. Safe from any thread and beside another process."""

    def __init__(
        self, path: str | Path = ":memory:", *, now_s: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic, hasher: PasswordHasher | None = None,
    ) -> None:  # fmt: skip
        """Open the file. `now_s`: the machine's time; `clock`: a monotonic one (throttle). Raises AccessError."""
        self._file = File(path, now_s)
        self.users = Users(self._file, Passwords(hasher))
        self.tokens = Tokens(self._file)
        self.sessions = Sessions(self._file)
        self.throttle = Throttle(clock)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def log_in(self, name: str, password: str, address: str) -> User | float | None:
        """The user; None for a wrong name or password; seconds to wait where it was tried too often. Takes its time."""
        return self.wait_s(name, address) or self.check(name, password, address)

    def wait_s(self, name: str, address: str) -> float:
        """Seconds to wait before a log-in may be tried; 0: now, and the try is counted. Quick, as `check` is not."""
        return self.throttle.wait_s(name, address, known=self.sessions.knows(name, address))

    def check(self, name: str, password: str, address: str) -> User | None:
        """The user; None for a wrong name or password. Takes its time."""
        user = self.users.fits(name, password)
        if user is None:
            self.throttle.failed(name, address)
            # A stranger's made-up names stay out of the book, which would grow by what anybody types; they are counted,
            # so that both answers wait for one write and neither is told from the other by its time.
            if self.users.get(name) is not None:
                self.record("audit", name, "log_in_refused", name, detail=address)
            else:
                self.note("strangers", str(int(self.noted("strangers") or 0) + 1))
            return None
        self.throttle.succeeded(name, address)
        return user

    def note(self, name: str, value: str) -> None:
        """Keep a word of the machinery's own."""
        with self._file.write() as link:
            link.execute("INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                         (name, value))  # fmt: skip

    def noted(self, name: str) -> str:
        """A word that was kept; '' for none."""
        rows = self._file.read("SELECT value FROM meta WHERE name = ?", (name,))
        return str(rows[0]["value"]) if rows else ""

    # ---- the books -------------------------------------------------------------------------------------------

    def record(self, book: str, actor: str, event: str, subject: str, reason: str = "", detail: str = "") -> Entry:
        """Write a line, durable when this returns."""
        with self._file.write() as link:
            return chain.append(link, book, self._file.now_ms(), actor, event, subject, reason, detail)

    def record_once(self, book: str, actor: str, event: str, subject: str, detail: str) -> None:
        """Write a line unless the book has one of that event, subject and detail."""
        query = "SELECT 1 FROM entries WHERE book = ? AND event = ? AND subject = ? AND detail = ? LIMIT 1"
        with self._file.write() as link:
            if link.execute(query, (book, event, subject, detail)).fetchone() is None:
                chain.append(link, book, self._file.now_ms(), actor, event, subject, "", detail)

    def entries(self, book: str, *, before: int = 0, limit: int = 100) -> list[Entry]:
        """Lines of a book, newest first."""
        with self._file.snapshot() as link:
            return chain.read(link, book, before, limit)

    def told(self, book: str, event: str) -> list[tuple[str, str]]:
        """Subject and detail of every line of one event, oldest first."""
        query = "SELECT subject, detail FROM entries WHERE book = ? AND event = ? ORDER BY n"
        return [(row["subject"], row["detail"]) for row in self._file.read(query, (book, event))]

    def verify(self, book: str, head: str = "") -> Proof:
        """Read a whole book and name its first flaw."""
        with self._file.snapshot() as link:
            return chain.verify(link, book, head)

    def shorten(self, book: str, before_ms: int) -> int:
        """Retention: take out lines written before an instant; what went, and up to where, stands in the audit book."""
        with self._file.write() as link:
            gone, base = chain.shorten(link, book, before_ms)
            if gone:
                chain.append(link, "audit", self._file.now_ms(), "retention", "shortened", book, "", f"{gone} {base}")
        return gone

    def forget_tokens(self, before_ms: int) -> int:
        """Retention: tokens that expired before an instant; how many went."""
        with self._file.write() as link:
            return link.execute("DELETE FROM tokens WHERE expires_ms < ?", (before_ms,)).rowcount
