"""Parts: readings of one kind decoded together, checked against range and window, and put in order. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from devices.envelope import MISSING_CODES
from devices.records import Kind
from twin.records import F64, FLAG_NO_CLOCK, I64, NOT_ACCOUNTABLE, Columns

NO_TIME = -1  # t of a reading whose device sent none, until the time of arrival takes its place


@dataclass(slots=True)
class Part:
    """n readings of one kind as they were decoded. `at`: int64 index of the message that each came in.

    t is NO_TIME, boot and seq NOT_ACCOUNTABLE where the sender gave none. Values that are NaN are not there.
    """

    at: I64
    t: I64
    boot: I64
    seq: I64
    values: dict[str, F64]

    def __len__(self) -> int:
        return len(self.at)


@dataclass(frozen=True, slots=True)
class Window:
    """Event times that can be: from `oldest_ms` on, and no more than `ahead_ms` after the message arrived.

    The default begins with the year 2000: clocks that lost their battery say 1970 or 1980. A day ahead is a wrong zone;
    what is further off would hold up its device's newest time for days, and is refused as `envelope`.
    """

    oldest_ms: int = 946_684_800_000
    ahead_ms: int = 86_400_000


@dataclass(slots=True)
class Troubles:
    """What the check left out: values by (row, reason), and whole readings by index of message."""

    values: Counter[tuple[int, str]] = field(default_factory=Counter)
    readings: list[tuple[int, int, int, str]] = field(default_factory=list)  # (message, boot, seq, reason)
    examples: list[tuple[int, str, str]] = field(default_factory=list)  # (message, reason, detail), one a quantity


def merge(parts: Sequence[Part]) -> Part:
    """Several parts as one, in the order of their messages; quantities that some lack are NaN there."""
    if len(parts) == 1:
        return parts[0]
    names = dict.fromkeys(name for part in parts for name in part.values)
    at = np.concatenate([part.at for part in parts])
    order = np.argsort(at, kind="stable")
    return Part(
        at=at[order],
        t=np.concatenate([part.t for part in parts])[order],
        boot=np.concatenate([part.boot for part in parts])[order],
        seq=np.concatenate([part.seq for part in parts])[order],
        values={
            name: np.concatenate([p.values[name] if name in p.values else _nan(len(p)) for p in parts])[order]
            for name in names
        },
    )


def finish(
    kind: Kind, part: Part, rows: NDArray[np.int32], flags: NDArray[np.uint8], arrived: I64, window: Window
) -> tuple[Columns, Troubles]:
    """Columns from a part. `rows`, `flags` and `arrived` are by message. Bad values become NaN, bad readings go."""
    troubles = Troubles()
    row, when, flag = rows[part.at], arrived[part.at], flags[part.at]
    spoilt = _check_values(kind, part, row, troubles)
    t = part.t
    oldest = int(t.min())
    if (
        spoilt is None
        and oldest > NO_TIME
        and window.oldest_ms <= oldest
        and int(t.max()) <= int(when.min()) + window.ahead_ms
    ):
        return Columns(kind.name, row, t, part.boot, part.seq, when, flag, part.values), troubles
    if oldest <= NO_TIME:
        timeless = t == NO_TIME
        t = np.where(timeless, when, t)
        flag = np.where(timeless, flag | FLAG_NO_CLOCK, flag).astype(np.uint8)
    outside = (t < window.oldest_ms) | (t > when + window.ahead_ms)
    drop = outside
    if spoilt is not None:
        drop = outside | (spoilt > 0)
        for index in np.flatnonzero((spoilt > 0) & ~outside).tolist():
            _refuse(part, index, "range" if spoilt[index] == 2 else "empty", troubles)
    if outside.any():
        for index in np.flatnonzero(outside).tolist():
            _refuse(part, index, "envelope", troubles)
            troubles.examples.append((int(part.at[index]), "envelope", f"t {int(t[index])} cannot be"))
    columns = Columns(kind.name, row, t, part.boot, part.seq, when, flag, part.values)
    return (select(columns, ~drop) if drop.any() else columns), troubles


def select(columns: Columns, keep: NDArray[np.bool_]) -> Columns:
    """The readings of a mask; quantities that none of them has are left out."""
    values = {name: column[keep] for name, column in columns.values.items()}
    return Columns(
        columns.kind,
        columns.row[keep],
        columns.t[keep],
        columns.boot[keep],
        columns.seq[keep],
        columns.arrived[keep],
        columns.flags[keep],
        {name: column for name, column in values.items() if not np.isnan(column).all()},
    )


def _check_values(kind: Kind, part: Part, row: NDArray[np.int32], troubles: Troubles) -> NDArray[np.int64] | None:
    """Take out values that cannot be. Returns, where it matters, per reading: 0 usable, 1 no value at all, 2 none
    because its only one was bad; None where every reading is usable."""
    bad_of: dict[str, NDArray[np.bool_]] = {}
    whole = False  # some quantity is there in every reading
    for name, column in part.values.items():
        if _sound(kind, name, column):
            whole = True
            continue
        bad = _bad(kind, name, column)
        if bad is None:
            whole = whole or not np.isnan(column).any()
        else:
            bad_of[name] = bad
            part.values[name] = np.where(bad, np.nan, column)
    if whole and not bad_of:
        return None
    usable = np.zeros(len(part), np.int64)
    for column in part.values.values():
        usable += ~np.isnan(column)
    faults = np.zeros(len(part), np.int64)
    for bad in bad_of.values():
        faults += bad
    for name, bad in bad_of.items():
        _note_values(kind, name, part, row, bad & (usable > 0), troubles)
    part.values = {name: column for name, column in part.values.items() if not np.isnan(column).all()}
    if (usable > 0).all():
        return None
    return np.where(usable > 0, 0, np.where(faults == 1, 2, 1))


def _sound(kind: Kind, name: str, column: F64) -> bool:
    """Whether every value is there and can be, as far as the smallest and the largest one tell."""
    quantity = kind.quantity(name)
    low, high = float(column.min()), float(column.max())  # NaN where one is not there, which no comparison passes
    if not (low >= quantity.low and high <= quantity.high) or quantity.role == "state":
        return False
    return not any(low <= code <= high for code in MISSING_CODES)


def _bad(kind: Kind, name: str, column: F64) -> NDArray[np.bool_] | None:
    """Which values cannot be; None where all can (NaN, that is no value, among them)."""
    quantity = kind.quantity(name)
    good = (column >= quantity.low) & (column <= quantity.high)
    for code in MISSING_CODES:
        if quantity.low <= code <= quantity.high:
            good &= column != code
    if quantity.role == "state":
        good &= column == np.floor(column)
    if good.all():
        return None
    bad = ~good & ~np.isnan(column)
    return bad if bad.any() else None


def _note_values(
    kind: Kind, name: str, part: Part, row: NDArray[np.int32], bad: NDArray[np.bool_], troubles: Troubles
) -> None:
    found = np.flatnonzero(bad)
    if not len(found):
        return
    quantity = kind.quantity(name)
    for one, count in zip(*(a.tolist() for a in np.unique(row[found], return_counts=True)), strict=True):
        troubles.values[one, "range"] += count
    detail = f"{name} is not within {quantity.low:g}..{quantity.high:g}"
    troubles.examples.append((int(part.at[found[-1]]), "range", detail))


def _refuse(part: Part, index: int, reason: str, troubles: Troubles) -> None:
    troubles.readings.append((int(part.at[index]), int(part.boot[index]), int(part.seq[index]), reason))


def _nan(n: int) -> F64:
    return np.full(n, np.nan)


def from_rows(singles: Sequence[tuple[int, int | None, int | None, int | None, Mapping[str, float]]]) -> Part:
    """A part from single readings: (message, t, boot, seq, values); in the order of their messages."""
    rows = sorted(singles, key=lambda row: row[0])
    names = dict.fromkeys(name for row in rows for name in row[4])
    return Part(
        at=np.array([row[0] for row in rows], np.int64),
        t=np.array([NO_TIME if row[1] is None else row[1] for row in rows], np.int64),
        boot=np.array([NOT_ACCOUNTABLE if row[2] is None else row[2] for row in rows], np.int64),
        seq=np.array([NOT_ACCOUNTABLE if row[3] is None else row[3] for row in rows], np.int64),
        values={name: np.array([row[4].get(name, np.nan) for row in rows], np.float64) for name in names},
    )
