"""One table of the configuration, read strictly: every complaint names file, line, problem and fix. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from edge.errors import ConfigError

Path = tuple[str | int, ...]

_HEAD = re.compile(r"\s*(\[\[?)\s*([\w.\"'-]+)\s*\]\]?\s*(?:#.*)?\Z")


def find_line(text: str, path: Path) -> int:
    """The line of a TOML text where this key, or the nearest table above it, stands; from 1. Numbers count [[tables]].

    >>> find_line('[[source]]\\nname = "a"\\n[[source]]\\nname = "b"', ("source", 1, "name"))
    4
    """
    wanted = list(path)
    best, depth = 1, 0
    at: list[str | int] = []
    counts: dict[tuple[str | int, ...], int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        head = _HEAD.match(line)
        if head:
            at = _place(_names(head[2]), head[1] == "[[", counts)
            key = at
        else:
            named = re.match(r"\s*([\w.\"'*/+#-]+)\s*=", line)
            if named is None:
                continue
            key = at + list(_names(named[1]))
        if len(key) > depth and key == wanted[: len(key)]:
            best, depth = number, len(key)
    return best


def _place(names: tuple[str, ...], repeated: bool, counts: dict[tuple[str | int, ...], int]) -> list[str | int]:
    """Where a table heading leads: an array of tables by the number of its last one."""
    at: list[str | int] = []
    for index, name in enumerate(names):
        at.append(name)
        key = tuple(at)
        if index == len(names) - 1 and repeated:
            counts[key] = counts.get(key, -1) + 1
        if key in counts:
            at.append(counts[key])
    return at


def _names(dotted: str) -> tuple[str, ...]:
    return tuple(a or b or c for a, b, c in re.findall(r"\"([^\"]*)\"|'([^']*)'|([\w/+#*-]+)", dotted))


class Sheet:
    """A table of the configuration and where it stands."""

    def __init__(self, file: str, text: str, table: Mapping[str, Any], path: Path = ()) -> None:
        self.file, self.text, self.table, self.path = file, text, table, path

    def fail(self, key: str, problem: str, fix: str) -> NoReturn:
        """Complain about one key (or "" for the table). Raises ConfigError."""
        path = (*self.path, key) if key else self.path
        where = ".".join(str(part) for part in path if isinstance(part, str))
        raise ConfigError(f"{self.file}:{find_line(self.text, path)}: {where or 'file'}: {problem} ({fix})")

    def known(self, allowed: Iterable[str]) -> None:
        """Complain about the first key that is not `allowed`."""
        for key in self.table:
            if key not in allowed:
                self.fail(key, "unknown key", f"known are {', '.join(sorted(allowed))}")

    def word(self, key: str, default: str | None = None) -> str:
        """A text; needed where there is no default."""
        value = self.table.get(key, default)
        if value is None or (default is None and value == ""):
            self.fail(key if key in self.table else "", f"no {key}", f'write {key} = "..."')
        if not isinstance(value, str):
            self.fail(key, f"{value!r} is no text", f'write {key} = "..."')
        return value

    def number(self, key: str, default: float, low: float = 0.0, high: float = 1e12) -> float:
        """A number within low..high."""
        value = self.table.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self.fail(key, f"{value!r} is no number within {low:g}..{high:g}", f"for example {key} = {default:g}")
        return float(value)

    def whole(self, key: str, default: int, low: int = 0, high: int = 1 << 53) -> int:
        """A whole number within low..high."""
        value = self.number(key, default, low, high)
        if not value.is_integer():
            self.fail(key, f"{value:g} is no whole number", f"for example {key} = {default}")
        return int(value)

    def truth(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.table.get(key, default)
        if not isinstance(value, bool):
            self.fail(key, f"{value!r} is neither true nor false", f"write {key} = {str(default).lower()}")
        return value

    def choice(self, key: str, default: str, allowed: Iterable[str]) -> str:
        """One of some texts."""
        value = self.word(key, default)
        if value not in tuple(allowed):
            self.fail(key, f"{value!r} is unknown", f"one of {', '.join(allowed)}")
        return value

    def words(self, key: str) -> tuple[str, ...]:
        """A list of texts, empty if it is not there."""
        value = self.table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            self.fail(key, f"{value!r} is no list of texts", f'write {key} = ["a", "b"]')
        return tuple(value)

    def sheet(self, key: str) -> Sheet:
        """The table under a key, empty if it is not there."""
        value = self.table.get(key, {})
        if not isinstance(value, dict):
            self.fail(key, "is no table", f"write [{key}] and its keys below it")
        return Sheet(self.file, self.text, value, (*self.path, key))

    def sheets(self, key: str) -> list[Sheet]:
        """The [[tables]] of a key, none if it is not there."""
        value = self.table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            self.fail(key, "is no list of tables", f"write [[{key}]] before each")
        return [Sheet(self.file, self.text, one, (*self.path, key, i)) for i, one in enumerate(value)]
