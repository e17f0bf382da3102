"""The uplink: from the spool to the city's broker, and done only below the server's high-water mark.

Each device has two places in the spool from which it sends: the *backlog* (what waited when the connection came up;
oldest first, at a bounded rate) and *live* (what came since; at once). Published readings stay in the spool until a
mark covers them, and go out again with the same numbers after each reconnect and whenever the mark stands still.

A server that meets a boot in the middle takes that number for its first. So live data of a device overtakes its
backlog only once a mark shows that the server knows the boot; until then the device sends in order.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from devices.codec import encode_json
from devices.envelope import decode_mark, encode_state
from devices.errors import PayloadError
from devices.records import Mark, Reading
from devices.sender import Address
from devices.wire import Broker, Link, Wire
from edge.errors import SpoolError
from edge.spool import Number, Spool

BURST = 32  # messages of one device before it is another's turn
LIVE_SHARE = 4  # a quarter of a device's window is kept free of backlog
NOTHING: Number = (0, 0)


@dataclass(frozen=True, slots=True)
class UplinkLimits:
    """Bounds of the uplink.

    `window`: readings of one device published and not covered. `in_flight`: messages that the broker has not
    acknowledged. `backlog_per_s`: readings of the backlog a second, over all devices. A mark that has not moved for
    `patience_s` makes the device's readings go out again; the patience doubles up to `longest_patience_s`.
    """

    window: int = 256
    in_flight: int = 500
    backlog_per_s: float = 500.0
    patience_s: float = 20.0
    longest_patience_s: float = 300.0


@dataclass(frozen=True, slots=True)
class UplinkCounts:
    """Since the start: messages published, again among them, connections made; `held` are out and not covered."""

    published: int
    resent: int
    held: int
    connects: int
    behind: int  # devices whose backlog is not through


class _Line:
    """Where one device's sending stands."""

    __slots__ = ("address", "backlog_at", "backlog_end", "caught_up", "held", "live_at", "mark", "moved_s",
                 "patience_s", "queued", "telemetry")  # fmt: skip

    def __init__(self, address: Address, patience_s: float) -> None:
        self.address = address
        self.telemetry = address.topic("telemetry")
        self.held: set[Number] = set()
        self.backlog_at = self.backlog_end = self.live_at = NOTHING
        self.caught_up = True
        self.mark: Mark | None = None
        self.moved_s = 0.0
        self.patience_s = patience_s
        self.queued = False

    def covered(self, number: Number) -> bool:
        return self.mark is not None and self.mark.covers(*number)

    def knows(self, boot: int) -> bool:
        """Whether the server has said that it has something of this boot."""
        return self.mark is not None and any(one.boot == boot for one in (self.mark, *self.mark.older))


class Uplink:
    """Sends for `own` and the devices behind it over one connection. Its methods run in the wire's thread, but for
    `notice`, `counts`, `is_up`, `wait` and `close`. With `marks` False the broker's acknowledgement counts as cover."""

    def __init__(
        self,
        wire: Wire,
        broker: Broker,
        own: Address,
        behind: Iterable[Address],
        spool: Spool,
        *,
        limits: UplinkLimits | None = None,
        marks: bool = True,
    ) -> None:
        self.own = own
        self.problem = ""  # the last message that was not understood
        self.stuck = ""  # why the spool cannot be read now
        self.moved = threading.Event()  # set when a mark has covered something
        self._wire, self._spool, self._marks = wire, spool, marks
        self._limits = limits or UplinkLimits()
        self._lines = {a.device: _Line(a, self._limits.patience_s) for a in (own, *behind)}
        self._ready: deque[_Line] = deque()
        self._noticed: deque[str] = deque()
        self._mids: dict[int, tuple[_Line, Number]] = {}
        self._published = self._resent = 0
        self._tokens = self._limits.backlog_per_s
        self._tended_s = self._swept_s = 0.0
        by_topic: Mapping[str, _Line] = {line.address.topic("mark"): line for line in self._lines.values()}
        self._by_topic = by_topic if marks else {}
        self._presence = own.topic("state")
        will = (self._presence, encode_state(False))
        self.link = Link(wire, broker, own.device, self, topics=tuple(self._by_topic), will=will)
        wire.add(self.link)

    def notice(self, devices: Iterable[str]) -> None:
        """New readings of these devices are in the spool; from any thread."""
        self._noticed.extend(devices)
        self.link.wake()

    @property
    def is_up(self) -> bool:
        """Whether the broker is reached and grants us the marks."""
        return self.link.is_ready

    @property
    def counts(self) -> UplinkCounts:
        lines = self._lines.values()
        held, behind = sum(len(line.held) for line in lines), sum(not line.caught_up for line in lines)
        return UplinkCounts(self._published, self._resent, held, self.link.connects, behind)

    @property
    def unmarked(self) -> list[str]:
        """Devices that have sent, in vain and again, and have never seen a mark: perhaps not registered behind us."""
        patience_s = self._limits.patience_s
        return [name for name, line in self._lines.items() if line.mark is None and line.patience_s > patience_s]

    def close(self) -> None:
        """State our absence and disconnect."""
        self._wire.call(self._farewell)
        self._wire.remove(self.link)

    def _farewell(self) -> None:
        if self.link.is_up:
            self.link.publish(self._presence, encode_state(False), retain=True)
            self.link.flush()

    # -- in the wire's thread -------------------------------------------------------------------------------------

    def up(self) -> None:
        self.link.publish(self._presence, encode_state(True), retain=True)

    def ready(self) -> None:
        """Whatever waits is backlog now; what was out is out of sight, and goes again."""
        self._mids.clear()
        for line in self._lines.values():
            self._reopen(line)

    def down(self) -> None:
        self._mids.clear()

    def stage(self) -> None:
        """Nothing is to be prepared: the spool was written before."""

    def _reopen(self, line: _Line) -> None:
        self._resent += len(line.held)
        line.held.clear()
        line.backlog_at, line.backlog_end = NOTHING, self._spool.last(line.address.device)
        line.live_at = line.backlog_end
        line.caught_up = False
        self._offer(line)

    def _offer(self, line: _Line) -> None:
        """Queue a line that may have something to send."""
        if not line.queued and (self._has_live(line) or self._backlog_room(line) > 0):
            line.queued = True
            self._ready.append(line)

    def _has_live(self, line: _Line) -> bool:
        if len(line.held) >= self._limits.window or line.live_at >= self._spool.last(line.address.device):
            return False
        return line.caught_up or not self._marks or line.knows(self._spool.boot)

    def _backlog_room(self, line: _Line) -> int:
        if line.caught_up:
            return 0
        window = self._limits.window - self._limits.window // LIVE_SHARE
        return min(BURST, window - len(line.held), int(self._tokens))

    def pump(self) -> None:
        """Publish while there is room, the lines in turn."""
        if not self.link.is_ready:
            self._noticed.clear()  # at the next `ready` everything is looked at
            return
        while self._noticed:
            line = self._lines.get(self._noticed.popleft())
            if line is not None:
                self._offer(line)
        try:
            while self._ready and self._room() > 0:
                line = self._ready.popleft()
                line.queued = False
                self._send(line)
                self._offer(line)
                self.stuck = ""
        except SpoolError as error:
            self.stuck = str(error)  # `tend` offers the line again

    def _room(self) -> int:
        return self._limits.in_flight - self.link.unacknowledged if self.link.is_ready else 0

    def _send(self, line: _Line) -> None:
        """A burst of live readings, then one of the backlog."""
        device = line.address.device
        if self._has_live(line):
            limit = min(BURST, self._room(), self._limits.window - len(line.held))
            last = self._spool.last(device)
            live = self._spool.peek(device, line.live_at, last, limit)
            self._publish(line, live)
            line.live_at = _number(live[-1]) if live else max(last, line.live_at)
        limit = min(self._backlog_room(line), self._room())
        if limit > 0:
            old = self._spool.peek(device, line.backlog_at, line.backlog_end, limit)
            self._publish(line, old)
            self._tokens -= len(old)
            if old:
                line.backlog_at = _number(old[-1])
            line.caught_up = len(old) < limit

    def _publish(self, line: _Line, readings: Iterable[Reading]) -> None:
        for reading in readings:
            number = _number(reading)
            if line.covered(number):
                continue
            mid = self.link.publish(line.telemetry, encode_json(reading))
            if not mid:
                return  # the connection has just gone; `ready` starts again
            if not line.held:
                line.moved_s = time.monotonic()
            line.held.add(number)
            self._published += 1
            if not self._marks:
                self._mids[mid] = (line, number)

    def tend(self, now_s: float) -> None:
        """Fill the backlog's allowance; send again where the mark has stood still for too long."""
        rate = self._limits.backlog_per_s
        self._tokens = min(max(rate, 1.0), self._tokens + rate * (now_s - self._tended_s if self._tended_s else 0.0))
        self._tended_s = now_s
        if not self.link.is_ready:
            return
        for line in self._lines.values():
            self._offer(line)
        if now_s - self._swept_s < 1.0 or not self._marks:
            return
        self._swept_s = now_s
        for line in self._lines.values():
            if line.held and now_s - line.moved_s > line.patience_s:
                line.moved_s = now_s
                line.patience_s = min(2 * line.patience_s, self._limits.longest_patience_s)
                self._reopen(line)

    def acknowledged(self, mid: int) -> None:
        told = self._mids.pop(mid, None)
        if told is not None:
            line, (boot, seq) = told
            self._cover(line, Mark(line.address.device, boot, 0, ((seq, seq),)))

    def heard(self, topic: str, payload: bytes) -> None:
        line = self._by_topic.get(topic)
        if line is None:
            return
        try:
            line.mark = decode_mark(line.address.device, payload)
        except PayloadError as error:
            self.problem = f"{topic}: not understood ({error}): {payload[:120]!r}"
            return
        self._cover(line, line.mark)

    def _cover(self, line: _Line, mark: Mark) -> None:
        """Let the spool forget what the server has."""
        self._spool.done(mark)
        left = {number for number in line.held if not mark.covers(*number)}
        if len(left) < len(line.held):
            line.moved_s = time.monotonic()
            line.patience_s = self._limits.patience_s
            line.held = left
        self._offer(line)
        self.moved.set()
        if self._ready:
            self.link.wake()


def _number(reading: Reading) -> Number:
    assert reading.boot is not None
    assert reading.seq is not None
    return reading.boot, reading.seq
