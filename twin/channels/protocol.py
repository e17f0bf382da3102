"""What a channel is: something that takes one delivery to somebody, and says what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from twin.errors import SettingsError
from twin.records import Delivery


@dataclass(frozen=True, slots=True)
class Pace:
    """What a channel bears: messages per second in the long run, as a burst, and at the same time.

    `by_address`: each address has its own budget, circuit breaker and queue (a webhook's receivers know nothing of
    each other); otherwise the channel has one (a broker, a mail server).
    """

    per_s: float
    burst: int
    parallel: int
    by_address: bool


class Channel(Protocol):
    """One way out. Used by one asyncio loop at a time."""

    @property
    def pace(self) -> Pace:
        """What the sender keeps to."""
        ...

    async def send(self, delivery: Delivery) -> str:
        """Deliver once; what the other side said (for people). Raises DeliveryFailed for anything but success."""
        ...

    async def close(self) -> None:
        """Let go of connections; may be called twice."""
        ...


Opener = Callable[[Mapping[str, Any]], Channel]


class Options:
    """A channel's configuration, taken key by key; every mistake is a SettingsError that names channel and key."""

    def __init__(self, channel: str, told: Mapping[str, Any]) -> None:
        """Take the table [channels.NAME]."""
        self._channel, self._told, self._known = channel, dict(told), set[str]()

    def text(self, key: str, default: str | None = None) -> str:
        """A text; required where there is no default."""
        value = self._take(key, default)
        if not isinstance(value, str) or (default is None and not value):
            raise SettingsError(f"channel {self._channel}: {key} = {value!r} (give a text)")
        return value

    def number(self, key: str, default: float, low: float, high: float) -> float:
        """A number within bounds."""
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise SettingsError(f"channel {self._channel}: {key} = {value!r} (give a number from {low:g} to {high:g})")
        return float(value)

    def choice(self, key: str, *choices: str) -> str:
        """One of some words; the first is the default."""
        value = self._take(key, choices[0])
        if value not in choices:
            raise SettingsError(f"channel {self._channel}: {key} = {value!r} (give one of {', '.join(choices)})")
        return str(value)

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self._take(key, default)
        if not isinstance(value, bool):
            raise SettingsError(f"channel {self._channel}: {key} = {value!r} (give true or false)")
        return value

    def url(self, key: str, default: str | None = None) -> str:
        """An http or https URL without user and password; '' only where that is the default."""
        value = self.text(key, default)
        if value and (problem := url_problem(value)):
            raise SettingsError(f"channel {self._channel}: {key}: {problem}")
        return value

    def table(self, key: str) -> Mapping[str, Any]:
        """A table of further values; empty where there is none."""
        value = self._take(key, {})
        if not isinstance(value, Mapping):
            raise SettingsError(f"channel {self._channel}: {key} = {value!r} (give a table)")
        return value

    def done(self) -> None:
        """Refuse whatever was told and not taken."""
        unknown = sorted(set(self._told) - self._known)
        if unknown:
            known = ", ".join(sorted(self._known))
            raise SettingsError(f"channel {self._channel}: unknown key {unknown[0]!r} (known: {known})")

    def _take(self, key: str, default: Any) -> Any:
        self._known.add(key)
        return self._told.get(key, default)


def url_problem(url: str) -> str:
    """What is wrong with an address to post to; '' for nothing."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        return f"not a URL ({error})"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "not an http or https URL"
    if parts.username or parts.password:
        return "credentials in a URL end up in logs; use the channel's own keys"
    return ""
