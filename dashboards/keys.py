"""Who may come in without an account: by one-time tokens that become sessions, or the data directory's key. No I/O.

Secrets are kept as SHA-256 only. Time is the machine's monotonic clock, given from outside.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable

SESSION_S = 12 * 3600.0  # since its last use
TOKEN_S = 24 * 3600.0
MOST_SESSIONS = 256
MOST_TOKENS = 32


class Keys:
    """The door's book. `bearer` is the key in the data directory, None where there is none. Safe from any thread."""

    def __init__(self, bearer: str | None, clock: Callable[[], float]) -> None:
        self._bearer = None if bearer is None else _digest(bearer)
        self.clock = clock
        self._tokens: OrderedDict[bytes, tuple[float, bool]] = OrderedDict()
        self._sessions: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()

    def issue(self, *, asked: bool = False) -> str:
        """A new one-time token, good once and for 24 h; the oldest unused one goes when there are 32.

        `asked`: somebody who holds the key asked for it; else it was printed unasked, while nobody had an account.
        """
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._tokens[_digest(token)] = (self.clock() + TOKEN_S, asked)
            _trim(self._tokens, MOST_TOKENS)
        return token

    def redeem(self, token: str, *, only_asked: bool = False) -> str | None:
        """The session that the token buys, or None: unknown, used or too old (or `only_asked` and printed unasked)."""
        with self._lock:
            until, asked = self._tokens.pop(_digest(token), (-1.0, False))
            if until < self.clock() or (only_asked and not asked):
                return None
            session = secrets.token_urlsafe(32)
            self._sessions[_digest(session)] = self.clock() + SESSION_S
            _trim(self._sessions, MOST_SESSIONS)
            return session

    def knows_session(self, session: str) -> bool:
        """True for a live session, which then lives 12 h on."""
        digest = _digest(session)
        with self._lock:
            until = self._sessions.get(digest)
            if until is None:
                return False
            if until < self.clock():
                del self._sessions[digest]
                return False
            self._sessions[digest] = self.clock() + SESSION_S
            self._sessions.move_to_end(digest)
            return True

    def end_session(self, session: str) -> None:
        """Forget a session; an unknown one is no error."""
        with self._lock:
            self._sessions.pop(_digest(session), None)

    def knows_bearer(self, bearer: str) -> bool:
        """True for the data directory's key; compared in constant time."""
        return self._bearer is not None and hmac.compare_digest(self._bearer, _digest(bearer))


class Buckets:
    """Token buckets by client: `rate` calls a second, `burst` at once; at most `most` clients are remembered."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float], most: int = 1024) -> None:
        self._rate, self._burst, self._clock, self._most = rate, burst, clock, most
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> float:
        """Take one call: 0 when granted, else the seconds to wait."""
        now = self._clock()
        left, at = self._left.pop(client, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate)
        granted = left >= 1
        self._left[client] = (left - 1 if granted else left, now)
        while len(self._left) > self._most:
            self._left.popitem(last=False)
        return 0.0 if granted else (1 - left) / self._rate


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _trim(book: OrderedDict[bytes, float] | OrderedDict[bytes, tuple[float, bool]], most: int) -> None:
    while len(book) > most:
        book.popitem(last=False)
