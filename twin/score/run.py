"""From a CSV to its scores: rows go to a scratch file, are judged in time order in one pass, and are written in input
order. Memory stays bounded; only a table out of order costs 16 bytes a row for sorting it."""

from __future__ import annotations

import csv
import itertools
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from twin.records import F64
from twin.score.alarm import Alarms
from twin.score.plot import Picture
from twin.score.scorer import Scorer, score_of
from twin.score.steps import Steps
from twin.score.table import CHUNK, Shape, Table, TableBroken
from twin.score.words import reason

TOLD = 6  # rarity, alarm, column, evidence, expected, spread; then a rarity for each column
REASON = 2.0  # rarity from which a row is given a reason

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done: the table's shape, its rows, alarms, and whether its rows were in time order."""

    shape: Shape
    rows: int
    alarms: int
    ordered: bool


@dataclass(frozen=True, slots=True)
class _Scratch:
    """The rows of a table on disk: [N, 1 + C] with the time first, and the times' text."""

    file: Path
    texts: Path
    rows: int
    ordered: bool
    wide: int  # 1 + C
    kept: tuple[int, ...]  # of the row, the values that are scored
    lost: int  # times that were written but could not be read

    def table(self) -> NDArray[np.float64]:
        return np.memmap(self.file, np.float64, "r", shape=(self.rows, self.wide))


def detect(
    path: Path,
    out: Path,
    *,
    time: str = "",
    values: list[str] | None = None,
    plot: Path | None = None,
    chinese: bool = False,
    progress: Progress = lambda _what, _done, _all: None,
) -> Outcome:
    """Score a CSV into another. Raises TableBroken; `out` is replaced as a whole, or not at all."""
    _apart(path, out, plot)
    with tempfile.TemporaryDirectory(prefix="citywhistle-detect-") as folder:
        scratch, shape = _taken(path, time, values or [], Path(folder), progress)
        told = _judge(scratch, Path(folder) / "told", progress)
        picture = Picture(shape.value_names, scratch.rows) if plot else None
        alarms = _write(out, scratch, told, shape, chinese, picture, progress)
        if plot and picture:
            plot.write_bytes(picture.png())
    return Outcome(shape, scratch.rows, alarms, scratch.ordered)


def _apart(path: Path, out: Path, plot: Path | None) -> None:
    """Nothing that is written may take the place of the table, of each other, or of what is no file."""
    places = [(path, "the table"), (out, "--out"), *([(plot, "--plot")] if plot else [])]
    for (a, first), (b, second) in itertools.combinations(places, 2):
        if a.resolve() == b.resolve():
            raise TableBroken(f"{second} is {first} itself; name another file")
    for place, _ in places[1:]:
        if place.exists() and not place.is_file():
            raise TableBroken(f"{place} cannot be written: it is no regular file")
        if not place.resolve().parent.is_dir():
            raise TableBroken(f"{place} cannot be written: the folder {place.parent} does not exist")


def _taken(path: Path, time: str, values: list[str], folder: Path, progress: Progress) -> tuple[_Scratch, Shape]:
    """The table's rows and shape. Whether day or month stands first may show only after the rows by which the table is
    recognised: where times were lost, the other way is tried too."""
    size = path.stat().st_size if path.is_file() else 0

    def read(form: str) -> tuple[_Scratch, Shape]:
        table = Table(path, time, values, form)
        try:
            return _read(table, folder, size, progress), table.shape
        finally:
            table.close()

    scratch, shape = read("")
    other = {"mdy": "dmy", "dmy": "mdy"}.get(shape.time_format)
    if other and scratch.lost and path.is_file():
        turned, turned_shape = read(other)
        scratch, shape = (turned, turned_shape) if turned.lost < scratch.lost else read("")
    kept = tuple(shape.values[i - 1] for i in scratch.kept)
    return scratch, replace(shape, values=kept)


def _read(table: Table, folder: Path, size: int, progress: Progress) -> _Scratch:
    rows, ordered, newest, lost = 0, True, -np.inf, 0
    seen = np.zeros(len(table.shape.values), bool)
    file, texts = folder / "rows", folder / "texts"
    with file.open("wb") as numbers, texts.open("w", encoding="utf-8") as words:
        for chunk in table.chunks():
            np.c_[chunk.t, chunk.x].tofile(numbers)
            words.writelines(json.dumps(text) + "\n" for text in chunk.texts)
            known = chunk.t[np.isfinite(chunk.t)]
            if len(known):
                ordered &= bool(known[0] >= newest and (np.diff(known) >= 0).all())
                newest = max(newest, float(known.max()))
            rows += len(chunk.t)
            lost += sum(bool(text) for text, t in zip(chunk.texts, chunk.t, strict=True) if not np.isfinite(t))
            seen |= np.isfinite(chunk.x).any(axis=0)
            progress("read", chunk.used, size)
    if not rows:
        raise TableBroken("the table has a header but no rows")
    held = [i for i, at in enumerate(table.shape.values) if seen[i] or at not in table.shape.maybe]
    kept = tuple(i + 1 for i in held or range(len(seen)))
    return _Scratch(file, texts, rows, ordered, 1 + len(seen), kept, lost)


def _order(scratch: _Scratch) -> NDArray[np.intp] | None:
    """Rows by time, rows of one time as they stand; None where they stand so already. A row without a time keeps to the
    row before it."""
    if scratch.ordered:
        return None
    t = np.array(scratch.table()[:, 0])
    known = np.isfinite(t)
    last = np.maximum.accumulate(np.where(known, np.arange(len(t)), -1))
    t = np.where(last >= 0, t[last], -np.inf)
    return np.argsort(t, kind="stable")


def _judge(scratch: _Scratch, file: Path, progress: Progress) -> NDArray[np.float64]:
    rows, columns = scratch.table(), len(scratch.kept)
    told = np.memmap(file, np.float64, "w+", shape=(scratch.rows, TOLD + columns))
    order = _order(scratch)
    judge = Judge(columns)
    for first in range(0, scratch.rows, CHUNK):
        end = min(first + CHUNK, scratch.rows)
        at: Any = slice(first, end) if order is None else order[first:end]
        part = np.array(rows[at])
        told[at] = judge.told(part[:, 0], part[:, scratch.kept])
        progress("judge", end, scratch.rows)
    return told


class Judge:
    """Tells of rows in time order; any split into calls tells the same."""

    def __init__(self, columns: int) -> None:
        self.scorer, self.steps, self.alarms = Scorer(columns), Steps(), Alarms()
        self.last: F64 = np.zeros((1, TOLD + columns))  # what was told of the row before

    def told(self, t: F64, x: F64) -> F64:
        """What is told of the next rows, [N, TOLD + C]: times t [N], values x [N, C]. A row that was written twice is
        told as the first."""
        fresh = self.steps.fresh(t, x)
        out: F64 = np.concatenate([self.last, self._steps(t[fresh], x[fresh])])[np.cumsum(fresh)]
        self.last = out[-1:]
        return out

    def _steps(self, t: F64, x: F64) -> F64:
        if not len(t):
            return np.empty((0, TOLD + x.shape[1]))
        missing = self.steps.missing(t)
        place = np.cumsum(missing + 1) - 1
        spaced = np.full((int(place[-1]) + 1, x.shape[1]), np.nan)
        spaced[place] = x
        scores = self.scorer.score(spaced)
        rarity, i = scores.rarity[place], np.arange(len(place))
        column = scores.column[place]
        expected, spread = scores.expected[place][i, column], scores.spread[place][i, column]
        alarm, evidence = self.alarms.step(rarity), scores.evidence[place]
        out: F64 = np.c_[rarity, alarm, column, evidence, expected, spread, scores.columns[place]]
        return out


def _write(out: Path, scratch: _Scratch, told: F64, shape: Shape, chinese: bool, picture: Picture | None,
           progress: Progress) -> int:  # fmt: skip
    rows, alarms = scratch.table(), 0
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file, scratch.texts.open(encoding="utf-8") as texts:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["time", "score", "alarm", "reason", *(f"score_{name}" for name in shape.value_names)])
            for first in range(0, scratch.rows, CHUNK):
                some, x = np.array(told[first : first + CHUNK]), np.array(rows[first : first + CHUNK])[:, scratch.kept]
                writer.writerows(_lines(texts, some, x, shape, chinese))
                alarms += int(some[:, 1].sum())
                if picture:
                    picture.add(first, x, score_of(some[:, 0]), some[:, 1] > 0)
                progress("write", first + len(some), scratch.rows)
        part.replace(out)
    except OSError as error:
        raise TableBroken(f"{out} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
    return alarms


def _lines(texts: IO[str], told: F64, x: F64, shape: Shape, chinese: bool) -> Iterator[list[str]]:
    scores = score_of(np.c_[told[:, :1], told[:, TOLD:]])
    names = shape.value_names
    for i, row in enumerate(told):
        why = ""
        if row[0] >= REASON:
            c = int(row[2])
            why = reason(names[c], int(row[3]), float(x[i, c]), float(row[4]), float(row[5]), chinese)
        yield [json.loads(texts.readline()), f"{scores[i, 0]:.9g}", str(int(row[1])), why,
               *(f"{s:.9g}" for s in scores[i, 1:])]  # fmt: skip
