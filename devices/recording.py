"""Reading recordings: CSV files (plain, gz, zip of many, a directory) as rows of devices, by a mapping. Pure of MQTT.

Nothing that is no value leaves here as one: every mark, code and absurd number is counted in a `Tally` by column and
reason. Rows come in order of time over all files; disorder within a file is kept as it is, and counted.
"""

from __future__ import annotations

import csv
import fnmatch
import gzip
import heapq
import io
import itertools
import math
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import IO, cast

from devices.errors import DeviceError
from devices.mapping import Column, Mapping, TimeRule
from devices.topics import NAME

MAX_MEMBERS = 1000  # files open at the same time
MAX_MARKS = 500  # different marks that a tally keeps apart
UNFIT = re.compile(r"[^A-Za-z0-9_.:-]+")


@dataclass(frozen=True, slots=True)
class Member:
    """One text file of a recording. `size`: bytes when unpacked, where known. `open` gives and closes its bytes."""

    name: str
    size: int
    open: Callable[[], AbstractContextManager[IO[bytes]]]


@dataclass(frozen=True, slots=True)
class Row:
    """One reading as recorded."""

    device: str
    t_ms: int
    values: dict[str, float]


@dataclass(slots=True)
class Tally:
    """What was in a recording and what was kept out. `junk` counts (column, mark, why); `bad_rows` by why."""

    rows: int = 0
    readings: int = 0
    values: int = 0
    empty: int = 0  # rows without a single value
    disorder: int = 0  # older than the same device's row before
    same_time: int = 0  # same instant as the same device's row before
    gaps: int = 0
    gap_s: float = 0.0
    bytes: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    devices: dict[str, int] = field(default_factory=dict)  # device -> its newest time
    junk: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    bad_rows: Counter[str] = field(default_factory=Counter)

    def reject(self, column: str, mark: str, why: str) -> None:
        """Count one mark that is no value; marks beyond the bound are counted together."""
        key = (column, mark[:24], why)
        if key not in self.junk and len(self.junk) >= MAX_MARKS:
            key = (column, "(others)", why)
        self.junk[key] += 1

    def place(self, row: Row, gap_s: float) -> None:
        """Count a row's place in time."""
        before = self.devices.get(row.device)
        if before is None:
            self.devices[row.device] = row.t_ms
        elif row.t_ms < before:
            self.disorder += 1
        else:
            self.same_time += row.t_ms == before
            if gap_s and row.t_ms - before > gap_s * 1000:
                self.gaps += 1
                self.gap_s += (row.t_ms - before) / 1000
            self.devices[row.device] = row.t_ms
        self.first_ms = row.t_ms if self.first_ms is None else min(self.first_ms, row.t_ms)
        self.last_ms = row.t_ms if self.last_ms is None else max(self.last_ms, row.t_ms)


def find_members(path: Path, mapping: Mapping) -> list[Member]:
    """The text files of a recording, in order of their names. Raises DeviceError where there are none."""
    try:
        members = sorted(_members(path, mapping), key=lambda m: m.name)
    except (OSError, zipfile.BadZipFile) as error:
        raise DeviceError(f"{path}: cannot be read ({error})") from error
    if not members:
        raise DeviceError(f"{path}: no file in it fits {', '.join(mapping.file.members)} of {mapping.source}")
    if len(members) > MAX_MEMBERS:
        raise DeviceError(f"{path}: {len(members)} files; no more than {MAX_MEMBERS} can be merged by time")
    return members


def _members(path: Path, mapping: Mapping) -> Iterator[Member]:
    if path.is_dir():
        for file in path.rglob("*"):
            if file.is_file() and _wanted(file.relative_to(path).as_posix(), mapping):
                yield _file(file, file.relative_to(path).as_posix())
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.is_dir() and _wanted(info.filename, mapping):
                    yield Member(info.filename, info.file_size, partial(_open_zipped, path, info.filename))
    else:
        yield _file(path, path.name)  # a file that was named is wanted, whatever it is called


@contextmanager
def _open_zipped(path: Path, name: str) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(path) as archive, archive.open(name) as file:
        yield file


def _file(path: Path, name: str) -> Member:
    if path.suffix == ".gz":
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4))
            size = int.from_bytes(file.read(4), "little")  # RFC 1952: size of the input modulo 2^32
        return Member(name, size, partial(_open_gzipped, path))
    return Member(name, path.stat().st_size, partial(_open_plain, path))


@contextmanager
def _open_plain(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as file:
        yield file


@contextmanager
def _open_gzipped(path: Path) -> Iterator[IO[bytes]]:
    with gzip.open(path, "rb") as file:
        yield cast("IO[bytes]", file)


def _wanted(name: str, mapping: Mapping) -> bool:
    def fits(patterns: Iterable[str]) -> bool:
        return any(_fits(name, pattern) for pattern in patterns)

    return fits(mapping.file.members) and not fits(mapping.file.exclude)


def read_rows(path: Path, mapping: Mapping, tally: Tally, *, start_ms: int | None = None) -> Iterator[Row]:
    """The rows of a recording, ordered by time over all its files; counted in `tally` as they pass.

    `start_ms`: time of the first row, for mappings with a fixed step. Raises DeviceError for an unreadable file.
    """
    if mapping.time.step_s and start_ms is None:
        raise DeviceError(f"{mapping.source}: its rows carry no time: give the first one's with --start")
    members = find_members(path, mapping)
    read = _RowReader(mapping, tally, start_ms)
    with ExitStack() as files:
        open_ = [files.enter_context(closing(_records(member, mapping, tally))) for member in members]
        if mapping.file.join == "line":
            _check_parts(path, members, mapping)
            streams = [read.rows(mapping.name, _joined(open_, tally))]
        else:
            streams = [read.rows(member.name, records) for member, records in zip(members, open_, strict=True)]
        for _, row in heapq.merge(*(_keyed(stream) for stream in streams), key=lambda pair: pair[0]):
            tally.place(row, mapping.time.gap_s)
            tally.readings += 1
            tally.values += len(row.values)
            yield row


def _check_parts(path: Path, members: Iterable[Member], mapping: Mapping) -> None:
    """Raise DeviceError where a part is not there whose lines the others' are joined with."""
    names = [member.name for member in members]
    lacking = [part for part in mapping.file.parts if not any(_fits(name, part) for name in names)]
    if lacking:
        raise DeviceError(
            f"{path}: {mapping.source} joins the lines of {', '.join(mapping.file.parts)}, and there is no "
            f"{' and no '.join(lacking)}: give the directory or archive that holds all of them"
        )


def _fits(name: str, pattern: str) -> bool:
    return fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(PurePosixPath(name).name, pattern)


def _keyed(rows: Iterator[Row]) -> Iterator[tuple[int, Row]]:
    """Rows with the newest time so far, so that merging keeps each file's own order."""
    newest = -(1 << 62)
    for row in rows:
        newest = max(newest, row.t_ms)
        yield newest, row


Record = dict[str, str]


def _records(member: Member, mapping: Mapping, tally: Tally) -> Generator[Record, None, None]:
    """One file as records by column name."""
    names = next((columns for pattern, columns in mapping.file.parts.items()
                  if fnmatch.fnmatch(PurePosixPath(member.name).name, pattern)), mapping.file.header)  # fmt: skip
    try:
        with (
            member.open() as raw,
            io.TextIOWrapper(raw, mapping.file.encoding, errors="replace", newline="") as text,
        ):
            lines = _counted(text, tally)
            first = next(lines, "")
            delimiter = mapping.file.delimiter or _sniff(first)
            rows = csv.reader(itertools.chain([first] if first else [], lines), delimiter=delimiter)
            if names is None:
                names = tuple(name.strip() for name in next(rows, []))
                _check_columns(member.name, names, mapping)
            yield from _dicts(rows, names, mapping.file.join == "line", tally)
    except (OSError, EOFError, zipfile.BadZipFile, csv.Error, LookupError) as error:
        raise DeviceError(f"{member.name}: cannot be read any further ({error})") from error


def _dicts(rows: Iterator[list[str]], names: tuple[str, ...], joined: bool, tally: Tally) -> Iterator[Record]:
    for row in rows:
        if not row:
            continue
        tally.rows += not joined
        if len(row) != len(names):
            tally.bad_rows[f"{len(row)} columns instead of {len(names)}"] += 1
            continue
        yield dict(zip(names, row, strict=True))


def _joined(parts: list[Generator[Record, None, None]], tally: Tally) -> Iterator[Record]:
    """Row n of every part as one record; the number of rows is that of the shortest part."""
    for records in zip(*parts, strict=False):
        tally.rows += 1
        merged: Record = {}
        for record in records:
            merged |= record
        yield merged


def _counted(lines: Iterable[str], tally: Tally) -> Iterator[str]:
    for line in lines:
        tally.bytes += len(line)
        yield line


def _sniff(line: str) -> str:
    """The delimiter of a CSV by its first line: whichever of , ; tab | stands in it most often.

    >>> _sniff("a;b;c,d")
    ';'
    """
    return max(",;\t|", key=line.count)


def _check_columns(name: str, names: tuple[str, ...], mapping: Mapping) -> None:
    """Every column that the mapping names must be there."""
    wanted = [*(c.name for c in mapping.columns), *mapping.time.columns, *mapping.keep]
    for column in wanted:
        if column not in names:
            raise DeviceError(
                f"{name}: has no column {column!r} that {mapping.source} names; it has {', '.join(names)}"
            )


class _RowReader:
    """Turns records into rows by the mapping's rules."""

    def __init__(self, mapping: Mapping, tally: Tally, start_ms: int | None) -> None:
        self._mapping, self._tally, self._start_ms = mapping, tally, start_ms
        self._time = lru_cache(maxsize=65_536)(lambda text: parse_time(text, mapping.time))
        self._keep = tuple(mapping.keep.items())

    def rows(self, name: str, records: Iterator[Record]) -> Iterator[Row]:
        mapping, tally = self._mapping, self._tally
        groups = self._groups(name)
        for number, record in enumerate(records):
            if any(record[column] not in allowed for column, allowed in self._keep):
                tally.bad_rows[mapping.keep_why] += 1
                continue
            device = self._device(record, groups)
            t_ms = self._when(record, number)
            if device is None or t_ms is None:
                continue
            values = {}
            for column in mapping.columns:
                value = self._value(column, record[column.name].strip())
                if value is not None and column.quantity is not None:
                    values[column.quantity.name] = value
            if values:
                yield Row(device, t_ms, values)
            else:
                tally.empty += 1

    def _groups(self, name: str) -> Record:
        """What the file's name says about the device."""
        stem = PurePosixPath(name).name.split(".")[0]
        groups = {"file": stem}
        if self._mapping.from_file is not None:
            found = self._mapping.from_file.search(name)
            if found is None:
                raise DeviceError(f"{name}: from_file of {self._mapping.source} does not fit this name")
            groups |= {key: value or "" for key, value in found.groupdict().items()}
        return groups

    def _device(self, record: Record, groups: Record) -> str | None:
        try:
            name = self._mapping.device.format_map(groups | record)
        except (KeyError, IndexError, ValueError) as error:
            raise DeviceError(
                f"{self._mapping.source}: device id {self._mapping.device!r}: no column {error}"
            ) from error
        name = UNFIT.sub("-", name.lower() if self._mapping.lower else name)
        if NAME.match(name):
            return name
        self._tally.bad_rows["no usable device id"] += 1
        return None

    def _when(self, record: Record, number: int) -> int | None:
        rule = self._mapping.time
        if rule.step_s:
            assert self._start_ms is not None
            return self._start_ms + round(number * rule.step_s * 1000)
        text = " ".join(record[column].strip() for column in rule.columns)
        t_ms = self._time(text)
        if t_ms is None:
            self._tally.bad_rows["time not understood"] += 1
            self._tally.reject(" ".join(rule.columns), text, "no time")
        return t_ms

    def _value(self, column: Column, text: str) -> float | None:
        reject = self._tally.reject
        if text in column.missing:
            reject(column.name, text, "missing")
            return None
        if column.states:
            if text in column.states:
                return column.states[text]
            reject(column.name, text, "no known state")
            return None
        if column.quantity is None and not column.junk:
            return None
        try:
            raw = float(text)
        except ValueError:
            reject(column.name, text, "not a number")
            return None
        if raw in column.junk:
            reject(column.name, text, column.junk[raw])
            return None
        quantity = column.quantity
        if quantity is None:
            return None
        value = raw * column.factor + column.offset
        if not math.isfinite(value):
            reject(column.name, text, "not a number")
            return None
        if not quantity.low <= value <= quantity.high:
            reject(column.name, text, f"outside {quantity.low:g}..{quantity.high:g} {quantity.unit}")
            return None
        return value


def parse_time(text: str, rule: TimeRule) -> int | None:
    """Event time in ms since 1970 UTC, None if no format fits. Local times that do not exist or exist twice (clock
    changes) are taken as the first of the two (PEP 495, fold 0)."""
    for form in rule.formats:
        try:
            if form == "unix_s":
                return round(float(text) * 1000)
            if form == "unix_ms":
                return round(float(text))
            when = datetime.fromisoformat(text) if form == "iso" else datetime.strptime(text, form)  # noqa: DTZ007
        except (ValueError, OverflowError):
            continue
        when = when.replace(tzinfo=rule.zone) if when.tzinfo is None else when
        return round((when - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)
    return None
