"""The score card: what became of the cases that were opened within a period. Pure; docs/score.md defines each figure.

Children of a cause are left out (they are never sent), and counted by themselves.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from twin.records import F64, I64

COLUMNS = (
    "type", "subject", "department", "parent", "opened_ms", "deadline_ms", "dispatched_ms", "accepted_ms", "handled_ms",
    "verified_ms", "closed_ms", "done_ms", "reopened", "returned", "escalated", "cancelled_by", "verdict", "score",
    "judge",
)  # fmt: skip
STAGES = {  # name: from, to
    "dispatch": ("opened_ms", "dispatched_ms"),
    "accept": ("dispatched_ms", "accepted_ms"),
    "handle": ("accepted_ms", "handled_ms"),
    "verify": ("handled_ms", "verified_ms"),
    "close": ("verified_ms", "closed_ms"),
    "whole": ("opened_ms", "closed_ms"),
}
GROUPS = ("type", "district", "street", "department")
JUDGES = ("citizen", "unit", "operator")
REPEATED = 2  # cases of one subject within the period that make it a repeat offender
MOST_OFFENDERS = 100
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Line:
    """One line: cases opened in the period, and what became of them. Shares and medians are None where there is none.

    `timed`: cases with a deadline that are done, or whose deadline has passed; `in_time` of them were done by it.
    `median_s`: seconds of each stage, over the cases that went through it.
    """

    key: str
    cases: int
    open: int
    closed: int
    cancelled: int
    timed: int
    in_time: int
    late: int
    reopened: int
    returned: int
    escalated: int
    false: int
    share_in_time: float | None
    median_s: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Judged:
    """Evaluations by one sort of judge: how many, the mean of those with a score (1..5), how many said false."""

    judge: str
    count: int
    mean_score: float | None
    false: int


@dataclass(frozen=True, slots=True)
class Offender:
    """A subject with several cases in the period; `company` owns it, where it is owned."""

    subject: str
    company: str
    cases: int
    types: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ScoreCard:
    """Everything about one period; `from_ms` is in it, `to_ms` is not."""

    from_ms: int
    to_ms: int
    now_ms: int
    total: Line
    by: Mapping[str, Sequence[Line]]
    judged: Sequence[Judged]
    offenders: Sequence[Offender]
    children: int  # symptoms under causes, in no other figure
    first: str = ""  # the days asked for, both in it
    last: str = ""
    names: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # group -> key -> {en, zh}


@dataclass(frozen=True, slots=True)
class Where:
    """Where a subject is, and whose."""

    district: str = ""
    street: str = ""
    company: str = ""


def period(first: date, last: date, zone: str) -> tuple[int, int]:
    """From the midnight that begins `first` to the one that ends `last`, in a time zone; ms since 1970 UTC.

    A day is as long as it is there: 23 or 25 hours when the clocks change.
    """
    ends = (datetime.combine(day, time(), ZoneInfo(zone)) for day in (first, last + DAY))
    begin, end = (round(at.timestamp() * 1000) for at in ends)
    return begin, end


def score_card(
    rows: Sequence[Sequence[Any]], where: Callable[[str], Where], from_ms: int, to_ms: int, now_ms: int
) -> ScoreCard:
    """The card of the rows (COLUMNS in order) of all cases opened within [from_ms, to_ms)."""
    mine = [row for row in rows if not row[3]]
    told = dict(zip(COLUMNS, zip(*mine, strict=True), strict=True)) if mine else dict.fromkeys(COLUMNS, ())
    subjects = told["subject"]
    places = {subject: where(subject) for subject in set(subjects)}
    keys: dict[str, Sequence[str]] = {
        "type": told["type"],
        "district": [places[subject].district for subject in subjects],
        "street": [places[subject].street for subject in subjects],
        "department": told["department"],
    }
    table = _Table(told, now_ms)
    by = {group: table.lines(keys[group]) for group in GROUPS}
    everything = np.arange(len(mine))
    return ScoreCard(
        from_ms, to_ms, now_ms, table.line("", everything), by, _judged(told), _offenders(told, places),
        len(rows) - len(mine),
    )  # fmt: skip


class _Table:
    """The rows as arrays; a line is a selection of them."""

    def __init__(self, told: Mapping[str, Sequence[Any]], now_ms: int) -> None:
        self._t: dict[str, I64] = {
            name: np.array(told[name], np.int64) for name in COLUMNS if name.endswith("_ms") or name in _COUNTED
        }
        self._cancelled = np.array([bool(by) for by in told["cancelled_by"]], bool)
        self._false = np.array(
            [by == "person" or verdict == "false" for by, verdict in zip(told["cancelled_by"], told["verdict"],
                                                                         strict=True)], bool)  # fmt: skip
        done, deadline = self._t["done_ms"], self._t["deadline_ms"]
        bound = (deadline > 0) & (self._t["dispatched_ms"] > 0) & ~self._cancelled
        self._timed = bound & ((done > 0) | (deadline < now_ms))
        self._in_time = self._timed & (done > 0) & (done <= deadline)
        self._spent: dict[str, F64] = {}
        for stage, (begin, end) in STAGES.items():
            there = (self._t[begin] > 0) & (self._t[end] >= self._t[begin])
            self._spent[stage] = np.where(there, (self._t[end] - self._t[begin]) / 1000, np.nan)

    def lines(self, keys: Sequence[str]) -> list[Line]:
        """A line for each key, most cases first."""
        numbers: dict[str, int] = {}
        index = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
        order = np.argsort(index, kind="stable")
        cuts = np.searchsorted(index[order], np.arange(len(numbers) + 1))
        found = [self.line(key, order[cuts[i] : cuts[i + 1]]) for key, i in numbers.items()]
        return sorted(found, key=lambda line: (-line.cases, line.key))

    def line(self, key: str, rows: NDArray[np.intp]) -> Line:
        """One line over some rows."""
        closed = self._t["closed_ms"][rows] > 0
        cancelled = self._cancelled[rows]
        timed, in_time = int(self._timed[rows].sum()), int(self._in_time[rows].sum())
        reopened, returned, escalated = (int((self._t[name][rows] > 0).sum()) for name in _COUNTED)
        return Line(
            key, len(rows), int((~closed).sum()), int((closed & ~cancelled).sum()), int(cancelled.sum()), timed,
            in_time, timed - in_time, reopened, returned, escalated, int(self._false[rows].sum()),
            round(in_time / timed, 4) if timed else None,
            {stage: _median(spent[rows]) for stage, spent in self._spent.items()},
        )  # fmt: skip


_COUNTED = ("reopened", "returned", "escalated")


def _median(values: F64) -> float | None:
    known = values[~np.isnan(values)]
    return round(float(np.median(known)), 3) if len(known) else None


def _judged(told: Mapping[str, Sequence[Any]]) -> list[Judged]:
    scores: dict[str, list[float]] = defaultdict(list)
    for judge, score in zip(told["judge"], told["score"], strict=True):
        if judge:
            scores[judge].append(float(score))
    false = Counter(j for j, verdict in zip(told["judge"], told["verdict"], strict=True) if j and verdict == "false")
    names = [*JUDGES, *sorted(set(scores) - set(JUDGES))]
    given = {judge: [score for score in scores[judge] if score] for judge in names}
    return [
        Judged(judge, len(scores[judge]), round(sum(given[judge]) / len(given[judge]), 2) if given[judge] else None,
               false[judge])
        for judge in names
    ]  # fmt: skip


def _offenders(told: Mapping[str, Sequence[Any]], places: Mapping[str, Where]) -> list[Offender]:
    """Subjects with REPEATED cases or more that were no false whistle and not gone before they were sent."""
    types: dict[str, Counter[str]] = defaultdict(Counter)
    columns = (told[name] for name in ("subject", "type", "cancelled_by", "verdict"))
    for subject, kind, cancelled, verdict in zip(*columns, strict=True):
        if not cancelled and verdict != "false":
            types[subject][kind] += 1
    found = [
        Offender(subject, places[subject].company, count.total(), dict(count.most_common()))
        for subject, count in types.items()
        if count.total() >= REPEATED
    ]
    return sorted(found, key=lambda one: (-one.cases, one.subject))[:MOST_OFFENDERS]


HEAD = (
    "group", "key", "name_en", "name_zh", "cases", "open", "closed", "cancelled", "timed", "in_time", "late",
    "share_in_time", "reopened", "returned", "escalated", "false", *(f"median_{stage}_s" for stage in STAGES),
    "evaluations", "mean_score",
)  # fmt: skip


def as_csv(card: ScoreCard) -> str:
    """The card as one table (RFC 4180): total, then every line by its group, judges, offenders."""
    out = io.StringIO()
    writer = csv.DictWriter(out, HEAD, restval="")
    writer.writeheader()
    days = f"{card.first}..{card.last}"
    writer.writerow({"group": "total", "key": days, **_figures(card.total)})
    for group, lines in card.by.items():
        for line in lines:
            name = card.names.get(group, {}).get(line.key, {})
            writer.writerow({"group": group, "key": _tame(line.key), "name_en": _tame(name.get("en", "")),
                             "name_zh": _tame(name.get("zh", "")), **_figures(line)})  # fmt: skip
    for judge in card.judged:
        writer.writerow({"group": "judge", "key": judge.judge, "evaluations": judge.count, "false": judge.false,
                         "mean_score": "" if judge.mean_score is None else judge.mean_score})  # fmt: skip
    for one in card.offenders:
        writer.writerow(
            {"group": "repeat", "key": _tame(one.subject), "name_en": _tame(one.company), "cases": one.cases}
        )
    return out.getvalue()


def _figures(line: Line) -> dict[str, Any]:
    told: dict[str, Any] = {
        name: getattr(line, name)
        for name in ("cases", "open", "closed", "cancelled", "timed", "in_time", "late", *_COUNTED, "false")
    }
    told["share_in_time"] = "" if line.share_in_time is None else line.share_in_time
    return told | {f"median_{stage}_s": "" if s is None else s for stage, s in line.median_s.items()}


def _tame(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
