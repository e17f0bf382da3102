"""Where a parameter differs: by kind, area and hour. Which of a city's readings fall under which scope, as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from twin.city import City
from twin.errors import SettingsError
from twin.records import I32, I64

Value = float | int | bool
_KEYS = ("kinds", "areas", "hours")


@dataclass(frozen=True, slots=True)
class Scope:
    """One `[[TYPE.where]]` of a rules file. Empty `kinds` or `areas`, or no `hours`, means all of them.

    areas: codes of districts, streets or grid cells. hours: local, from and to, `(22, 6)` spans midnight.
    """

    values: Mapping[str, Value]
    kinds: tuple[str, ...] = ()
    areas: tuple[str, ...] = ()
    hours: tuple[float, float] | None = None
    masks: dict[str, tuple[object, NDArray[np.bool_]]] = field(default_factory=dict, compare=False, repr=False)

    def told(self) -> dict[str, object]:
        """As the rules file has it."""
        out: dict[str, object] = {}
        if self.kinds:
            out["kinds"] = list(self.kinds)
        if self.areas:
            out["areas"] = list(self.areas)
        if self.hours:
            out["hours"] = list(self.hours)
        return {**out, **self.values}

    def holds(self, city: City, kind: str, rows: I32, t_ms: I64) -> NDArray[np.bool_]:
        """Where the scope holds: bool by device (its row of `kind`) and event time."""
        if self.kinds and kind not in self.kinds:
            return np.zeros(len(rows), bool)
        inside = self._inside(city, kind)[rows] if self.areas else np.ones(len(rows), bool)
        if self.hours is not None and inside.any():
            inside &= within(city.local_hour(t_ms), *self.hours)
        return inside

    def holds_area(self, city: City, code: str, t_ms: int) -> bool:
        """Whether it holds for an area, or for a node or device, at that time."""
        if self.areas and set(self.areas).isdisjoint(city.areas(code)):
            return False
        return self.hours is None or bool(within(city.local_hour(np.array([t_ms], np.int64)), *self.hours)[0])

    def _inside(self, city: City, kind: str) -> NDArray[np.bool_]:
        """By row of the kind: whether the device belongs to one of the areas."""
        roster = city.rosters.get(kind)
        made = self.masks.get(kind)
        if made is not None and made[0] is roster:
            return made[1]
        wanted = set(self.areas)
        devices = roster.devices if roster is not None else ()
        mask = np.array([d is not None and not wanted.isdisjoint(city.areas(d.id)) for d in devices], bool)
        self.masks[kind] = (roster, mask)
        return mask


def within(hour: NDArray[np.float64], start: float, end: float) -> NDArray[np.bool_]:
    """Whether local hours lie in [start, end), over midnight where start > end.

    >>> within(np.array([23.0, 5.0, 12.0]), 22, 6).tolist()
    [True, True, False]
    """
    inside: NDArray[np.bool_]
    inside = (hour >= start) | (hour < end) if start > end else (hour >= start) & (hour < end)
    return inside


def parse_scope(told: object, place: str) -> tuple[Scope, dict[str, object]]:
    """A scope without values, and the parameters that it names, not yet checked. Raises SettingsError."""
    if not isinstance(told, Mapping):
        raise SettingsError(f"{place} is not a table; write [[{place}]] with kinds, areas or hours and the parameters")
    kinds, areas = (_names(told.get(key, []), f"{place}: {key}") for key in ("kinds", "areas"))
    hours = told.get("hours")
    if hours is not None:
        good = isinstance(hours, list) and len(hours) == 2 and all(_is_hour(h) for h in hours) and hours[0] != hours[1]
        if not good:
            raise SettingsError(f"{place}: hours must be two different local hours, such as [22, 6], not {hours!r}")
        hours = (float(hours[0]), float(hours[1]))
    if not (kinds or areas or hours):
        raise SettingsError(f"{place} holds everywhere; give kinds, areas or hours, or set the value itself")
    rest = {key: value for key, value in told.items() if key not in _KEYS}
    if not rest:
        raise SettingsError(f"{place} changes nothing; name the parameters that differ there")
    return Scope({}, kinds, areas, hours), rest


def _is_hour(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 24


def _names(value: object, place: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise SettingsError(f"{place} must be a list of texts, not {value!r}")
    return tuple(value)
