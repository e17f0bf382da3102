"""Passwords of people: argon2id, one memory-hard hash at a time per slot, and the rules that a password must keep.

Parameters are RFC 9106's second choice (t = 3, 64 MiB, 4 lanes). Rules are NIST SP 800-63B's: length, no well-known
ones, no rules of composition.
"""

from __future__ import annotations

import threading
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from twin.errors import AccessError

SHORTEST, LONGEST = 12, 128  # letters
AT_ONCE = 2  # hashes computed at the same time: bounds memory to AT_ONCE * 64 MiB
COMMON = frozenset({
    "password", "passwort", "qwerty", "qwertyuiop", "letmein", "welcome", "administrator", "citywhistle", "iloveyou",
    "abcdefghijkl", "changeme", "1q2w3e4r5t6y", "mima",
})  # fmt: skip


class Passwords:
    """Hashes and checks. Safe from any thread."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._slots = threading.BoundedSemaphore(AT_ONCE)
        self._nobody = ""
        self._lock = threading.Lock()

    def hash(self, password: str) -> str:
        """The password's argon2id hash, with its salt and parameters."""
        with self._slots:
            return self._hasher.hash(normal(password))

    def fits(self, password: str, hashed: str) -> bool:
        """Whether the hash is this password's. With hash '' the same work is done, and the answer is False."""
        known = bool(hashed)
        try:
            with self._slots:
                self._hasher.verify(hashed or self._stranger(), normal(password)[: LONGEST * 4])
        except (VerificationError, InvalidHashError):
            return False
        return known

    def outdated(self, hashed: str) -> bool:
        """Whether a hash was made with other parameters than are in use now."""
        return self._hasher.check_needs_rehash(hashed)

    def _stranger(self) -> str:
        """A hash that is nobody's, so that an unknown name takes as long as a wrong password."""
        with self._lock:
            if not self._nobody:
                self._nobody = self._hasher.hash("nobody's password")
        return self._nobody


def normal(password: str) -> str:
    """One form for what looks the same, whatever keyboard it came from (NFKC)."""
    return unicodedata.normalize("NFKC", password)


def check_rules(password: str, name: str) -> None:
    """Raise AccessError for a password that may not be used, saying why."""
    told = normal(password)
    if not SHORTEST <= len(told) <= LONGEST:
        raise AccessError(
            f"a password has {SHORTEST} to {LONGEST} letters (a few words are fine)",
            f"密码长度须为{SHORTEST}至{LONGEST}个字符（可用几个词语）",
        )
    bare = "".join(letter for letter in told.lower() if letter.isalnum())
    core = bare.strip("0123456789")
    if len(set(told)) < 5 or core in COMMON or bare in COMMON or (name and core == name.lower()) or not core:
        raise AccessError(
            "this password is too easy to guess: take a few words that do not belong together",
            "密码过于简单：请选用几个互不相关的词语",
        )
