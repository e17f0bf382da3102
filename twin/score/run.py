"""From a CSV to its scores: rows go to a scratch file, are judged in time order in one pass, and are written in input
order. Memory stays bounded; only a table out of order costs 16 bytes a row for sorting it."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
    with tempfile.TemporaryDirectory(prefix="citywhistle-detect-") as folder:
        table = Table(path, time, values or ())
        try:
            scratch = _read(table, Path(folder), path.stat().st_size, progress)
        finally:
            table.close()
        shape = table.shape
        told = _judge(scratch, len(shape.values), Path(folder) / "told", progress)
        picture = Picture(shape.value_names, scratch.rows) if plot else None
        alarms = _write(out, scratch, told, shape, chinese, picture, progress)
        if plot and picture:
            plot.write_bytes(picture.png())
    return Outcome(shape, scratch.rows, alarms, scratch.ordered)


def _read(table: Table, folder: Path, size: int, progress: Progress) -> _Scratch:
    rows, ordered, newest = 0, True, -np.inf
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
            progress("read", chunk.used, size)
    if not rows:
        raise TableBroken("the table has a header but no rows")
    return _Scratch(file, texts, rows, ordered)


def _order(scratch: _Scratch, columns: int) -> NDArray[np.intp] | None:
    """Rows by time, rows of one time as they stand; None where they stand so already. A row without a time keeps to the
    row before it."""
    if scratch.ordered:
        return None
    t = np.array(np.memmap(scratch.file, np.float64, "r", shape=(scratch.rows, 1 + columns))[:, 0])
    known = np.isfinite(t)
    last = np.maximum.accumulate(np.where(known, np.arange(len(t)), -1))
    t = np.where(last >= 0, t[last], -np.inf)
    return np.argsort(t, kind="stable")


def _judge(scratch: _Scratch, columns: int, file: Path, progress: Progress) -> NDArray[np.float64]:
    rows = np.memmap(scratch.file, np.float64, "r", shape=(scratch.rows, 1 + columns))
    told = np.memmap(file, np.float64, "w+", shape=(scratch.rows, TOLD + columns))
    order = _order(scratch, columns)
    scorer, steps, alarms = Scorer(columns), Steps(), Alarms()
    for first in range(0, scratch.rows, CHUNK):
        end = min(first + CHUNK, scratch.rows)
        at: Any = slice(first, end) if order is None else order[first:end]
        part = np.array(rows[at])
        told[at] = judged(part[:, 0], part[:, 1:], scorer, steps, alarms)
        progress("judge", end, scratch.rows)
    return told


def judged(t: F64, x: F64, scorer: Scorer, steps: Steps, alarms: Alarms) -> F64:
    """What is told of the next rows in time order, [N, TOLD + C]: times t [N], values x [N, C]."""
    missing = steps.missing(t)
    place = np.cumsum(missing + 1) - 1
    spaced = np.full((int(place[-1]) + 1, x.shape[1]), np.nan)
    spaced[place] = x
    scores = scorer.score(spaced)
    rarity, i = scores.rarity[place], np.arange(len(place))
    column = scores.column[place]
    out: F64 = np.c_[rarity, alarms.step(rarity), column, scores.evidence[place], scores.expected[place][i, column],
                 scores.spread[place][i, column], scores.columns[place]]  # fmt: skip
    return out


def _write(out: Path, scratch: _Scratch, told: F64, shape: Shape, chinese: bool, picture: Picture | None,
           progress: Progress) -> int:  # fmt: skip
    rows = np.memmap(scratch.file, np.float64, "r", shape=(scratch.rows, 1 + len(shape.values)))
    alarms = 0
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file, scratch.texts.open(encoding="utf-8") as texts:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["time", "score", "alarm", "reason", *(f"score_{name}" for name in shape.value_names)])
            for first in range(0, scratch.rows, CHUNK):
                some, x = np.array(told[first : first + CHUNK]), np.array(rows[first : first + CHUNK, 1:])
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
