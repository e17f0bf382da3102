"""Links to answer by: signed, expiring, one a message. Whoever holds one may answer that whistle, and nothing else.

token = base64url(key of the delivery) "." days "." base64url(first 16 bytes of HMAC-SHA256)
The MAC covers the case, the delivery's key and the expiry, under a secret that lies in the data directory alone.
The expiry is a whole number of days since 1970 UTC, so that a message sent again within the day says the same.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, replace
from pathlib import Path

from twin.errors import LinkRefused, TwinError
from twin.records import Delivery
from twin.settings import own_secret

FILE = "answer.key"  # in the data directory
DAY_S = 86_400
VALID_DAYS = 14
MAC_BYTES = 16
LONGEST = 400  # letters of a token
SECRET_BYTES = 32
UNANSWERED = frozenset({"command", "digest", "test"})  # to a device, about no case in particular, or about nothing


@dataclass(frozen=True, slots=True)
class Opened:
    """What a good token says: case, key of the delivery, and when it expires (machine time)."""

    case: str
    key: str
    expires_ms: int


class Links:
    """Makes and reads tokens. Times are the machine's, in seconds since 1970 UTC."""

    def __init__(self, secret: bytes, base: str = "") -> None:
        """`base`: the address under which people reach this server; '' while it is not known (no links then)."""
        if len(secret) < SECRET_BYTES:
            raise TwinError(f"the secret of links to answer by has {len(secret)} bytes, {SECRET_BYTES} are needed")
        self._secret = secret
        self.base = base.rstrip("/")

    def token(self, case: str, key: str, now_s: float) -> tuple[str, int]:
        """The token of one delivery, and its expiry in ms."""
        days = int(now_s // DAY_S) + 1 + VALID_DAYS
        return f"{_text(key.encode())}.{days}.{_text(self._mac(case, key, days))}", days * DAY_S * 1000

    def read(self, token: str, now_s: float) -> Opened:
        """What a token says. Raises LinkRefused: "forged" or "expired"."""
        parts = token.split(".")
        if len(token) > LONGEST or len(parts) != 3 or not (parts[1].isascii() and parts[1].isdigit()):
            raise LinkRefused("forged")
        try:
            key, mac, days = _bytes(parts[0]).decode(), _bytes(parts[2]), int(parts[1])
        except (ValueError, binascii.Error):
            raise LinkRefused("forged") from None
        case = key.split(":", 1)[0]
        if not hmac.compare_digest(mac, self._mac(case, key, days)):
            raise LinkRefused("forged")
        if now_s >= days * DAY_S:
            raise LinkRefused("expired")
        return Opened(case, key, days * DAY_S * 1000)

    def dress(self, delivery: Delivery, now_s: float) -> Delivery:
        """The delivery with its link in the payload, where it is one that can be answered."""
        if not self.base or not delivery.case or delivery.purpose in UNANSWERED:
            return delivery
        token, expires_ms = self.token(delivery.case, delivery.key, now_s)
        api = f"{self.base}/api/cases/{delivery.case}"
        answer = {"url": f"{self.base}/answer/{token}", "api": api, "expires_ms": expires_ms}
        return replace(delivery, payload=dict(delivery.payload) | {"answer": answer})

    def _mac(self, case: str, key: str, days: int) -> bytes:
        said = f"citywhistle answer 1\n{case}\n{key}\n{days}".encode()
        return hmac.new(self._secret, said, hashlib.sha256).digest()[:MAC_BYTES]


def link_secret(path: Path) -> bytes:
    """The secret in a file that only its owner reads; made on first use. Raises TwinError where that cannot be.

    Taking the file away makes every link that was ever sent void.
    """
    try:
        return own_secret(path, SECRET_BYTES)
    except (OSError, ValueError) as error:
        raise TwinError(f"{path}: no secret of links to answer by ({error}); remove it to have a new one") from error


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    """Strict: one text for one value, so that no second form of a token passes."""
    raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _text(raw) != text:
        raise ValueError("not the one form of these bytes")
    return raw
