"""The plain files under a city: CSV tables, TOML and GeoJSON, read strictly; every problem with file, line and fix."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from devices.errors import CityFileError

MOST_PROBLEMS = 500  # more than anyone reads; the rest is counted
MOST_BYTES = 512 << 20  # a file larger than this is no city file
NO_CSV = "close every quotation mark; separate by commas"
UTF8 = "save the file as UTF-8 (in Excel: CSV UTF-8)"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its name, and what an absent or empty cell stands for (None: it must be filled)."""

    name: str
    default: str | None = None


class Wrong(ValueError):
    """A value that does not fit: what, how to mend it, and in which field ('': the object as a whole)."""

    def __init__(self, problem: str, fix: str, field: str = "") -> None:
        super().__init__(problem)
        self.problem, self.fix, self.field = problem, fix, field


Complaint = tuple[str, str, str]  # field, problem, fix


class Problems:
    """What is wrong so far, in the order in which it was found; at most MOST_PROBLEMS are kept."""

    def __init__(self) -> None:
        self.found: list[CityFileError] = []
        self.left_out = 0

    def __bool__(self) -> bool:
        return bool(self.found)

    def say(self, file: str, line: int, problem: str, fix: str) -> None:
        """Note one problem."""
        if len(self.found) < MOST_PROBLEMS:
            self.found.append(CityFileError(file, line, problem, fix))
        else:
            self.left_out += 1

    def all(self) -> list[CityFileError]:
        """Everything that was noted, closed by a count of what was left out."""
        if not self.left_out:
            return self.found
        first = self.found[0]
        return [
            *self.found,
            CityFileError(
                first.file, first.line, f"{self.left_out} more problems", "mend the ones above and check again"
            ),
        ]


def read_text(path: Path, problems: Problems) -> str | None:
    """The text of a file, None (and a problem) where it is missing, too large or not UTF-8."""
    try:
        if path.stat().st_size > MOST_BYTES:
            problems.say(path.name, 1, f"larger than {MOST_BYTES >> 20} MiB", "split the city, or simplify its lines")
            return None
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        problems.say(path.name, 1, "the file is missing", "add it; docs/city-files.md shows its form")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        problems.say(path.name, line, "bytes that are not UTF-8", UTF8)
    except OSError as error:
        problems.say(path.name, 1, f"cannot be read: {error.strerror}", "check its rights")
    return None


def read_table(
    path: Path, columns: tuple[Column, ...], problems: Problems, *, optional: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """Rows of a CSV table as (line, cells in the order of `columns`); rows that are wrong are left out and noted."""
    if optional and not path.exists():
        return
    text = read_text(path, problems)
    if text is None:
        return
    rows = csv.reader(io.StringIO(text), strict=True)
    try:
        head = [name.strip() for name in next(rows, [])]
        order = _order(path.name, head, columns, problems)
        if order is None:
            return
        for row in rows:
            cells = _cells(path.name, rows.line_num, row, len(head), order, columns, problems)
            if cells is not None:
                yield rows.line_num, cells
    except csv.Error as error:
        problems.say(path.name, rows.line_num, f"not CSV: {error}", NO_CSV)


def _order(file: str, head: list[str], columns: tuple[Column, ...], problems: Problems) -> list[int] | None:
    """Where each column stands in the table (-1: absent), None where the heading is wrong."""
    known = {column.name for column in columns}
    listed = ", ".join(column.name for column in columns)
    wrong = False
    for column in columns:
        if column.default is None and column.name not in head:
            problems.say(file, 1, f"column {column.name!r} is missing", f"the first line must name: {listed}")
            wrong = True
    for name in head:
        if name not in known or head.count(name) > 1:
            word = "unknown" if name not in known else "repeated"
            problems.say(file, 1, f"{word} column {name[:60]!r}", f"known columns are: {listed}")
            wrong = True
    if wrong:
        return None
    return [head.index(column.name) if column.name in head else -1 for column in columns]


def _cells(
    file: str, line: int, row: list[str], width: int, order: list[int], columns: tuple[Column, ...], problems: Problems
) -> list[str] | None:
    if not any(cell.strip() for cell in row):  # spreadsheets leave lines of commas behind
        return None
    if len(row) != width:
        problems.say(file, line, f"{len(row)} cells where the heading has {width}", "one cell per column; quote commas")
        return None
    cells = [row[at].strip() if at >= 0 else "" for at in order]
    for i, cell in enumerate(cells):
        if not cell and columns[i].default != "":
            default = columns[i].default
            if default is None:
                problems.say(file, line, f"{columns[i].name!r} is empty", "fill it in, or delete the line")
                return None
            cells[i] = default
    return cells


def read_toml(path: Path, problems: Problems) -> Mapping[str, Any] | None:
    """A TOML file, None (and a problem) where it is missing or broken."""
    text = read_text(path, problems)
    if text is None:
        return None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"line (\d+)", str(error))
        line = int(at[1]) if at else text.count("\n") + 1
        problems.say(path.name, line, f"not TOML: {error}", "mend that line; text needs quotation marks")
        return None


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature of a GeoJSON file: its properties, geometry type and coordinates, still unchecked."""

    properties: Mapping[str, Any]
    geometry: str
    coordinates: Any
    number: int  # counts from 1
    line: int = 1  # on which it begins, where that was asked for


def read_features(path: Path, problems: Problems, *, optional: bool = False, lined: bool = False) -> Iterator[Feature]:
    """Features of a GeoJSON FeatureCollection (RFC 7946), with their lines if `lined`; what is no feature is noted and
    left out."""
    if optional and not path.exists():
        return
    text = read_text(path, problems)
    if text is None:
        return
    try:
        told = json.loads(text)
    except json.JSONDecodeError as error:
        problems.say(path.name, error.lineno, f"not JSON: {error.msg}", "is the file complete? export it again")
        return
    except RecursionError:
        problems.say(path.name, 1, "nested too deeply", "export it again as a GeoJSON FeatureCollection")
        return
    if not isinstance(told, dict) or not isinstance(told.get("features"), list):
        problems.say(path.name, 1, "not a GeoJSON FeatureCollection", "export it as GeoJSON with `features`")
        return
    if told.get("crs") is not None and "CRS84" not in json.dumps(told["crs"]) and "4326" not in json.dumps(told["crs"]):
        problems.say(path.name, 1, "another coordinate system than WGS84", "re-project to EPSG:4326, drop `crs`")
        return
    lines = feature_lines(text, len(told["features"])) if lined else []
    for number, feature in enumerate(told["features"], 1):
        geometry = feature.get("geometry") if isinstance(feature, dict) else None
        properties = feature.get("properties") if isinstance(feature, dict) else None
        if not isinstance(geometry, dict) or not isinstance(properties, dict):
            lines = lines or feature_lines(text, len(told["features"]))
            problem = f"feature {number} has no geometry or no properties"
            problems.say(path.name, lines[number - 1], problem, "draw it again, or drop it")
            continue
        line = lines[number - 1] if lined else 1
        yield Feature(properties, str(geometry.get("type")), geometry.get("coordinates"), number, line)


def feature_lines(text: str, count: int) -> list[int]:
    """The lines on which a FeatureCollection's first `count` features begin; 1 for those that cannot be found."""
    found: list[int] = []
    decoder, between = json.JSONDecoder(), re.compile(r"\s*,\s*")
    gap = re.search(r'"features"\s*:\s*\[\s*', text)
    line, counted = 1, 0
    while gap is not None and len(found) < count:
        line, counted = line + text.count("\n", counted, gap.end()), gap.end()
        found.append(line)
        try:
            _, end = decoder.raw_decode(text, gap.end())
        except (ValueError, RecursionError):
            break
        gap = between.match(text, end)
    return found + [1] * (count - len(found))


def line_of(path: Path, key: str, value: str) -> int:
    """The line on which a file first gives `key` that value (JSON and TOML spellings); 1 where it cannot be found."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return 1
    shapes = {re.escape(json.dumps(value)), re.escape(json.dumps(value, ensure_ascii=False))}
    at = re.search(rf"\"?{re.escape(key)}\"?\s*[:=]\s*(?:{'|'.join(shapes)})", text)
    return text.count("\n", 0, at.start()) + 1 if at else 1


def number(text: str) -> float | None:
    """A finite number, None for anything else."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def is_day(text: str) -> bool:
    """Whether text is an ISO date (2026-03-31)."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
