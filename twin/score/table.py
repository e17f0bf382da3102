"""Reads a CSV as it comes: recognises compression, encoding, delimiter, decimal mark, header, times and values."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, BinaryIO, cast

import numpy as np

from twin.errors import TwinError
from twin.records import F64
from twin.score.times import CLOCK, READERS, Reader, number, recognise

SAMPLE = 200  # rows by which a table is recognised
CHUNK = 4096  # rows read at once
COLUMNS = 10_000
FIELD = 1 << 20  # characters
TIME_NAMES = {"time", "timestamp", "datetime", "date", "ts", "t", "sdate", "index", "idx", "no", "step", "", "时间",
              "日期", "时间戳", "unnamed: 0"}  # fmt: skip
_TIME_WORDS = {"time", "timestamp", "datetime", "date", "epoch", "unixtime", "ts", "ds"}
_EPOCHS = ((3e8, 4e9), (3e11, 4e12), (3e14, 4e15), (3e17, 4e18))  # 1979 to 2096 in s, ms, us, ns
# Answers, not measurements: judging by them would be cheating.
LABELS = {"label", "labels", "isanomaly", "anomaly", "anomalies", "anomalylabel", "groundtruth", "isanomalous",
          "isoutlier", "outlier", "changepoint", "ischangepoint", "attack", "isattack"}  # fmt: skip
# Names that speak of answers in other words; they are answers where the column says yes and no only.
_LIKE_LABELS = re.compile(r"anomal|attack|outlier|groundtruth|changepoint|label|attflag|ytrue|^event$|^att$")
_VERDICTS = {"0", "1", "-1", "0.0", "1.0", "-1.0", "true", "false"}
_BLANKS = {"na", "nan", "n/a", "null", "none", "-", "#", "?"}
_SEPARATOR = re.compile(r"sep=.", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_DOTTED = re.compile(r"[+-]?\d{1,3}(?:\.\d{3})+(?:,\d+)?")  # 1.234,5 and, where commas are decimal, 1.234
_DECIMAL_DOT = re.compile(r"[+-]?\d*\.\d+")
_CALENDAR = {"year", "month", "day", "hour", "minute", "second"}


class TableBroken(TwinError):
    """A table that cannot be scored as it is: the message says what to do."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How a table is written. `time` is -1 where no column holds times: rows are numbered."""

    encoding: str
    delimiter: str
    decimal_comma: bool
    header: bool
    names: tuple[str, ...]
    time: int
    time_format: str
    values: tuple[int, ...]
    left_out: tuple[str, ...]
    clock: int = -1  # the column with the time of day, where it stands beside the date; -1: none
    maybe: tuple[int, ...] = ()  # values that were blank in all rows looked at: columns only if a number comes

    @property
    def value_names(self) -> tuple[str, ...]:
        return tuple(self.names[i] for i in self.values)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows as read: times as text and as numbers [N], values [N, C] (NaN: none), bytes of the file used so far (0 where
    that cannot be known)."""

    texts: list[str]
    t: F64
    x: F64
    used: int


class Table:
    """An open CSV. Raises TableBroken with what to do where it cannot be understood."""

    def __init__(self, path: Path, time: str = "", values: Sequence[str] = (), form: str = "") -> None:
        """`form`: the reader of times (twin.score.times), in place of the one that is recognised."""
        try:
            raw = path.open("rb")
        except OSError as error:
            raise TableBroken(f"{path} cannot be read: {error.strerror or error}") from error
        self.raw: BinaryIO = raw
        try:
            self.rows, shape, self.first = self._open(path, time, values)
            self.shape = replace(shape, time_format=form or shape.time_format)
        except BaseException:
            raw.close()
            raise

    def _open(self, path: Path, time: str, values: Sequence[str]) -> tuple[Iterator[list[str]], Shape, list[list[str]]]:
        head = cast("io.BufferedReader", self.raw).peek(2)[:2]
        stream = cast("IO[bytes]", gzip.GzipFile(fileobj=self.raw)) if head == b"\x1f\x8b" else self.raw
        buffered = io.BufferedReader(cast("io.RawIOBase", stream), 1 << 18)
        try:
            start = buffered.peek(1 << 16)[: 1 << 16]
        except (OSError, EOFError) as error:
            raise TableBroken(f"{path} is no whole gzip file: {error}") from error
        encoding = encoding_of(start)
        lines = list(_said(start.decode(encoding, "replace").splitlines()))[: SAMPLE + 1]
        if not any(line.strip() for line in lines):
            raise TableBroken(f"{path} holds no rows")
        delimiter = delimiter_of(lines)
        csv.field_size_limit(FIELD)
        text = io.TextIOWrapper(buffered, encoding=encoding, errors="replace", newline="")
        self.text = text  # it closes the file when it is let go
        rows = _parsed(text, delimiter, path)
        first = list(itertools.islice(rows, SAMPLE + 1))
        return rows, shape_of(encoding, delimiter, first, time, values), first

    def chunks(self) -> Iterator[Chunk]:
        """All rows in input order; rows that are too short have NaN where they end, empty lines are no rows."""
        rows = itertools.chain(self.first[1 if self.shape.header else 0 :], self.rows)
        read = READERS[self.shape.time_format] if self.shape.time >= 0 else number
        number_of = 0
        while lines := list(itertools.islice(rows, CHUNK)):
            yield self._chunk(lines, read, number_of)
            number_of += len(lines)

    def _chunk(self, lines: list[list[str]], read: Reader, first: int) -> Chunk:
        time, comma = self.shape.time, self.shape.decimal_comma
        if time >= 0:
            texts = [_when(row, time, self.shape.clock) for row in lines]
            t = np.array([read(text) for text in texts])
        else:
            t = np.arange(first, first + len(lines), dtype=np.float64)
            texts = [str(i) for i in range(first, first + len(lines))]
        x = np.array([[_value(row[i], comma) if i < len(row) else math.nan for i in self.shape.values]
                      for row in lines])  # fmt: skip
        used = self.raw.tell() if self.raw.seekable() else 0
        return Chunk(texts, t, x.reshape(len(lines), len(self.shape.values)), used)

    def close(self) -> None:
        self.raw.close()


def _said(text: Iterable[str]) -> Iterator[str]:
    """The lines after the remarks (`# ...`) and the `sep=;` at a file's head; a header may begin with # itself."""
    lines = iter(text)
    remarks: list[str] = []
    for line in lines:
        if not remarks and _SEPARATOR.fullmatch(line.strip()):
            continue
        if not line.startswith("#"):
            header = len(remarks) == 1 and bool(remarks[0].strip("#\r\n ")) and _alike(remarks[0], line)
            yield from remarks if header else ()
            yield line
            break
        remarks.append(line)
    else:
        yield from remarks
    yield from lines


def _alike(first: str, second: str) -> bool:
    """Whether two lines have as many delimiters, and some."""
    return any(first.count(mark) == second.count(mark) > 0 for mark in ",;\t|")


def _parsed(text: io.TextIOWrapper, delimiter: str, path: Path) -> Iterator[list[str]]:
    if delimiter == " ":
        source: Iterator[list[str]] = (line.split() for line in _said(text))
    else:
        lines = _Lines(line.replace("\0", "") for line in _said(text))
        source = _closed(csv.reader(lines, delimiter=delimiter), lines, path)
    try:
        yield from (row for row in source if (row and any(cell.strip() for cell in row)) or len(row) > 1)
    except csv.Error as error:
        raise TableBroken(f"{path}: a row cannot be read: {error}") from error
    except (OSError, EOFError) as error:
        raise TableBroken(f"{path} ends in the middle: {error}") from error


class _Lines:
    """Lines, and whether they are at an end."""

    def __init__(self, lines: Iterator[str]) -> None:
        self.lines = lines
        self.read = 0
        self.over = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            line = next(self.lines)
        except StopIteration:
            self.over = True
            raise
        self.read += 1
        return line


def _closed(rows: Iterator[list[str]], lines: _Lines, path: Path) -> Iterator[list[str]]:
    """The rows; a quote that is never closed would take all rows after it into one cell, and is an error."""
    begun = 1
    for row in rows:
        if lines.over:
            raise TableBroken(f"{path}: a quote in the row that begins in line {begun} is never closed")
        yield row
        begun = lines.read + 1


def _when(row: Sequence[str], time: int, clock: int) -> str:
    """What a row says of its time: one cell, or a date and a time of day."""
    text = row[time].strip() if time < len(row) else ""
    return f"{text} {row[clock].strip()}" if 0 <= clock < len(row) and text else text


def _value(text: str, comma: bool) -> float:
    if comma:
        text = text.replace(".", "") if _DOTTED.fullmatch(text.strip()) else text
        text = text.replace(",", ".")
    return number(text)


def encoding_of(start: bytes) -> str:
    """utf-8, utf-16, gb18030 or latin-1, by byte-order mark and by what can be decoded."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            codecs.getincrementaldecoder(encoding)().decode(start)
        except UnicodeDecodeError:
            continue
        return encoding
    return "latin-1"


def delimiter_of(lines: Sequence[str]) -> str:
    """The character that splits most lines into the same number (at least two) of cells; a comma where none does."""
    lines = [line for line in lines if line.strip()][:50]
    best, found = 0.0, ","
    for candidate in ("\t", ";", ",", "|", " "):
        counts = [len(line.split()) - 1 if candidate == " " else line.count(candidate) for line in lines]
        usual = max(set(counts), key=counts.count)
        share = counts.count(usual) / len(counts)
        if usual > 0 and share > best + (0.2 if candidate == " " else 0.0):
            best, found = share, candidate
    return found


def shape_of(encoding: str, delimiter: str, rows: list[list[str]], time: str, values: Sequence[str]) -> Shape:
    """What the first rows tell. `time`, `values`: columns named by the analyst, by name or number from 0."""
    if not rows:
        raise TableBroken("the table holds no rows")
    width = max(len(row) for row in rows)
    if width > COLUMNS and len(rows) == 1:
        raise TableBroken(f"the table is one row of {width} values; write a series as one value a line")
    if width > COLUMNS:
        raise TableBroken(f"the table has {width} columns; at most {COLUMNS} can be scored")
    comma = delimiter != "," and _decimal_comma(rows)
    header = _has_header(rows, comma) or _is_counted(rows)
    body = rows[1:] if header else rows
    named = [cell.strip() for cell in rows[0]] if header else []
    names = _told_apart([named[i] if i < len(named) and named[i] else f"column {i}" for i in range(width)])
    raw = [name.lower() for name in named] + ["?"] * (width - len(named))
    columns = [[row[i].strip() if i < len(row) else "" for row in body] for i in range(width)]
    at = _place(time, names) if time else _time_column(raw, columns, width)
    form = recognise(columns[at]) if at >= 0 else ""
    clock = _clock_column(columns, at, form)
    if clock >= 0:
        form = recognise([_when(row, at, clock) for row in body]) or form
    if at >= 0 and not form:
        raise TableBroken(f"the column {names[at]!r} holds no times that can be read; name another with --time-column")
    calendar = _CALENDAR if {"year", "month", "day"} <= set(raw) else set()
    left_out: list[str] = []
    maybe: list[int] = []
    if values:
        chosen = [_place(value, names) for value in values]
        chosen = list(dict.fromkeys(chosen))
    else:
        maybe = [i for i in range(width) if i != at and i < len(named) and named[i] and not _said_in(columns[i])]
        told = [i for i in range(width) if i != at and (i in maybe or _numeric(columns[i], comma))]
        answers = {i for i in told if _is_label(raw[i], columns[i]) or raw[i] in calendar}
        if not header and len(told) == 2 and _answers(columns[told[1]]) and not _answers(columns[told[0]]):
            answers.add(told[1])
        left_out = [names[i] for i in told if i in answers]
        chosen = [i for i in told if i not in answers]
    if not chosen:
        seen = f" beside {', '.join(left_out)}" if left_out else ""
        raise TableBroken(f"no column of numbers was found{seen}; name them with --value-columns")
    return Shape(encoding, delimiter, comma, header, names, at, form, tuple(chosen), tuple(left_out),
                 clock, tuple(maybe))  # fmt: skip


def _decimal_comma(rows: list[list[str]]) -> bool:
    """Whether more cells say 1,5 than say 1.5."""
    cells = [cell.strip() for row in rows for cell in row]
    commas = sum(_DECIMAL_COMMA.fullmatch(cell) is not None or (_DOTTED.fullmatch(cell) is not None and "," in cell)
                 for cell in cells)  # fmt: skip
    dots = sum(_DECIMAL_DOT.fullmatch(cell) is not None and not _DOTTED.fullmatch(cell) for cell in cells)
    return commas > dots


def _plain(name: str) -> str:
    return re.sub(r"[\s_\-]+", "", name)


def _is_label(name: str, cells: Sequence[str]) -> bool:
    """Whether a column of this name, in small letters, holds answers."""
    plain = _plain(name)
    if plain in LABELS:
        return True
    return _LIKE_LABELS.search(plain) is not None and {cell.lower() for cell in cells if cell} <= _VERDICTS


def _answers(cells: Sequence[str]) -> bool:
    """Whether a column says 0 or 1 only."""
    return {cell for cell in cells if cell} <= {"0", "1", "0.0", "1.0"}


def _is_counted(rows: list[list[str]]) -> bool:
    """Whether the first row numbers the columns from 0, as tables without names are written: 0,1,2 or ,0,1."""
    first = [cell.strip() for cell in rows[0]]
    at = first[1:] if first and not first[0] else first
    if len(first) < 2 or len(rows) < 2 or len(at) < (2 if len(at) == len(first) else 1):
        return False
    if at != [str(i) for i in range(len(at))]:
        return False
    if len(at) < len(first):
        return True
    return len(first) > 2 and rows[1][0].strip() != "1"  # a row of data 0,1,2 is followed by one that begins with 1


def _has_header(rows: list[list[str]], comma: bool) -> bool:
    """A first row without a single number, over rows with some, is a header."""

    def numbers(row: list[str]) -> int:
        return sum(math.isfinite(_value(cell, comma)) for cell in row)  # fmt: skip

    if numbers(rows[0]) or not any(cell.strip() for cell in rows[0]):
        return False
    return len(rows) == 1 or any(numbers(row) for row in rows[1:]) or not recognise([rows[0][0].strip()])


def _said_in(cells: Sequence[str]) -> list[str]:
    """The cells that are not blank in one way or another."""
    return [cell for cell in cells if cell and cell.lower() not in _BLANKS]


def _numeric(cells: Sequence[str], comma: bool) -> bool:
    told = _said_in(cells)
    return bool(told) and sum(not math.isnan(_value(cell, comma)) for cell in told) >= 0.5 * len(told)


def _time_column(raw: Sequence[str], columns: Sequence[Sequence[str]], width: int) -> int:
    """The column with dates, else one named like a time that holds numbers, else one that rises like an epoch, else a
    first one that counts; -1: none."""
    for i in range(width):
        if recognise(columns[i]) not in ("", "number"):
            return i
    if width < 2:
        return -1
    for i in range(width):
        if raw[i] in TIME_NAMES and recognise(columns[i]) == "number":
            return i
    for i in range(width):
        told = [number(cell) for cell in columns[i]]
        rises = len(told) > 2 and all(b >= a for a, b in itertools.pairwise(told)) and told[-1] > told[0]
        if rises and (set(re.split(r"[^a-z]+", raw[i])) & _TIME_WORDS or (raw[i] == "?" and _is_epoch(told))):
            return i
    first = [number(cell) for cell in columns[0]]
    even = len(first) > 2 and all(b - a == first[1] - first[0] > 0 for a, b in itertools.pairwise(first))
    return 0 if even else -1


def _is_epoch(told: Sequence[float]) -> bool:
    return any(low < told[0] and told[-1] < high for low, high in _EPOCHS)


def _told_apart(names: Sequence[str]) -> tuple[str, ...]:
    """Names, the second of one name with its number, so that each column has scores of its own."""
    told: dict[str, None] = {}
    for name in names:
        fresh, count = name, 2
        while fresh in told:
            fresh, count = f"{name} ({count})", count + 1
        told[fresh] = None
    return tuple(told)


def _clock_column(columns: Sequence[Sequence[str]], at: int, form: str) -> int:
    """The column that holds times of day beside a column of dates without any; -1: none."""
    if at < 0 or form in ("", "number") or any(":" in cell for cell in columns[at]):
        return -1
    for i, cells in enumerate(columns):
        told = [cell for cell in cells if cell]
        if i != at and told and sum(CLOCK.fullmatch(cell) is not None for cell in told) > 0.9 * len(told):
            return i
    return -1


def _place(name: str, names: Sequence[str]) -> int:
    if name in names:
        return names.index(name)
    lowered = [one.lower() for one in names]
    if name.lower() in lowered:
        return lowered.index(name.lower())
    if name.isdigit() and int(name) < len(names):
        return int(name)
    raise TableBroken(f"there is no column {name!r}; the table has {', '.join(names[:30])}")
