"""Replaying a recording: its rows are said again, paced by city time, as if the devices spoke now. No MQTT in here.

Three paces. As recorded: row n is due when city time has advanced as far as the recording has, times `speed`. Shifted
(`shift`): event times move by whole days, so that the hour of day stays and the rows of this very moment come now;
with a speed other than 1 the event times are compressed instead, starting now. As fast as possible: no waiting; with
`shift` the last row lands just before now. The recording's own times are never changed otherwise.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from devices.clock import Clock
from devices.mapping import Mapping
from devices.recording import Row, Tally, read_rows

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Pace:
    """How a recording is played. `speed` None: as fast as possible. `zone`: whose hour of day is kept when shifting."""

    speed: float | None = 1.0
    shift: bool = False
    loop: bool = False
    limit: int | None = None  # readings
    start_ms: int | None = None  # of the first row, for recordings without times
    zone: ZoneInfo | None = None


@dataclass(slots=True)
class Played:
    """What was played. `before` rows were left out because their shifted time had passed when the replay began."""

    tally: Tally = field(default_factory=Tally)
    sent: int = 0
    before: int = 0
    unknown: dict[str, int] = field(default_factory=dict)  # devices that nobody sends for -> rows
    rounds: int = 0
    shift_ms: int = 0


Say = Callable[[str, int, dict[str, float]], bool]  # device, event time, values -> False: nobody sends for it


def shift_days(first_ms: int, now_ms: int, zone: ZoneInfo, city_zone: ZoneInfo) -> int:
    """By how many ms to move a recording so that its first day begins within the last 24 h, hour of day kept.

    Hours are local ones: of `zone` in the recording, of `city_zone` now.
    """
    local_first = _local_ms(first_ms, zone)
    days = (_local_ms(now_ms, city_zone) - local_first) // DAY_MS
    moved_local = local_first + days * DAY_MS
    offset = _local_ms(now_ms, city_zone) - now_ms
    return moved_local - offset - first_ms


def _local_ms(t_ms: int, zone: ZoneInfo) -> int:
    """Wall-clock time as ms since 1970-01-01 local."""
    utc = datetime.fromtimestamp(t_ms / 1000, UTC)
    offset = utc.astimezone(zone).utcoffset()
    assert offset is not None
    return t_ms + round(offset.total_seconds() * 1000)


def play(path: Path, mapping: Mapping, pace: Pace, clock: Clock, say: Say, stop: threading.Event,
         played: Played | None = None) -> Played:  # fmt: skip
    """Say every row of the recording at its time, until the end, the limit or `stop`. Raises DeviceError.

    `say` may block (back-pressure). `played` is filled while it goes on, for a progress bar.
    """
    played = played or Played()
    extra_ms = 0
    while not stop.is_set():
        rows = read_rows(path, mapping, played.tally, start_ms=pace.start_ms)
        span_ms = _play_once(rows, path, mapping, pace, clock, say, stop, played, extra_ms)
        played.rounds += 1
        if not pace.loop or not span_ms or _enough(pace, played):
            break
        extra_ms += -(-(span_ms + 1) // DAY_MS) * DAY_MS  # whole days, so that the hour of day stays
    return played


def _enough(pace: Pace, played: Played) -> bool:
    return pace.limit is not None and played.sent >= pace.limit


def _play_once(rows: Iterator[Row], path: Path, mapping: Mapping, pace: Pace, clock: Clock, say: Say,
               stop: threading.Event, played: Played, extra_ms: int) -> int:  # fmt: skip
    """One round; returns the length of the recording in ms."""
    first = next(rows, None)
    if first is None:
        return 0
    begin_ms = clock.now_ms() if extra_ms == 0 or pace.speed is None or pace.speed != 1.0 else None
    timing = _timing(first, path, mapping, pace, begin_ms, clock, played, extra_ms)
    last_ms = first.t_ms
    for row in _from_now(_chain(first, rows), timing, played):
        if stop.is_set() or _enough(pace, played):
            break
        last_ms = max(last_ms, row.t_ms)
        if timing.paced and stop.wait(clock.seconds_until(timing.due(row.t_ms))):
            break
        if say(row.device, timing.event(row.t_ms), row.values):
            played.sent += 1
        else:
            played.unknown[row.device] = played.unknown.get(row.device, 0) + 1
    return last_ms - first.t_ms


def _chain(first: Row, rest: Iterable[Row]) -> Iterator[Row]:
    yield first
    yield from rest


@dataclass(frozen=True, slots=True)
class _Timing:
    """Recorded time -> event time and city time at which it is due: a line through (base, start)."""

    base_ms: int  # recorded
    event_ms: int  # its event time
    due_ms: int  # when it is due
    event_speed: float  # recorded ms per event ms
    due_speed: float
    paced: bool
    now_ms: int | None  # rows due before this are the past; None: nothing is left out

    def event(self, t_ms: int) -> int:
        return self.event_ms + round((t_ms - self.base_ms) / self.event_speed)

    def due(self, t_ms: int) -> int:
        return self.due_ms + round((t_ms - self.base_ms) / self.due_speed)


def _timing(first: Row, path: Path, mapping: Mapping, pace: Pace, begin_ms: int | None, clock: Clock,
            played: Played, extra_ms: int) -> _Timing:  # fmt: skip
    now_ms = clock.now_ms() if begin_ms is None else begin_ms
    city_zone = pace.zone or mapping.time.zone
    if pace.speed is None:
        shift_ms = extra_ms
        if pace.shift:
            last_ms = _last_time(path, mapping, pace)
            shift_ms += shift_days(last_ms, now_ms, mapping.time.zone, city_zone)
        return _Timing(first.t_ms, first.t_ms + shift_ms, now_ms, 1.0, 1.0, False, None)
    if not pace.shift:
        return _Timing(first.t_ms, first.t_ms + extra_ms, now_ms, 1.0, pace.speed, True, None)
    if extra_ms == 0:
        played.shift_ms = shift_days(first.t_ms, now_ms, mapping.time.zone, city_zone)
    shift_ms = played.shift_ms + extra_ms
    if pace.speed == 1.0:
        start_ms = first.t_ms + shift_ms
        return _Timing(first.t_ms, start_ms, start_ms, 1.0, 1.0, True, now_ms if extra_ms == 0 else None)
    # Compressed: the moment of the recording that has this hour of day is now; from there it runs faster.
    base_ms = now_ms - played.shift_ms if extra_ms == 0 else first.t_ms
    return _Timing(base_ms, now_ms, now_ms, pace.speed, pace.speed, True, now_ms if extra_ms == 0 else None)


def _last_time(path: Path, mapping: Mapping, pace: Pace) -> int:
    """The newest time in a recording: one pass over it."""
    tally = Tally()
    for _ in read_rows(path, mapping, tally, start_ms=pace.start_ms):
        pass
    return tally.last_ms or 0


def _from_now(rows: Iterator[Row], timing: _Timing, played: Played) -> Iterator[Row]:
    """Leave out rows whose time had passed when the replay began, but for each device's newest: its present state."""
    if timing.now_ms is None:
        yield from rows
        return
    newest: dict[str, Row] = {}
    for row in rows:
        if timing.due(row.t_ms) < timing.now_ms:
            played.before += row.device in newest
            newest[row.device] = row
            continue
        yield from sorted(newest.values(), key=lambda r: r.t_ms)
        newest.clear()
        yield row
    yield from sorted(newest.values(), key=lambda r: r.t_ms)


def summary(played: Played) -> dict[str, Any]:
    """What was played and what was kept out, for `--json`."""
    tally = played.tally
    return {
        "rows": tally.rows,
        "readings": tally.readings,
        "values": tally.values,
        "sent": played.sent,
        "before_start": played.before,
        "empty": tally.empty,
        "disorder": tally.disorder,
        "same_time": tally.same_time,
        "gaps": tally.gaps,
        "gap_s": tally.gap_s,
        "devices": sorted(tally.devices),
        "unknown_devices": played.unknown,
        "first_ms": tally.first_ms,
        "last_ms": tally.last_ms,
        "junk": [{"column": c, "mark": m, "why": w, "count": n} for (c, m, w), n in tally.junk.most_common()],
        "bad_rows": [{"why": w, "count": n} for w, n in tally.bad_rows.most_common()],
    }


def explain(tally: Tally) -> list[tuple[str, str, int, str]]:
    """Junk by column and reason, most first: (column, marks, how many, why)."""
    grouped: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for (column, mark, why), count in tally.junk.most_common():
        grouped.setdefault((column, why), []).append((mark, count))
    lines = []
    for (column, why), marks in grouped.items():
        shown = ", ".join(json.dumps(mark, ensure_ascii=False) for mark, _ in marks[:3])
        more = f" and {len(marks) - 3} others" if len(marks) > 3 else ""
        lines.append((column, shown + more, sum(count for _, count in marks), why))
    return sorted(lines, key=lambda line: -line[2])
