"""The parameters of every detector, from TOML: one table, overridable by a city's own file, changed while running."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from twin.errors import SettingsError

Value = float | int | bool
Table = Mapping[str, Mapping[str, Value]]


class Rules:
    """Parameters by finding type. Detectors look them up at use, so that a change counts from the next tick on."""

    def __init__(self, defaults: Table) -> None:
        self._defaults = {name: dict(table) for name, table in defaults.items()}
        self._now = {name: dict(table) for name, table in defaults.items()}

    def __getitem__(self, type_: str) -> Mapping[str, Value]:
        return self._now[type_]

    def number(self, type_: str, key: str) -> float:
        """One parameter as a number. Raises KeyError if there is none of that name."""
        return float(self._now[type_][key])

    def enabled(self, type_: str) -> bool:
        """Whether findings of this type are wanted."""
        return bool(self._now[type_].get("enabled", True))

    def types(self) -> tuple[str, ...]:
        """All finding types that have parameters."""
        return tuple(self._now)

    def override(self, table: object, source: str = "rules") -> None:
        """Replace all earlier overrides by `table`. Raises SettingsError (and changes nothing) if it is wrong."""
        if not isinstance(table, Mapping):
            raise SettingsError(f"{source}: not a table of finding types")
        fresh = {name: dict(values) for name, values in self._defaults.items()}
        for type_, values in table.items():
            if type_ not in fresh:
                known = ", ".join(sorted(fresh))
                raise SettingsError(f"{source}: no finding type {type_!r}; there are {known}")
            if not isinstance(values, Mapping):
                raise SettingsError(f"{source}: [{type_}] is not a table of parameters")
            for key, value in values.items():
                fresh[type_][key] = _checked(source, type_, key, value, fresh[type_])
        self._now = fresh

    def overrides(self) -> dict[str, dict[str, Value]]:
        """What differs from the defaults, as `override` takes it."""
        told = {
            name: {key: value for key, value in values.items() if value != self._defaults[name].get(key, True)}
            for name, values in self._now.items()
        }
        return {name: values for name, values in told.items() if values}


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
