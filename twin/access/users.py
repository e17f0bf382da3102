"""Users: added, changed, let in by password. Every change stands in the audit book under who made it."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from twin.access.chain import append
from twin.access.file import File
from twin.access.passwords import Passwords, check_rules
from twin.access.roles import ROLES
from twin.errors import AccessError

NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,30}[a-z0-9])?\Z")
RESERVED = frozenset({"system", "script", "guest", "city", "receiver", "retention", "nobody", "all"})
MOST_USERS = 10_000
LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class User:
    """A person who may log in. Times in ms since 1970 UTC, 0 for never."""

    name: str
    full_name: str
    role: str
    departments: tuple[str, ...]
    disabled: bool
    created_ms: int
    password_ms: int
    seen_ms: int


class Users:
    """Everybody who has an account."""

    def __init__(self, file: File, passwords: Passwords) -> None:
        self._file, self._passwords = file, passwords

    def all(self) -> list[User]:
        """Every user, by name."""
        return [_user(row) for row in self._file.read("SELECT * FROM users ORDER BY name")]

    def get(self, name: str) -> User | None:
        """One user; None where there is none."""
        rows = self._file.read("SELECT * FROM users WHERE name = ?", (name,))
        return _user(rows[0]) if rows else None

    def any(self) -> bool:
        """Whether somebody can log in at all."""
        return bool(self._file.read("SELECT 1 FROM users WHERE disabled = 0 LIMIT 1"))

    def add(
        self, name: str, password: str, role: str, by: str, *, full_name: str = "", departments: Sequence[str] = ()
    ) -> User:
        """A new user. Raises AccessError: a name that is taken or cannot be one, a weak password, an unknown role."""
        check_name(name)
        check_grant(role, departments)
        check_rules(password, name)
        told = clean(full_name, LONGEST_NAME)
        hashed = self._passwords.hash(password)
        now = self._file.now_ms()
        with self._file.write() as link:
            taken = link.execute("SELECT 1 FROM users WHERE name = ? UNION SELECT 1 FROM tokens WHERE name = ?",
                                 (name, name)).fetchone()  # fmt: skip
            if taken:
                raise AccessError(f"the name {name!r} is taken", f"名称“{name}”已被使用")
            if link.execute("SELECT COUNT(*) FROM users").fetchone()[0] >= MOST_USERS:
                raise AccessError(f"there are {MOST_USERS} users already", f"用户数已达上限{MOST_USERS}")
            link.execute(
                "INSERT INTO users VALUES (?,?,?,?,?,0,?,?,0)",
                (name, told, role, json.dumps(list(departments)), hashed, now, now),
            )
            append(link, "audit", now, by, "user_added", name, "", _grant(role, departments))
        return User(name, told, role, tuple(departments), False, now, now, 0)

    def change_role(self, name: str, role: str, departments: Sequence[str], by: str) -> User:
        """Another role; the next call of each of the user's sessions has it. The last administrator stays one."""
        check_grant(role, departments)
        with self._file.write() as link:
            before = _must(link, name)
            if before.role == "admin" and role != "admin":
                _not_the_last(link, name)
            link.execute("UPDATE users SET role = ?, departments = ? WHERE name = ?",
                         (role, json.dumps(list(departments)), name))  # fmt: skip
            append(link, "audit", self._file.now_ms(), by, "role_changed", name, "", _grant(role, departments))
            return _must(link, name)

    def set_password(self, name: str, password: str, by: str, *, keep_session: str = "") -> None:
        """Another password; every session of the user but one ends, tokens stay."""
        check_rules(password, name)
        hashed = self._passwords.hash(password)
        now = self._file.now_ms()
        with self._file.write() as link:
            _must(link, name)
            link.execute("UPDATE users SET password = ?, password_ms = ? WHERE name = ?", (hashed, now, name))
            link.execute("DELETE FROM sessions WHERE user = ? AND id <> ?", (name, keep_session))
            append(link, "audit", now, by, "password_changed", name)

    def disable(self, name: str, by: str, *, disabled: bool = True) -> User:
        """Let a user in no more (or again); sessions end at once, and the user's tokens open nothing meanwhile."""
        with self._file.write() as link:
            if _must(link, name).role == "admin" and disabled:
                _not_the_last(link, name)
            link.execute("UPDATE users SET disabled = ? WHERE name = ?", (int(disabled), name))
            if disabled:
                link.execute("DELETE FROM sessions WHERE user = ?", (name,))
            append(link, "audit", self._file.now_ms(), by, "user_disabled" if disabled else "user_enabled", name)
            return _must(link, name)

    def remove(self, name: str, by: str) -> None:
        """Forget a user, with sessions and tokens; what the books say of the name stays."""
        with self._file.write() as link:
            if _must(link, name).role == "admin":
                _not_the_last(link, name)
            for statement in ("DELETE FROM users WHERE name = ?", "DELETE FROM sessions WHERE user = ?",
                              "DELETE FROM tokens WHERE user = ?"):  # fmt: skip
                link.execute(statement, (name,))
            append(link, "audit", self._file.now_ms(), by, "user_removed", name)

    def fits(self, name: str, password: str) -> User | None:
        """The user whose password it is; None for a wrong one, an unknown name and a disabled user, all as slowly."""
        rows = self._file.read("SELECT * FROM users WHERE name = ?", (name,))
        hashed = str(rows[0]["password"]) if rows else ""
        if not self._passwords.fits(password, hashed) or rows[0]["disabled"]:
            return None
        if self._passwords.outdated(hashed):
            again = self._passwords.hash(password)
            with self._file.write() as link:
                link.execute("UPDATE users SET password = ? WHERE name = ? AND password = ?", (again, name, hashed))
        return _user(rows[0])


def check_name(name: str) -> None:
    """Raise AccessError for a name that nobody can have."""
    if not NAME.match(name) or name in RESERVED:
        raise AccessError(
            f"{name[:40]!r} cannot be a name: give 1 to 32 of a-z, 0-9, dot, dash, underscore; "
            f"taken are {', '.join(sorted(RESERVED))}",
            "名称须为1至32个小写字母、数字、点、短横或下划线，且不为保留名",
        )


def check_grant(role: str, departments: Sequence[str]) -> None:
    """Raise AccessError for a role that there is not, or departments that do not go with it."""
    if role not in ROLES:
        raise AccessError(f"no role {role[:40]!r} (there are: {', '.join(ROLES)})", f"没有角色“{role[:40]}”")
    if (role == "department") != bool(departments):
        raise AccessError(
            "the role department names its departments, and only it does",
            "部门角色须指定所属部门，其他角色不得指定",
        )
    if len(departments) > 100 or not all(0 < len(one) <= 64 and one.isprintable() for one in departments):
        raise AccessError("a department is named by its id of the city's files", "部门须以城市文件中的编号指定")


def clean(text: str, longest: int) -> str:
    """A text of one line. Raises AccessError for control characters and what is too long."""
    told = text.strip()
    if len(told) > longest or not all(letter.isprintable() for letter in told):
        raise AccessError(f"give at most {longest} letters without control characters", f"请最多填写{longest}个字符")
    return told


def departments_of(row: sqlite3.Row) -> tuple[str, ...]:
    """The departments that a row of users or tokens is confined to."""
    return tuple(json.loads(row["departments"]))


def _grant(role: str, departments: Sequence[str]) -> str:
    return f"{role} {' '.join(departments)}".strip()


def _user(row: sqlite3.Row) -> User:
    return User(
        row["name"], row["full_name"], row["role"], departments_of(row), bool(row["disabled"]), row["created_ms"],
        row["password_ms"], row["seen_ms"],
    )  # fmt: skip


def _must(link: sqlite3.Connection, name: str) -> User:
    row = link.execute("SELECT * FROM users WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise AccessError(f"there is no user {name[:40]!r}", f"没有用户“{name[:40]}”", why="unknown")
    return _user(row)


def _not_the_last(link: sqlite3.Connection, name: str) -> None:
    query = "SELECT 1 FROM users WHERE role = 'admin' AND disabled = 0 AND name <> ?"
    if link.execute(query, (name,)).fetchone() is None and not _must(link, name).disabled:
        raise AccessError(
            f"{name} is the last administrator: make another one first", f"{name}是最后一名管理员：请先添加另一名"
        )
