"""Tokens of programs: shown once, kept as a hash, confined to a role, expiring.

A token is 256 random bits behind its id (`cw_ID_SECRET`). Its hash is SHA-256: what cannot be guessed needs no slow
hash, and every call is checked, so a slow one would be a lever for others (docs/adr/0008-access.md).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from twin.access.chain import append
from twin.access.file import File
from twin.access.roles import GRANTS, Caller
from twin.access.users import check_grant, check_name, departments_of
from twin.errors import AccessError

DAY_MS = 86_400_000
LONGEST_DAYS = 730.0
MOST_TOKENS = 10_000
SEEN_MS = 60_000  # the last use is noted this often at most
FORM = re.compile(r"cw_([0-9a-f]{12})_([A-Za-z0-9_-]{43})\Z")


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it may be shown. `user`: whose it is, '' for a program's own; `role`: its own grant, or its limit."""

    id: str
    name: str
    user: str
    role: str
    departments: tuple[str, ...]
    created_ms: int
    expires_ms: int
    seen_ms: int


class Tokens:
    """Every token that has not been revoked."""

    def __init__(self, file: File) -> None:
        self._file = file

    def all(self) -> list[Token]:
        """Every token, newest first; expired ones too."""
        return [_token(row) for row in self._file.read("SELECT * FROM tokens ORDER BY created_ms DESC, id")]

    def create(
        self, name: str, role: str, days: float, by: str, *, user: str = "", departments: Sequence[str] = ()
    ) -> tuple[str, Token]:
        """A new token and what may be shown of it. `user`: acts as that person, and no longer than that account lives.

        Raises AccessError: unknown role or user, a term that is too long, a name that is taken.
        """
        check_name(name)
        if role not in GRANTS:
            raise AccessError(f"no role {role[:40]!r} (there are: {', '.join(GRANTS)})", f"没有角色“{role[:40]}”")
        if not user and role != "ingest" and role != "metrics":
            check_grant(role, departments)
        if not 0 < days <= LONGEST_DAYS:
            raise AccessError(f"a token lives more than 0 and at most {LONGEST_DAYS:g} days", "令牌有效期须为0至730天")
        now, id_, secret = self._file.now_ms(), secrets.token_hex(6), secrets.token_urlsafe(32)
        made = Token(id_, name, user, role, tuple(departments), now, now + round(days * DAY_MS), 0)
        with self._file.write() as link:
            _free(link, name, user)
            told = json.dumps(list(departments))
            link.execute("INSERT INTO tokens VALUES (?,?,?,?,?,?,?,?,0)",
                         (id_, _digest(secret), name, user, role, told, now, made.expires_ms))  # fmt: skip
            detail = f"{role} {' '.join(departments)}".strip() + (f" as {user}" if user else "")
            append(link, "audit", now, by, "token_created", f"{name} {id_}", "", detail)
        return f"cw_{id_}_{secret}", made

    def revoke(self, id_: str, by: str) -> Token:
        """End a token, by its id. Raises AccessError where there is none."""
        with self._file.write() as link:
            row = link.execute("SELECT * FROM tokens WHERE id = ?", (id_,)).fetchone()
            if row is None:
                raise AccessError(f"there is no token {id_[:40]!r}", f"没有令牌“{id_[:40]}”", why="unknown")
            link.execute("DELETE FROM tokens WHERE id = ?", (id_,))
            append(link, "audit", self._file.now_ms(), by, "token_revoked", f"{row['name']} {id_}")
        return _token(row)

    def caller(self, told: str) -> Caller | None:
        """Whose token it is; None for an unknown, expired or revoked one, and one of a disabled user."""
        form = FORM.match(told)
        rows = self._file.read("SELECT * FROM tokens WHERE id = ?", (form[1],)) if form else []
        digest = _digest(form[2] if form else "")
        if not rows or not hmac.compare_digest(bytes(rows[0]["digest"]), digest):
            return None
        row = rows[0]
        if row["expires_ms"] <= self._file.now_ms():
            return None
        if not row["user"]:
            return Caller(row["name"], row["role"], "token", departments_of(row))
        user = self._file.read("SELECT * FROM users WHERE name = ? AND disabled = 0", (row["user"],))
        if not user:
            return None
        return Caller(
            user[0]["name"], user[0]["role"], "token", departments_of(user[0]), row["role"], user[0]["full_name"]
        )

    def stale(self, told: str) -> bool:
        """Whether a token's last use should be noted."""
        form = FORM.match(told)
        limit = self._file.now_ms() - SEEN_MS
        return form is not None and bool(
            self._file.read("SELECT 1 FROM tokens WHERE id = ? AND seen_ms < ?", (form[1], limit))
        )

    def note_use(self, told: str) -> None:
        """Remember that a token is in use."""
        form = FORM.match(told)
        if form:
            with self._file.write() as link:
                link.execute("UPDATE tokens SET seen_ms = ? WHERE id = ?", (self._file.now_ms(), form[1]))


def _free(link: sqlite3.Connection, name: str, user: str) -> None:
    if link.execute("SELECT COUNT(*) FROM tokens").fetchone()[0] >= MOST_TOKENS:
        raise AccessError(f"there are {MOST_TOKENS} tokens already: revoke some", f"令牌数已达上限{MOST_TOKENS}")
    if user and link.execute("SELECT 1 FROM users WHERE name = ?", (user,)).fetchone() is None:
        raise AccessError(f"there is no user {user[:40]!r}", f"没有用户“{user[:40]}”", why="unknown")
    if not user and link.execute("SELECT 1 FROM users WHERE name = ?", (name,)).fetchone():
        raise AccessError(f"{name!r} is a user: give another name, or --user", f"“{name}”是用户名，请另取名称")


def _token(row: sqlite3.Row) -> Token:
    return Token(
        row["id"], row["name"], row["user"], row["role"], departments_of(row), row["created_ms"], row["expires_ms"],
        row["seen_ms"],
    )  # fmt: skip


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
