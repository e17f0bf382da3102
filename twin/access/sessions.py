"""Sessions of people who logged in: kept as a hash, ended by time, log-out, a new password, or an administrator."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from dataclasses import dataclass

from twin.access.chain import append
from twin.access.file import File
from twin.access.roles import Caller
from twin.access.users import departments_of
from twin.errors import AccessError

IDLE_MS = 12 * 3_600_000  # without a call
LONGEST_MS = 7 * 86_400_000  # at all
SEEN_MS = 60_000  # the last use is noted this often at most
MOST_OF_ONE = 16  # sessions of one user; the oldest goes
KNOWN_MS = 30 * 86_400_000  # an address from which somebody came in is known so long
LONGEST_AGENT = 120


@dataclass(frozen=True, slots=True)
class Session:
    """A session as it may be shown; nothing of it opens anything."""

    id: str
    user: str
    created_ms: int
    seen_ms: int
    until_ms: int
    address: str
    agent: str


class Sessions:
    """Who is logged in, and from where."""

    def __init__(self, file: File) -> None:
        self._file = file

    def open(self, user: str, address: str, agent: str) -> str:
        """A new session's secret for the cookie; the user's oldest goes when there are 16."""
        secret, id_, now = secrets.token_urlsafe(32), secrets.token_hex(6), self._file.now_ms()
        told = "".join(letter for letter in agent if letter.isprintable())[:LONGEST_AGENT]
        with self._file.write() as link:
            link.execute("DELETE FROM sessions WHERE seen_ms < ? OR created_ms < ?",
                         (now - IDLE_MS, now - LONGEST_MS))  # fmt: skip
            kept = "SELECT digest FROM sessions WHERE user = ? ORDER BY seen_ms DESC LIMIT ?"
            link.execute(f"DELETE FROM sessions WHERE user = ? AND digest NOT IN ({kept})",  # noqa: S608 - own words
                         (user, user, MOST_OF_ONE - 1))  # fmt: skip
            link.execute("INSERT INTO sessions VALUES (?,?,?,?,?,?,?)",
                         (_digest(secret), id_, user, now, now, address, told))  # fmt: skip
            link.execute("UPDATE users SET seen_ms = ? WHERE name = ?", (now, user))
            append(link, "audit", now, user, "logged_in", user, f"session {id_}", address)
        return secret

    def caller(self, secret: str) -> Caller | None:
        """Whose session it is, with the role that the user has now; None for one that has ended."""
        rows = self._file.read(
            "SELECT s.id, s.seen_ms, s.created_ms, u.name, u.full_name, u.role, u.departments FROM sessions s "
            "JOIN users u ON u.name = s.user WHERE s.digest = ? AND u.disabled = 0", (_digest(secret),),
        )  # fmt: skip
        now = self._file.now_ms()
        if not rows or rows[0]["seen_ms"] <= now - IDLE_MS or rows[0]["created_ms"] <= now - LONGEST_MS:
            return None
        row = rows[0]
        return Caller(row["name"], row["role"], "session", departments_of(row), "", row["full_name"], row["id"])

    def stale(self, secret: str) -> bool:
        """Whether the session's last use should be noted."""
        limit = self._file.now_ms() - SEEN_MS
        return bool(
            self._file.read("SELECT 1 FROM sessions WHERE digest = ? AND seen_ms < ?", (_digest(secret), limit))
        )

    def note_use(self, secret: str) -> None:
        """Remember that a session is in use."""
        with self._file.write() as link:
            link.execute("UPDATE sessions SET seen_ms = ? WHERE digest = ?", (self._file.now_ms(), _digest(secret)))

    def knows(self, user: str, address: str) -> bool:
        """Whether the user logged in from this address within the last 30 days."""
        since = self._file.now_ms() - KNOWN_MS
        query = (
            "SELECT 1 FROM entries WHERE book = 'audit' AND event = 'logged_in' AND subject = ? AND detail = ? "
            "AND at_ms > ? LIMIT 1"
        )
        return bool(self._file.read(query, (user, address, since)))

    def all(self, user: str = "") -> list[Session]:
        """Live sessions of a user, or of everybody, newest first."""
        now = self._file.now_ms()
        rows = self._file.read(
            "SELECT * FROM sessions WHERE (? = '' OR user = ?) AND seen_ms > ? AND created_ms > ? "
            "ORDER BY seen_ms DESC",
            (user, user, now - IDLE_MS, now - LONGEST_MS),
        )
        return [_session(row) for row in rows]

    def end(self, secret: str) -> None:
        """Log out; an unknown session is no error."""
        with self._file.write() as link:
            link.execute("DELETE FROM sessions WHERE digest = ?", (_digest(secret),))

    def end_all(self) -> None:
        """Everybody logs in anew: the file is a backup's, and what was open then may have been ended since."""
        with self._file.write() as link:
            link.execute("DELETE FROM sessions")

    def revoke(self, id_: str, by: str, user: str = "") -> None:
        """End a session by its id; with `user` only one of that user's. Raises AccessError where there is none."""
        with self._file.write() as link:
            row = link.execute("SELECT user FROM sessions WHERE id = ?", (id_,)).fetchone()
            if row is None or (user and row["user"] != user):
                raise AccessError(f"there is no session {id_[:40]!r}", f"没有会话“{id_[:40]}”", why="unknown")
            link.execute("DELETE FROM sessions WHERE id = ?", (id_,))
            append(link, "audit", self._file.now_ms(), by, "session_ended", id_, "", row["user"])


def _session(row: sqlite3.Row) -> Session:
    until = min(row["seen_ms"] + IDLE_MS, row["created_ms"] + LONGEST_MS)
    return Session(row["id"], row["user"], row["created_ms"], row["seen_ms"], until, row["address"], row["agent"])


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
