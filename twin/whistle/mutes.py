"""Mutes and maintenance windows: they suppress sending, never recording; what still fires at the end is sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from twin.errors import IllegalStep

MOST = 1000  # mutes at a time
LONGEST_MS = 366 * 86_400_000


@dataclass(frozen=True, slots=True)
class Mute:
    """Quiet for `types` (empty: all) on `subjects` (devices, nodes or areas and what is below them; empty: all)."""

    id: str
    from_ms: int
    until_ms: int
    types: tuple[str, ...]
    subjects: tuple[str, ...]
    actor: str
    reason: str

    def covers(self, type: str, names: Iterable[str], now_ms: int) -> bool:  # noqa: A002 - the records' own word
        """Whether it is on at `now_ms` for a case of that type whose subject and what it hangs on are `names`."""
        if not self.from_ms <= now_ms < self.until_ms or (self.types and type not in self.types):
            return False
        return not self.subjects or any(name in self.subjects for name in names)


def _names(told: Any, key: str) -> tuple[str, ...]:
    if not isinstance(told, list | tuple) or len(told) > 1000 or not all(isinstance(n, str) and n for n in told):
        raise IllegalStep(f"{key} must be a list of at most 1,000 names")
    return tuple(told)


def _instant(told: Any, key: str) -> int:
    if not isinstance(told, int) or isinstance(told, bool):
        raise IllegalStep(f"{key} must be milliseconds since 1970 UTC")
    return told


@dataclass(slots=True)
class Mutes:
    """The mutes in force or to come."""

    held: dict[str, Mute] = field(default_factory=dict)

    def add(self, id: str, actor: str, reason: str, told: Mapping[str, Any], now_ms: int) -> Mute:  # noqa: A002
        """A new mute from an action's arguments: until_ms, and from_ms, types, subjects if wanted.

        Raises IllegalStep, saying what is missing or wrong.
        """
        self.held = {key: mute for key, mute in self.held.items() if mute.until_ms > now_ms}
        if len(self.held) >= MOST:
            raise IllegalStep(f"{MOST} mutes are in force; end one first")
        from_ms = _instant(told.get("from_ms", now_ms), "from_ms")
        until_ms = _instant(told.get("until_ms"), "until_ms")
        if not max(from_ms, now_ms) < until_ms <= now_ms + LONGEST_MS:
            raise IllegalStep("until_ms must lie after from_ms and now, and within a year")
        types, subjects = _names(told.get("types", ()), "types"), _names(told.get("subjects", ()), "subjects")
        if not reason.strip():
            raise IllegalStep("a mute needs a reason")
        mute = Mute(id, from_ms, until_ms, types, subjects, actor, reason)
        self.held[id] = mute
        return mute

    def end(self, id: str) -> Mute:  # noqa: A002
        """Take a mute away before its time. Raises IllegalStep where there is none of that id."""
        mute = self.held.pop(id, None)
        if mute is None:
            raise IllegalStep(f"there is no mute {id!r}; in force: {', '.join(sorted(self.held)) or 'none'}")
        return mute

    def until(self, type: str, names: Iterable[str], now_ms: int) -> tuple[int, str]:  # noqa: A002
        """When the last mute that covers it now ends, and that mute's id; (0, '') where none does."""
        if not self.held:
            return 0, ""
        listed = tuple(names)
        return max(((m.until_ms, m.id) for m in self.held.values() if m.covers(type, listed, now_ms)), default=(0, ""))
