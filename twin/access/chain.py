"""Hash-chained books: "reveals" (who saw whose personal data, and why) and "audit" (log-ins, users, rights, retention).

Each entry carries the hash of the one before it. A book may be shortened from its oldest end by retention; what is
left begins at the base, whose number and hash are kept, and the shortening stands in the audit book.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

GENESIS = "0" * 64
BOOKS = ("reveals", "audit")
FIELDS = ("book", "n", "at_ms", "actor", "event", "subject", "reason", "detail")
PAGE = 2000


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a book. `at_ms` is the machine's time; `hash` covers everything and the line before."""

    book: str
    n: int
    at_ms: int
    actor: str
    event: str
    subject: str
    reason: str
    detail: str
    hash: str


@dataclass(frozen=True, slots=True)
class Proof:
    """What reading a whole book found; `flaw` is '' when every line is as it was written."""

    book: str
    checked: int
    head: str
    flaw: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing was altered, taken out or put elsewhere."""
        return not self.flaw


def digest(prev: str, row: tuple[object, ...]) -> str:
    """SHA-256 over the hash before and the fields in one canonical form, as hexadecimal."""
    told = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256((prev + told).encode("utf-8", "surrogatepass")).hexdigest()


def append(
    link: sqlite3.Connection, book: str, at_ms: int, actor: str, event: str, subject: str,
    reason: str = "", detail: str = "",
) -> Entry:  # fmt: skip
    """Write one line, inside the caller's transaction."""
    head = link.execute("SELECT n, hash FROM heads WHERE book = ?", (book,)).fetchone()
    n, prev = (int(head["n"]) + 1, str(head["hash"])) if head else (1, GENESIS)
    row = (book, n, at_ms, actor, event, subject, reason, detail)
    told = digest(prev, row)
    link.execute("INSERT INTO entries VALUES (?,?,?,?,?,?,?,?,?,?)", (*row, prev, told))
    link.execute(
        "INSERT INTO heads VALUES (?, 0, ?, ?, ?) "
        "ON CONFLICT (book) DO UPDATE SET n = excluded.n, hash = excluded.hash",
        (book, GENESIS, n, told),
    )
    return Entry(*row, told)


def read(link: sqlite3.Connection, book: str, before: int, limit: int) -> list[Entry]:
    """Lines newest first; `before` goes on where a page ended (0: from the newest)."""
    columns = ", ".join((*FIELDS, "hash"))
    query = f"SELECT {columns} FROM entries WHERE book = ? AND n < ? ORDER BY n DESC LIMIT ?"  # noqa: S608 - own names
    return [Entry(*row) for row in link.execute(query, (book, before or 2**62, limit))]


def verify(link: sqlite3.Connection, book: str, expected_head: str = "") -> Proof:
    """Read a whole book and name the first line that is not as it was written.

    Who can write the file can write the chain anew: keep the head elsewhere and give it as `expected_head`.
    """
    head = link.execute("SELECT * FROM heads WHERE book = ?", (book,)).fetchone()
    if head is None:
        left = link.execute("SELECT COUNT(*) FROM entries WHERE book = ?", (book,)).fetchone()[0]
        flaw = "the head of the book is missing" if left else "the head given is not in the book" * bool(expected_head)
        return Proof(book, 0, GENESIS, flaw)
    last, prev, checked = int(head["base_n"]), str(head["base_hash"]), 0
    seen = not expected_head or expected_head == prev
    for row in _rows(link, book, last):
        if int(row["n"]) != last + 1:
            return Proof(book, checked, prev, f"line {last + 1} is missing")
        if row["prev"] != prev or digest(prev, tuple(row[name] for name in FIELDS)) != row["hash"]:
            return Proof(book, checked, prev, f"line {row['n']} was altered")
        last, prev, checked = int(row["n"]), str(row["hash"]), checked + 1
        seen = seen or prev == expected_head
    if last != int(head["n"]) or prev != head["hash"]:
        return Proof(book, checked, prev, f"lines after {last} are missing, up to {head['n']}")
    older = link.execute("SELECT COUNT(*) FROM entries WHERE book = ? AND n <= ?", (book, head["base_n"])).fetchone()[0]
    if older:
        return Proof(book, checked, prev, f"{older} lines stand before the beginning of the book")
    return Proof(book, checked, prev, "" if seen else "the head given is not in the book")


def shorten(link: sqlite3.Connection, book: str, before_ms: int) -> tuple[int, str]:
    """Take out the oldest lines that were written before an instant, inside the caller's transaction.

    Returns how many went, and the hash of the newest of them (the new base); nothing younger than an older line stays
    behind it. The newest line always stays.
    """
    head = link.execute("SELECT * FROM heads WHERE book = ?", (book,)).fetchone()
    if head is None:
        return 0, GENESIS
    young = link.execute("SELECT MIN(n) FROM entries WHERE book = ? AND at_ms >= ?", (book, before_ms)).fetchone()[0]
    upto = min(int(head["n"]), int(young) if young is not None else int(head["n"])) - 1
    if upto <= int(head["base_n"]):
        return 0, str(head["base_hash"])
    base = link.execute("SELECT hash FROM entries WHERE book = ? AND n = ?", (book, upto)).fetchone()[0]
    gone = link.execute("DELETE FROM entries WHERE book = ? AND n <= ?", (book, upto)).rowcount
    link.execute("UPDATE heads SET base_n = ?, base_hash = ? WHERE book = ?", (upto, base, book))
    return gone, str(base)


def _rows(link: sqlite3.Connection, book: str, after: int) -> Iterator[sqlite3.Row]:
    while rows := link.execute(
        "SELECT * FROM entries WHERE book = ? AND n > ? ORDER BY n LIMIT ?", (book, after, PAGE)
    ).fetchall():
        yield from rows
        after = int(rows[-1]["n"])
