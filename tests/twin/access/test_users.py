"""Users, tokens and sessions: who is let in, for how long, and that a crash or a second process changes nothing."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.twin.access.conftest import QUICK, WORD, Turned
from twin.access import Access
from twin.access.throttle import ALL_BURST, ALL_RATE
from twin.errors import AccessError


def test_a_user_logs_in_until_disabled(access: Access) -> None:
    """The password lets in; after disabling neither password nor session nor token does, and back again."""
    access.users.add("mei.lin", WORD, "dispatcher", "console", full_name="林梅")
    assert access.log_in("mei.lin", WORD, "10.0.0.1")
    assert access.log_in("mei.lin", WORD + "!", "10.0.0.1") is None
    session = access.sessions.open("mei.lin", "10.0.0.1", "Firefox\x07")
    token, _ = access.tokens.create("desk", "operator", 1, "console", user="mei.lin")
    caller = access.sessions.caller(session)
    assert caller is not None
    assert (caller.name, caller.role, caller.full_name) == ("mei.lin", "dispatcher", "林梅")
    access.users.add("root-admin", WORD, "admin", "console")
    access.users.disable("mei.lin", "root-admin")
    assert access.log_in("mei.lin", WORD, "10.0.0.2") is None
    assert access.sessions.caller(session) is None
    assert access.tokens.caller(token) is None
    access.users.disable("mei.lin", "root-admin", disabled=False)
    assert access.log_in("mei.lin", WORD, "10.0.0.3")
    assert access.sessions.caller(session) is None


def test_role_changes_at_once(access: Access) -> None:
    """A session has the role that the user has now, not the one of its log-in."""
    access.users.add("a1", WORD, "operator", "console")
    session = access.sessions.open("a1", "x", "")
    access.users.change_role("a1", "department", ["lighting"], "console")
    caller = access.sessions.caller(session)
    assert caller is not None
    assert (caller.role, caller.departments, caller.confined) == ("department", ("lighting",), True)


@pytest.mark.parametrize(
    "word", ["short", "a" * 129, "aaaaaaaaaaaaaaaa", "password1234", "1234567890123", "mei.linmei.lin"[:7]]
)
def test_weak_passwords(access: Access, word: str) -> None:
    """Too short, too long, one letter over and over, well-known ones, and the name itself are refused."""
    with pytest.raises(AccessError):
        access.users.add("mei.lin", word, "operator", "console")
    assert access.users.all() == []


@pytest.mark.parametrize(
    "name", ["", "A", "a b", "系统", "system", "script", "guest", "-a", "a-", "a" * 33, "a\n", "lighting by"]
)
def test_names_that_nobody_can_have(access: Access, name: str) -> None:
    """No blanks, capitals, look-alikes or names of the machinery: a history tells people from programs."""
    with pytest.raises(AccessError):
        access.users.add(name, WORD, "operator", "console")


def test_departments_go_with_their_role(access: Access) -> None:
    """A department's user names departments, nobody else does."""
    for role, departments in (("department", []), ("operator", ["lighting"]), ("king", [])):
        with pytest.raises(AccessError):
            access.users.add("a1", WORD, role, "console", departments=departments)


def test_the_last_administrator_stays(access: Access) -> None:
    """Nobody can lock everybody out."""
    access.users.add("a1", WORD, "admin", "console")
    for work in (lambda: access.users.disable("a1", "a1"), lambda: access.users.remove("a1", "a1"),
                 lambda: access.users.change_role("a1", "auditor", [], "a1")):  # fmt: skip
        with pytest.raises(AccessError, match="last administrator"):
            work()
    access.users.add("a2", WORD, "admin", "console")
    access.users.remove("a1", "a2")
    assert [one.name for one in access.users.all()] == ["a2"]


def test_secrets_are_not_in_the_file(access: Access, tmp_path: Path) -> None:
    """Neither password, session nor token lies in the file or its log; the file is its owner's alone."""
    access.users.add("a1", WORD, "admin", "console")
    session = access.sessions.open("a1", "x", "")
    token, _ = access.tokens.create("t1", "metrics", 1, "a1")
    files = list(tmp_path.iterdir())
    raw = b"".join(path.read_bytes() for path in files)
    for secret in (WORD, session, token, token.split("_", 2)[2]):
        assert secret.encode() not in raw
    assert b"$argon2id$" in raw
    assert {path.stat().st_mode & 0o077 for path in files} == {0}


def test_sessions_end(access: Access, turned: Turned) -> None:
    """After twelve hours without a call, seven days at all, log-out, a new password (but the own) or sixteen others."""
    access.users.add("a1", WORD, "operator", "console")
    first = access.sessions.open("a1", "x", "")
    turned.now += 11 * 3600
    assert access.sessions.stale(first)
    access.sessions.note_use(first)
    turned.now += 11 * 3600
    assert access.sessions.caller(first)
    turned.now += 13 * 3600
    assert access.sessions.caller(first) is None
    kept, other = access.sessions.open("a1", "x", ""), access.sessions.open("a1", "y", "")
    own = access.sessions.caller(kept)
    assert own is not None
    access.users.set_password("a1", WORD + " staple", "a1", keep_session=own.session)
    assert access.sessions.caller(kept)
    assert access.sessions.caller(other) is None
    access.sessions.end(kept)
    assert access.sessions.caller(kept) is None
    many = [access.sessions.open("a1", "x", "") for _ in range(20)]
    assert sum(access.sessions.caller(one) is not None for one in many) == 16
    week = many[-1]
    for _ in range(15):
        turned.now += 11.5 * 3600
        access.sessions.note_use(week)
    assert access.sessions.caller(week) is None


def test_tokens(access: Access, turned: Turned) -> None:
    """A token has its own role or its user's within its grant; expired, revoked or altered it opens nothing."""
    access.users.add("a1", WORD, "auditor", "console")
    own, made = access.tokens.create("gate-7", "ingest", 1, "console")
    lent, _ = access.tokens.create("report", "operator", 1, "console", user="a1")
    caller, borrowed = access.tokens.caller(own), access.tokens.caller(lent)
    assert caller is not None
    assert borrowed is not None
    assert (caller.name, caller.permissions) == ("gate-7", {"ingest"})
    assert borrowed.name == "a1"
    assert borrowed.may("cases")
    assert not borrowed.may("step:close")  # the token's grant has it, the user's role has not
    assert not borrowed.may("audit")  # the other way round
    assert access.tokens.caller(own[:-1] + ("a" if own[-1] != "a" else "b")) is None
    assert access.tokens.caller("cw_000000000000_" + own[-43:]) is None
    turned.now += 86_401
    assert access.tokens.caller(own) is None
    turned.now -= 86_401
    access.tokens.revoke(made.id, "console")
    assert access.tokens.caller(own) is None
    with pytest.raises(AccessError):
        access.tokens.create("a1", "operator", 1, "console")  # a program may not take a person's name
    with pytest.raises(AccessError):
        access.tokens.create("t9", "operator", 1000, "console")


def test_another_process_sees_it_at_once(access: Access, tmp_path: Path) -> None:
    """What the command line changes beside a running server holds from the server's next call on."""
    other = Access(tmp_path / "users.db", hasher=QUICK)
    other.users.add("a1", WORD, "operator", "console")
    session = access.sessions.open("a1", "x", "")
    assert access.sessions.caller(session)
    other.users.disable("a1", "console")
    assert access.sessions.caller(session) is None
    other.close()


def test_rehash_when_parameters_grew(access: Access, tmp_path: Path) -> None:
    """A password that was hashed with less is hashed anew at its next log-in."""
    access.users.add("a1", WORD, "operator", "console")
    before = sqlite3.connect(tmp_path / "users.db").execute("SELECT password FROM users").fetchone()[0]
    from argon2 import PasswordHasher

    stronger = Access(tmp_path / "users.db", hasher=PasswordHasher(time_cost=2, memory_cost=128, parallelism=1))
    assert stronger.log_in("a1", WORD, "x")
    after = sqlite3.connect(tmp_path / "users.db").execute("SELECT password FROM users").fetchone()[0]
    assert before != after
    assert stronger.log_in("a1", WORD, "x")
    stronger.close()


def test_guessing_waits_and_locks_nobody_out(access: Access, turned: Turned) -> None:
    """One guesser waits longer and longer; a thousand of them do not keep the person out of a place once used."""
    access.users.add("a1", WORD, "operator", "console")
    assert access.log_in("a1", WORD, "home")
    access.sessions.open("a1", "home", "")
    for _ in range(5):
        assert access.log_in("a1", "wrong", "evil") is None
    first = access.log_in("a1", WORD, "evil")
    assert first == 10.0  # also the right password waits: no answer tells that it was right
    turned.now += 11
    assert access.log_in("a1", "wrong", "evil") is None
    assert access.log_in("a1", "wrong", "evil") == 20.0
    for i in range(200):
        access.log_in("a1", "wrong", f"evil-{i}")
    stranger = access.log_in("a1", WORD, "somewhere new")
    assert isinstance(stranger, float)
    assert stranger <= 2.0
    assert access.log_in("a1", WORD, "home")
    turned.now += 3
    assert access.log_in("a1", WORD, "somewhere new")


@pytest.fixture
def hashes(access: Access, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Against which hashes passwords are checked from here on."""
    checked: list[str] = []
    fits = access.users._passwords.fits

    def counted(password: str, known: str) -> bool:
        checked.append(known)
        return fits(password, known)

    monkeypatch.setattr(access.users._passwords, "fits", counted)
    return checked


def test_a_crowd_of_strangers_has_one_budget(access: Access, turned: Turned, hashes: list[str]) -> None:
    """A new name and address each time: so many hashes and no more; who was here before does not wait for them."""
    access.users.add("a1", WORD, "operator", "console")
    access.sessions.open("a1", "home", "")
    for i in range(3000):
        turned.now += 0.001
        access.log_in(f"name-{i}", "wrong", f"10.0.{i // 250}.{i % 250}")
    assert len(hashes) <= ALL_BURST + 3 * ALL_RATE
    assert access.log_in("a1", WORD, "home")
    wait = access.log_in("a1", WORD, "somewhere new")
    assert isinstance(wait, float)
    assert wait <= 1 / ALL_RATE
    turned.now += wait
    assert access.log_in("a1", WORD, "somewhere new")


def test_unknown_names_take_as_long(access: Access, hashes: list[str]) -> None:
    """An unknown name is checked against a hash like any other, and leaves no line in the book."""
    assert access.log_in("nobody-here", "some password", "x") is None
    assert hashes == [""]
    assert access.entries("audit") == []


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    """A file that is none is named, with what to do."""
    (tmp_path / "users.db").write_bytes(b"not a database, but long enough to be read as one" * 100)
    with pytest.raises(AccessError, match="restore it from a backup"):
        Access(tmp_path / "users.db")
