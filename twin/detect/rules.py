"""The parameters of every detector, from TOML: one table, overridable by a city's own file, changed while running."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.kinds import KINDS
from twin.city import City
from twin.detect.scopes import Scope, Value, parse_scope
from twin.errors import SettingsError
from twin.records import I32, I64

__all__ = ["Params", "Rules", "Value", "default_rules", "here", "parse_rules"]

Params = Mapping[str, Any]  # numbers, or (where some scope says otherwise) arrays of them, one a reading or device
Table = Mapping[str, Mapping[str, Value]]
WHERE = "where"
MOST_SCOPES = 200  # of one finding type


class Rules:
    """Parameters by finding type. Detectors look them up at use, so that a change counts from the next tick on.

    A type's own values hold everywhere; its scopes (`[[TYPE.where]]`) replace some of them by kind, area and hour. Of
    several scopes that hold at once the last one wins, parameter by parameter.
    """

    def __init__(self, defaults: Table) -> None:
        self._defaults = {name: dict(table) for name, table in defaults.items()}
        self._now = {name: dict(table) for name, table in defaults.items()}
        self._where: dict[str, tuple[Scope, ...]] = {}

    def __getitem__(self, type_: str) -> Mapping[str, Value]:
        return self._now[type_]

    def number(self, type_: str, key: str) -> float:
        """One parameter as a number. Raises KeyError if there is none of that name."""
        return float(self._now[type_][key])

    def enabled(self, type_: str) -> bool:
        """Whether findings of this type are wanted anywhere."""
        return bool(self._now[type_].get("enabled", True)) or any(s.values.get("enabled") for s in self.scopes(type_))

    def types(self) -> tuple[str, ...]:
        """All finding types that have parameters."""
        return tuple(self._now)

    # ---- by place and time -------------------------------------------------------------------------------------

    def scopes(self, type_: str) -> tuple[Scope, ...]:
        """Where the type's parameters differ, in order."""
        return self._where.get(type_, ())

    def variants(
        self, type_: str, city: City, kind: str, rows: I32, t_ms: I64
    ) -> tuple[NDArray[np.intp], list[Mapping[str, Value]]]:
        """For readings: which table of parameters holds for each, and the tables. Most types have one for all."""
        which = np.zeros(len(rows), np.intp)
        tables: list[Mapping[str, Value]] = [self._now[type_]]
        for scope in self.scopes(type_):
            inside = scope.holds(city, kind, rows, t_ms)
            for index in np.unique(which[inside]):
                which[inside & (which == index)] = len(tables)
                tables.append({**tables[index], **scope.values})
        return which, tables

    def local(self, type_: str, city: City, kind: str, rows: I32, t_ms: I64) -> Params:
        """Parameters for whole arrays: plain values, or one a row where some scope says otherwise."""
        if not self.scopes(type_):
            return self._now[type_]
        which, tables = self.variants(type_, city, kind, rows, t_ms)
        names = {name for table in tables for name in table}
        return {n: np.array([float(table.get(n, True)) for table in tables])[which] for n in sorted(names)}

    def at(self, type_: str, city: City, subject: str, t_ms: int) -> Mapping[str, Value]:
        """Parameters for one subject (device, node or area) at one time."""
        table = self._now[type_]
        for scope in self.scopes(type_):
            if (not scope.kinds or city.kind(subject) in scope.kinds) and scope.holds_area(city, subject, t_ms):
                table = {**table, **scope.values}
        return table

    # ---- overrides ---------------------------------------------------------------------------------------------

    def override(self, table: object, source: str = "rules") -> None:
        """Replace all earlier overrides by `table`. Raises SettingsError (and changes nothing) if it is wrong."""
        if not isinstance(table, Mapping):
            raise SettingsError(f"{source}: not a table of finding types")
        fresh = {name: dict(values) for name, values in self._defaults.items()}
        where: dict[str, tuple[Scope, ...]] = {}
        for type_, values in table.items():
            if type_ not in fresh:
                known = ", ".join(sorted(fresh))
                raise SettingsError(f"{source}: no finding type {type_!r}; there are {known}")
            if not isinstance(values, Mapping):
                raise SettingsError(f"{source}: [{type_}] is not a table of parameters")
            for key, value in values.items():
                if key == WHERE:
                    where[type_] = _scopes(source, type_, value, self._defaults[type_])
                else:
                    fresh[type_][key] = _checked(source, type_, key, value, self._defaults[type_])
        self._now, self._where = fresh, {type_: scopes for type_, scopes in where.items() if scopes}

    def overrides(self) -> dict[str, dict[str, Any]]:
        """What differs from the defaults, as `override` takes it."""
        told: dict[str, dict[str, Any]] = {
            name: {key: value for key, value in values.items() if value != self._defaults[name].get(key, True)}
            for name, values in self._now.items()
        }
        for name, scopes in self._where.items():
            told[name][WHERE] = [scope.told() for scope in scopes]
        return {name: values for name, values in told.items() if values}

    def tables(self) -> dict[str, dict[str, Any]]:
        """Everything in force, for people: by type, its parameters and its scopes."""
        told: dict[str, dict[str, Any]] = {name: {"enabled": True, **values} for name, values in self._now.items()}
        for name, scopes in self._where.items():
            told[name][WHERE] = [scope.told() for scope in scopes]
        return told


def here(p: Params, key: str, at: Any) -> Any:
    """A parameter for the readings (or devices) `at` only."""
    value = p[key]
    return value[at] if isinstance(value, np.ndarray) else value


def _scopes(source: str, type_: str, told: object, known: Mapping[str, Value]) -> tuple[Scope, ...]:
    if not isinstance(told, list):
        raise SettingsError(f"{source}: {type_}.where must be a list of tables: write [[{type_}.where]]")
    if len(told) > MOST_SCOPES:
        raise SettingsError(f"{source}: {type_}.where has {len(told)} scopes, at most {MOST_SCOPES} are possible")
    found = []
    for number, one in enumerate(told, 1):
        place = f"{type_}.where"
        scope, values = parse_scope(one, f"{source}: {place} number {number}")
        strange = [kind for kind in scope.kinds if kind not in KINDS]
        if strange:
            raise SettingsError(f"{source}: {place}: no kind {strange[0]!r}; there are {', '.join(KINDS)}")
        checked = {key: _checked(source, type_, key, value, known) for key, value in values.items()}
        found.append(replace(scope, values=checked))
    return tuple(found)


def _checked(source: str, type_: str, key: str, value: object, known: Mapping[str, Value]) -> Value:
    if key == "enabled":
        if not isinstance(value, bool):
            raise SettingsError(f"{source}: {type_}.enabled must be true or false, not {value!r}")
        return value
    if key not in known:
        raise SettingsError(f"{source}: {type_} has no parameter {key!r}; it has {', '.join(known)} and enabled")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SettingsError(f"{source}: {type_}.{key} must be a number, not {value!r}")
    if not abs(value) < 1e12:  # neither infinite nor NaN
        raise SettingsError(f"{source}: {type_}.{key} is out of all proportion: {value!r}")
    return value


def parse_rules(text: str, source: str = "rules.toml") -> dict[str, Any]:
    """The tables of a rules file. Raises SettingsError naming the line where it is not TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{source}: {error}") from error


def default_rules() -> Rules:
    """The parameters that the product ships (twin/detect/rules.toml, part of the package)."""
    return Rules(parse_rules(files("twin.detect").joinpath("rules.toml").read_text(encoding="utf-8")))
