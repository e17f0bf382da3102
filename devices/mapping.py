"""Mapping files: how the columns of a recorded CSV become readings of devices. TOML, checked strictly (docs/replay.md).

Every error names file and line. A mapping says what marks mean "no value"; such marks never become numbers.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping as Table
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NoReturn
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from devices.errors import DeviceError, MappingError
from devices.kinds import KINDS
from devices.records import Kind, Quantity
from devices.units import conversion


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `quantity` None: looked at and counted only. value = text * factor + offset, or states[text]."""

    name: str
    quantity: Quantity | None = None
    factor: float = 1.0
    offset: float = 0.0
    states: Table[str, float] = field(default_factory=dict)
    missing: frozenset[str] = frozenset()
    junk: Table[float, str] = field(default_factory=dict)  # raw number -> why it is no value


@dataclass(frozen=True, slots=True)
class TimeRule:
    """Where event time comes from: columns in one of `formats`, or a start and a fixed step per row."""

    columns: tuple[str, ...]
    formats: tuple[str, ...]  # strptime formats, or "iso", "unix_s", "unix_ms"
    zone: ZoneInfo
    step_s: float = 0.0
    gap_s: float = 0.0  # a longer silence of a device is counted as a gap; 0: not watched


@dataclass(frozen=True, slots=True)
class FileRule:
    """How files are read."""

    members: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    delimiter: str = ""  # "" = found out
    encoding: str = "utf-8-sig"
    header: tuple[str, ...] | None = None  # None: the first line names the columns
    parts: Table[str, tuple[str, ...]] = field(default_factory=dict)  # file pattern -> its columns, no header line
    join: Literal["none", "line"] = "none"  # "line": row n of every part is one row


@dataclass(frozen=True, slots=True)
class Mapping:
    """A checked mapping file."""

    source: str
    name: str
    kind: Kind
    about: str
    licence: str
    device: str  # template: "{column}", "{file}" or a group of `from_file`
    district: str
    lower: bool
    from_file: re.Pattern[str] | None
    time: TimeRule
    file: FileRule
    columns: tuple[Column, ...]
    keep: Table[str, frozenset[str]]  # only rows whose column holds one of these
    keep_why: str


TOP = {"name", "kind", "about", "licence", "file", "device", "time", "missing", "rows", "columns"}
FILE = {"members", "exclude", "delimiter", "encoding", "header", "parts", "join"}
DEVICE = {"id", "district", "lower", "from_file"}
TIME = {"columns", "format", "zone", "step_s", "gap_s"}
COLUMN = {"quantity", "unit", "factor", "states", "missing", "junk", "why"}


def shipped_mappings() -> dict[str, Path]:
    """Names and paths of the mappings that come with the package."""
    folder = Path(str(resources.files("devices") / "mappings"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_mapping(name: str | Path) -> Mapping:
    """The mapping in this file, or the shipped one of this name. Raises MappingError with file, line and fix."""
    path = Path(name)
    known = shipped_mappings()
    if not path.suffix and str(name) in known:
        path = known[str(name)]
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MappingError(f"{path}: cannot be read ({error}); shipped are {', '.join(known)}") from error
    return parse_mapping(text, str(path))


def parse_mapping(text: str, source: str) -> Mapping:
    """The mapping that this TOML text describes. Raises MappingError."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        raise MappingError(f"{source}:{found[1] if found else 1}: not TOML: {error}") from error
    return _Reader(text, source).mapping(table)


def find_line(text: str, path: tuple[str, ...]) -> int:
    """The line of a TOML text where this key stands (or the nearest table above it), counted from 1."""
    best, best_depth = 1, 0
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        key: tuple[str, ...] = ()
        if stripped.startswith("["):
            table = _names(stripped.split("#")[0].strip().strip("[]"))
            key = table
        elif "=" in stripped and not stripped.startswith("#"):
            key = table + _names(stripped.split("=", 1)[0])
        depth = 0
        while depth < min(len(key), len(path)) and key[depth] == path[depth]:
            depth += 1
        if key and depth == len(key) and depth > best_depth:
            best, best_depth = number, depth
    return best


def _names(dotted: str) -> tuple[str, ...]:
    """The parts of a TOML key: 'columns."PM2.5"' -> ("columns", "PM2.5")."""
    return tuple(a or b or c for a, b, c in re.findall(r'"([^"]*)"|\'([^\']*)\'|([A-Za-z0-9_-]+)', dotted))


class _Reader:
    """Walks the parsed table and complains with line numbers."""

    def __init__(self, text: str, source: str) -> None:
        self.text, self.source = text, source

    def fail(self, path: tuple[str, ...], problem: str, fix: str) -> NoReturn:
        where = ".".join(path)
        raise MappingError(f"{self.source}:{find_line(self.text, path)}: {where}: {problem} ({fix})")

    def known(self, table: Table[str, Any], allowed: set[str], path: tuple[str, ...]) -> None:
        for key in table:
            if key not in allowed:
                self.fail((*path, key), "unknown key", f"known are {', '.join(sorted(allowed))}")

    def get(self, table: Table[str, Any], key: str, kind: type, default: Any, path: tuple[str, ...]) -> Any:
        value = table.get(key, default)
        good = isinstance(value, kind) or (kind is float and isinstance(value, int) and not isinstance(value, bool))
        if value is not None and not good:
            self.fail((*path, key), f"{value!r} is not a {kind.__name__}", "see docs/replay.md")
        return value

    def texts(
        self, table: Table[str, Any], key: str, default: tuple[str, ...], path: tuple[str, ...]
    ) -> tuple[str, ...]:
        value = table.get(key, list(default))
        value = [value] if isinstance(value, str) else value
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            self.fail((*path, key), f"{value!r} is not text or a list of texts", 'write key = ["a", "b"]')
        return tuple(value)

    def mapping(self, table: Table[str, Any]) -> Mapping:
        self.known(table, TOP, ())
        kind = KINDS.get(self.get(table, "kind", str, "", ()))
        if kind is None:
            self.fail(("kind",), f"{table.get('kind')!r} is no device kind", f"one of {', '.join(KINDS)}")
        device = self.get(table, "device", dict, {}, ())
        self.known(device, DEVICE, ("device",))
        if not self.get(device, "id", str, "", ("device",)):
            self.fail(("device", "id"), "no device id", 'write id = "name-{column}"')
        rows = self.get(table, "rows", dict, {}, ())
        self.known(rows, {"keep", "why"}, ("rows",))
        keep = self.get(rows, "keep", dict, {}, ("rows",))
        return Mapping(
            source=self.source,
            name=self.get(table, "name", str, Path(self.source).stem, ()),
            kind=kind,
            about=self.get(table, "about", str, "", ()),
            licence=self.get(table, "licence", str, "", ()),
            device=device["id"],
            district=self.get(device, "district", str, "recorded", ("device",)),
            lower=self.get(device, "lower", bool, False, ("device",)),
            from_file=self.pattern(device),
            time=self.time(self.get(table, "time", dict, {}, ())),
            file=self.file(self.get(table, "file", dict, {}, ())),
            columns=self.columns(table, kind),
            keep={name: frozenset(self.texts(keep, name, (), ("rows", "keep"))) for name in keep},
            keep_why=self.get(rows, "why", str, "left out by the mapping", ("rows",)),
        )

    def pattern(self, device: Table[str, Any]) -> re.Pattern[str] | None:
        text = self.get(device, "from_file", str, "", ("device",))
        try:
            return re.compile(text) if text else None
        except re.error as error:
            self.fail(("device", "from_file"), f"not a regular expression: {error}", r"for example cell_(?P<n>\d+)")

    def time(self, table: Table[str, Any]) -> TimeRule:
        path = ("time",)
        self.known(table, TIME, path)
        columns = self.texts(table, "columns", (), path)
        step_s = float(self.get(table, "step_s", float, 0.0, path))
        if bool(columns) == bool(step_s):
            self.fail(path, "needs either columns and format, or step_s", "a step needs --start when it is replayed")
        formats = self.texts(table, "format", ("iso",), path)
        for text in formats:
            if "%" not in text and text not in ("iso", "unix_s", "unix_ms"):
                self.fail(
                    (*path, "format"), f"{text!r} is no time format", "iso, unix_s, unix_ms or like %Y-%m-%d %H:%M"
                )
        name = self.get(table, "zone", str, "", path)
        if not name:
            self.fail(path, "no zone", 'times need one: zone = "Europe/Helsinki" or "UTC"')
        try:
            zone = ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            self.fail((*path, "zone"), f"{name!r} is no time zone", "a name of the IANA list, such as Asia/Shanghai")
        return TimeRule(columns, formats, zone, step_s, float(self.get(table, "gap_s", float, 0.0, path)))

    def file(self, table: Table[str, Any]) -> FileRule:
        path = ("file",)
        self.known(table, FILE, path)
        delimiter = self.get(table, "delimiter", str, "", path)
        if len(delimiter) > 1:
            self.fail((*path, "delimiter"), f"{delimiter!r} is longer than one letter", 'one letter, "\\t" for tab')
        parts_table = self.get(table, "parts", dict, {}, path)
        parts = {name: self.texts(parts_table, name, (), (*path, "parts")) for name in parts_table}
        join = self.get(table, "join", str, "none", path)
        if join not in ("none", "line"):
            self.fail((*path, "join"), f"{join!r} is no way to join", '"none" or "line"')
        if join == "line" and not parts:
            self.fail((*path, "join"), "joins no parts", 'name them: parts = {"w-*.txt" = ["watts"]}')
        return FileRule(
            members=self.texts(table, "members", tuple(parts) or ("*",), path),
            exclude=self.texts(table, "exclude", (), path),
            delimiter=delimiter,
            encoding=self.get(table, "encoding", str, "utf-8-sig", path),
            header=self.texts(table, "header", (), path) or None,
            parts=parts,
            join="line" if join == "line" else "none",
        )

    def columns(self, table: Table[str, Any], kind: Kind) -> tuple[Column, ...]:
        missing = self.get(table, "missing", dict, {}, ())
        self.known(missing, {"marks"}, ("missing",))
        marks = self.texts(missing, "marks", ("",), ("missing",))
        columns = self.get(table, "columns", dict, {}, ())
        made = tuple(self.column(name, columns[name], kind, marks) for name in columns)
        if not any(column.quantity for column in made):
            self.fail(("columns",), "no column becomes a quantity", '[columns.NAME] with quantity = "..."')
        taken: dict[str, str] = {}
        for column in made:
            if column.quantity is not None and taken.setdefault(column.quantity.name, column.name) != column.name:
                twice = f"{column.quantity.name} comes from {taken[column.quantity.name]} too"
                self.fail(("columns", column.name), twice, "one column for each quantity")
        return made

    def column(self, name: str, table: Any, kind: Kind, marks: tuple[str, ...]) -> Column:
        path = ("columns", name)
        if not isinstance(table, dict):
            self.fail(path, "is not a table", f'write [columns."{name}"]')
        self.known(table, COLUMN, path)
        why = self.get(table, "why", str, "a code, not a measurement", path)
        junk = self.get(table, "junk", list, [], path)
        if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in junk):
            self.fail((*path, "junk"), f"{junk!r} is not a list of numbers", "text marks go to missing")
        missing = frozenset((*marks, *self.texts(table, "missing", (), path)))
        codes = {float(v): why for v in junk}
        said = self.get(table, "quantity", str, "", path)
        if not said:
            return Column(name, missing=missing, junk=codes)
        if said not in kind.index:
            self.fail((*path, "quantity"), f"a {kind.name} has no {said!r}", f"one of {', '.join(kind.index)}")
        quantity = kind.quantity(said)
        states = self.get(table, "states", dict, {}, path)
        numbers = {text: self.state(state, quantity, (*path, "states")) for text, state in states.items()}
        if numbers:
            return Column(name, quantity, states=numbers, missing=missing, junk=codes)
        if "unit" not in table:
            self.fail(path, "no unit", f'the unit in the file, e.g. unit = "{quantity.unit}"')
        try:
            factor, offset = conversion(self.get(table, "unit", str, "", path), quantity.unit)
        except DeviceError as error:
            self.fail((*path, "unit"), str(error), "or convert with factor")
        factor *= float(self.get(table, "factor", float, 1.0, path))
        return Column(name, quantity, factor, offset, {}, missing, codes)

    def state(self, state: Any, quantity: Quantity, path: tuple[str, ...]) -> float:
        if isinstance(state, str) and state in quantity.states:
            return float(quantity.states.index(state))
        if not isinstance(state, int | float) or isinstance(state, bool):
            self.fail(path, f"{state!r} is no state of {quantity.name}", f"one of {', '.join(quantity.states)}")
        return float(state)
