"""Tables that somebody brings (CSV or GeoJSON) as changes of a city: only what differs from it. Pure."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

from devices.cities.change import TABLES, Change, ChangeRefused, ObjectError, records_of, tell
from devices.cities.forms import NUMBERS, road_id
from devices.cities.read import one_line, read_attributes
from devices.cities.tables import NO_CSV, number
from devices.places import CityFiles

MOST_ROWS = 200_000
LISTS = ("trucks", "neighbours")
TEXTS = ("areas", "nodes", "devices", "permits", "neighbours")  # tables that are CSV in a city's directory


def sheet_changes(files: CityFiles, table: str, text: str, *, drop_missing: bool = False) -> list[Change]:
    """The changes by which the city comes to say what the sheet says. Columns that the sheet lacks stay as they are;
    an empty cell empties the field. With `drop_missing` objects of the table that the sheet does not name are dropped
    (of devices: those of the kinds that it names). Raises ChangeRefused naming lines (as ids) and fields."""
    if table not in TABLES:
        raise refused(table, "", "table", f"table {table[:40]!r}", f"use one of {', '.join(TABLES)}")
    known, how = records_of(files, table), TABLES[table]
    changes, errors, named = list[Change](), list[ObjectError](), dict[str, Mapping[str, Any]]()
    rows = _features(table, text) if text.lstrip()[:1] in ("{", "[") else _lines(table, text)
    for line, value in rows:
        name = str(value.get(how.key, "")).strip()
        if not name:
            errors.append(ObjectError(table, f"line {line}", how.key, f"no {how.key}", "fill it in, or drop the line"))
        elif name in named:
            errors.append(ObjectError(table, name, how.key, f"line {line} names it again", "name it once"))
        else:
            before = tell(table, name, known[name]) if name in known else {}
            named[name] = after = {**before, **value}
            if after != before:
                changes.append(Change(table, name, after))
    if errors:
        raise ChangeRefused(errors)
    if not named:
        raise refused(table, "", "", "the sheet holds no rows", "is it the right file?")
    if drop_missing:
        kinds = {value.get("kind") for value in named.values()}
        for name, record in known.items():
            if name not in named and (table != "devices" or record.kind in kinds):
                changes.append(Change(table, name, None))
    return changes


def refused(table: str, name: str, field: str, problem: str, fix: str) -> ChangeRefused:
    """One thing that is wrong with a sheet."""
    return ChangeRefused([ObjectError(table, name, field, problem, fix)])


def _lines(table: str, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a CSV table: (line, fields)."""
    rows = csv.reader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
    try:
        head = [name.strip() for name in next(rows, [])]
        if not head or len(set(head)) != len(head):
            raise refused(table, "line 1", "", "no heading, or a column twice", "the first line names the columns")
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(head):
                problem = f"{len(row)} cells where the heading has {len(head)}"
                raise refused(table, f"line {rows.line_num}", "", problem, "one cell per column; quote commas")
            if rows.line_num > MOST_ROWS:
                raise refused(table, f"line {rows.line_num}", "", "too many lines", f"at most {MOST_ROWS} at once")
            yield rows.line_num, {n: _cell(table, rows.line_num, n, c.strip()) for n, c in zip(head, row, strict=True)}
    except csv.Error as error:
        raise refused(table, f"line {rows.line_num}", "", f"not CSV: {error}", NO_CSV) from None


def _cell(table: str, line: int, name: str, cell: str) -> Any:
    if name in LISTS:
        return cell.split()
    if name == "attributes":
        told = read_attributes(cell)
        if told is None:
            raise refused(table, f"line {line}", name, f"attributes {cell[:60]!r}", "write name=number;name=number")
        return dict(told)
    if name in NUMBERS:
        figure = number(cell) if cell else None
        if cell and figure is None:
            raise refused(table, f"line {line}", name, f"{name} {cell[:40]!r} is no number", "write a plain number")
        return figure
    return cell


def _features(table: str, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Features of a GeoJSON FeatureCollection: properties are fields, the geometry is position, line or outline."""
    try:
        told = json.loads(text)
        features = told["features"]
        if not isinstance(features, list):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise refused(
            table, "", "", "not a GeoJSON FeatureCollection", "export it as GeoJSON with `features`"
        ) from None
    for count, feature in enumerate(features[: MOST_ROWS + 1], 1):
        geometry = feature.get("geometry") if isinstance(feature, dict) else None
        properties = feature.get("properties") if isinstance(feature, dict) else None
        if not isinstance(properties, dict) or count > MOST_ROWS:
            raise refused(table, f"line {count}", "", "a feature without properties, or too many", "export it again")
        yield count, {**properties, **_shape(table, count, geometry)}


def _shape(table: str, count: int, geometry: Any) -> dict[str, Any]:
    if geometry is None:
        return {}
    kind, at = (geometry.get("type"), geometry.get("coordinates")) if isinstance(geometry, dict) else (None, None)
    if kind == "Point" and isinstance(at, list) and len(at) >= 2:
        return {"lon": at[0], "lat": at[1]}
    if kind == "LineString" and table == "routes":
        return {"line": at}
    if kind == "LineString" and table == "roads":
        line = one_line(at)
        return {"line": at} | ({"id": road_id(line)} if line is not None else {})
    if kind == "Polygon" and table == "areas" and isinstance(at, list) and at:
        return {"ring": at[0]}
    raise refused(
        table,
        f"line {count}",
        "",
        f"a {str(kind)[:20]} in {table}",
        "points; lines of routes and roads, areas' outlines",
    )
