"""Passwords of the broker's users: made by chance, hashed as Mosquitto 2 wants them, kept from run to run."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

# Mosquitto's own default. A password here is 192 random bits, which nobody guesses however fast the hash is; more
# rounds would only make 10,000 devices that come back at once slow.
ROUNDS = 101
SALT_BYTES = 12


def new_password() -> str:
    """A random password: 32 letters of base64url, 192 bits."""
    return secrets.token_urlsafe(24)


def hash_password(password: str, salt: bytes | None = None) -> str:
    """The password in Mosquitto's `$7$` form: PBKDF2-HMAC-SHA512, rounds, salt and 64-byte key in base64."""
    salt = secrets.token_bytes(SALT_BYTES) if salt is None else salt
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ROUNDS)
    return f"$7${ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"


def fits(password: str, hashed: str) -> bool:
    """Whether a `$7$` hash is this password's; False for anything that is no such hash."""
    try:
        empty, seven, rounds, salt, key = hashed.split("$")
        made = hashlib.pbkdf2_hmac("sha512", password.encode(), base64.b64decode(salt, validate=True), int(rounds))
        return not empty and seven == "7" and hmac.compare_digest(base64.b64decode(key, validate=True), made)
    except (ValueError, OverflowError):
        return False


def parse_pairs(text: str) -> dict[str, str]:
    """`user:rest` by line, as in Mosquitto's password file and in ours; lines without a colon are not taken."""
    pairs: dict[str, str] = {}
    for line in text.splitlines():
        user, colon, rest = line.partition(":")
        if colon and user and rest and not user.startswith("#"):
            pairs[user] = rest
    return pairs
