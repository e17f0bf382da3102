"""The sender: publishes for one or many devices over one connection and keeps every reading until the server has it.

"Has it" is the server's retained mark (city/{district}/{kind}/{device}/mark: everything of this boot up to seq is in
its journal), because a broker's PUBACK does not survive the broker's own crash. A reading gets its sequence number
when it is first published, after it was written to the sender's own log; so numbers have no gaps of ours. Re-sent
are: everything not covered after each reconnect, and again whenever the mark has stood still for a while. That starts
slowly: the oldest PROBE readings of a device first, twice as many with each mark that moves, because a server that is
behind with its work is not helped by hearing a deep window twice. Memory is bounded: when full, the oldest reading of
the same device that was never published is dropped and logged as dropped.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from devices.codec import encode_flat, encode_values
from devices.envelope import decode_command, decode_mark, encode_ack, encode_state, read_plain_mark
from devices.errors import DeviceError, PayloadError
from devices.keep import Held, Kept
from devices.keep import line as as_line
from devices.log import Batch, SentLog
from devices.records import Command, Mark
from devices.topics import Leaf, Topic
from devices.wire import Broker, Link, Wire

BURST = 32  # messages of one device before it is another's turn
PROBE = 8  # readings of one device that go out again before its mark has moved

Answerer = Callable[[Command], tuple[bool, str] | None]
# A device, its time in ms, values (`encode_values`), whether it is an event, and is sent twice, as bad links do.
Said = tuple[str, int | None, bytes, bool, bool]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a device speaks: its district, kind and id."""

    district: str
    kind: str
    device: str

    def topic(self, leaf: Leaf) -> str:
        return str(Topic(self.district, self.kind, self.device, leaf))


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one sender.

    `window`: readings of one device that are published and not covered by a mark. `in_flight`: messages that the
    broker has not acknowledged. `waiting`: readings never published, over all devices. A mark that has not moved for
    `patience_s` makes the device's window go out again, the oldest first; the patience doubles up to
    `longest_patience_s`.
    """

    window: int = 256
    in_flight: int = 500
    waiting: int = 100_000
    patience_s: float = 20.0
    longest_patience_s: float = 300.0


class _Line:
    """One device's queue: `waiting` (never published) and `held` (published, not covered)."""

    __slots__ = ("ack", "address", "cursor", "event", "held", "leave", "logged", "moved_s", "pace", "patience_s",
                 "queued", "seq", "telemetry", "twice", "waiting")  # fmt: skip

    def __init__(self, address: Address, patience_s: float) -> None:
        self.address = address
        self.telemetry, self.event = address.topic("telemetry"), address.topic("event")
        self.ack = address.topic("ack")
        self.seq = self.logged = 0  # last number given; last one that the log has
        self.waiting: deque[tuple[int | None, bytes, bool]] = deque()
        self.held: deque[Held] = deque()
        self.cursor = 0  # index in `held` of the next one to publish again; its length: none
        self.pace = self.leave = PROBE  # how many may go again after the last mark that moved; those left of them
        self.twice = False  # the newest is to be published twice
        self.moved_s = 0.0
        self.patience_s = patience_s
        self.queued = False

    def again(self) -> None:
        """All that is held is to be published again."""
        self.cursor, self.pace, self.leave = 0, PROBE, PROBE

    @property
    def due(self) -> int:
        """How many of those held are to be published again at present."""
        return min(len(self.held) - self.cursor, self.leave)


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of a sender's readings. given = waiting + sent + dropped; sent = covered + held."""

    given: int = 0
    waiting: int = 0
    sent: int = 0
    covered: int = 0
    held: int = 0
    dropped: int = 0
    resent: int = 0
    commands: int = 0
    connects: int = 0

    @property
    def buffered(self) -> int:
        """Readings that no mark covers yet, published or not."""
        return self.waiting + self.held

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, f) + getattr(other, f) for f in self.__slots__))


class Sender:
    """Publishes for `addresses` as user `broker.user`; `own` is whose presence (`state`, last will) it states, if any.

    `answer` handles commands (quickly, in the wire's thread) and returns (done, detail), or None for no answer at
    all. With `marks=False` the
    broker's acknowledgement counts as cover: for servers that publish no marks. Thread-safe.
    """

    def __init__(
        self,
        wire: Wire,
        broker: Broker,
        own: Address | None,
        addresses: Iterable[Address],
        *,
        boot: int,
        log: SentLog | None = None,
        answer: Answerer | None = None,
        limits: Limits | None = None,
        marks: bool = True,
        everything: Callable[[], Iterable[bytes] | None] | None = None,
    ) -> None:
        """`everything`: what all senders of this log hold, as lines, so that the kept file can be written anew."""
        self.own, self.boot = own, boot
        self._everything = everything
        self._wire, self._log, self._answer, self._marks = wire, log, answer, marks
        self._limits = limits or Limits()
        self._lock = threading.RLock()
        self._moved = threading.Condition(self._lock)
        self._watchers = 0  # who wait for that
        self._lines: dict[str, _Line] = {}
        self._holding: dict[_Line, None] = {}  # those of which no mark covers all
        self._ready: deque[_Line] = deque()
        self._waiting = self._held = self._given = self._sent = self._covered = 0
        self._dropped = self._resent = self._commands = 0
        self._losses: dict[str, int] = {}
        self._acks: deque[tuple[str, bytes]] = deque()
        self._answered: dict[str, tuple[str, bytes]] = {}
        self._mids: dict[int, tuple[_Line, int, int]] = {}
        self._swept_s = 0.0
        self._stuck = False
        self._plan: list[tuple[_Line, int, int]] = []
        self._staged: Batch | None = None
        self.problem = ""  # why nothing leaves although connected, e.g. a full disk
        self._by_topic: dict[str, tuple[_Line, Leaf]] = {}
        topics = [topic for address in addresses for topic in self._open(address)]
        self._presence = own.topic("state") if own is not None else ""
        will = (self._presence, encode_state(False)) if self._presence else None
        name = (broker.user if own is None else own.device) or "sender"
        self.link = Link(wire, broker, name if own is not None else f"{name}-{boot}", self, topics=topics, will=will)
        wire.add(self.link)

    def _open(self, address: Address) -> list[str]:
        """Take a device in, with what an earlier process left of it; returns what is to be subscribed for it."""
        line = self._lines[address.device] = _Line(address, self._limits.patience_s)
        kept = self._log.restored(address.device) if self._log is not None else Kept()
        line.held.extend(kept.held[number] for number in sorted(kept.held))
        line.waiting.extend((t_ms, encode_values(values), event) for t_ms, values, event in kept.waiting)
        if line.held:
            self._holding[line] = None
        self._held += len(line.held)
        self._sent += len(line.held)
        self._waiting += len(line.waiting)
        self._given += len(line.held) + len(line.waiting)
        topics = {address.topic(leaf): (line, leaf) for leaf in self._leaves()}
        self._by_topic |= topics
        return list(topics)

    def add(self, address: Address) -> None:
        """Send for one more device from now on; does nothing for one that is ours already."""
        with self._lock:
            if address.device in self._lines:
                return
            topics = self._open(address)
            self._offer(self._lines[address.device])
        self._wire.call(lambda: self.link.subscribe(topics))

    def _leaves(self) -> tuple[Leaf, ...]:
        return (*(("mark",) if self._marks else ()), *(("cmd",) if self._answer else ()))

    def send(self, device: str, t_ms: int | None, values: Mapping[str, float], *, event: bool = False) -> bool:
        """Give a reading to be sent. False if something had to be dropped for it.

        Raises KeyError for a device that is not ours, PayloadError for a value that is no finite number, DeviceError
        when the wire has ended.
        """
        try:
            told = encode_values(values)
        except PayloadError as error:
            raise PayloadError(error.reason, f"{device}: {error.detail}") from error
        dropped = self.send_all([(device, t_ms, told, event, False)])
        if self._ready:
            self.link.wake()
        return not dropped

    def send_all(self, readings: Iterable[Said]) -> int:
        """Give many readings to be sent; how many had to be dropped for them. Wake the link when all is given.

        Raises KeyError for a device that is not ours, DeviceError when the wire has ended.
        """
        if self._wire.failure is not None:
            raise DeviceError(f"the sender's thread has ended: {self._wire.failure}")
        before = self._dropped
        with self._lock:
            for device, t_ms, values, event, twice in readings:
                line = self._lines[device]
                self._given += 1
                if self._waiting >= self._limits.waiting:
                    self._dropped += 1
                    self._losses[device] = self._losses.get(device, 0) + 1
                    if not line.waiting:
                        continue
                    line.waiting.popleft()
                    self._waiting -= 1
                line.waiting.append((t_ms, values, event))
                line.twice = line.twice or twice
                self._waiting += 1
                self._offer(line)
            return self._dropped - before

    def cut(self, off: bool) -> None:
        """Lose the connection (the broker states the last will), or let it come back. Readings wait meanwhile."""
        self.link.paused = off

    def room(self, timeout_s: float, share: float = 0.5) -> bool:
        """Wait until less than `share` of the waiting room is taken; False on timeout. For senders in a hurry."""
        with self._lock:
            return self._wait(lambda: self._waiting < self._limits.waiting * share, timeout_s)

    def drain(self, timeout_s: float) -> bool:
        """Wait until everything given is covered; False on timeout, and at once where the connection is cut."""
        with self._lock:
            self._wait(lambda: self.link.paused or self._waiting + self._held == 0, timeout_s)
            return self._waiting + self._held == 0

    def _wait(self, until: Callable[[], bool], timeout_s: float) -> bool:
        """Holds the lock, but for the waiting."""
        self._watchers += 1
        try:
            return self._moved.wait_for(until, timeout_s)
        finally:
            self._watchers -= 1

    def _tell(self) -> None:
        """Something moved. Holds the lock."""
        if self._watchers:
            self._moved.notify_all()

    @property
    def counts(self) -> Counts:
        with self._lock:
            return Counts(self._given, self._waiting, self._sent, self._covered, self._held, self._dropped,
                          self._resent, self._commands, self.link.connects)  # fmt: skip

    @property
    def buffered(self) -> int:
        """Readings that no mark covers yet."""
        return self._waiting + self._held

    def unfinished(self, *, waiting: bool = False) -> list[bytes]:
        """What no mark covers, as lines of the kept file; with what was never published, if so wished."""
        with self._lock:
            lines = [
                as_line(line.address.device, event, payload)
                for line in self._holding
                for _, _, event, payload in line.held
            ]
            if waiting:
                lines += [
                    as_line(line.address.device, event, encode_flat(values, t_ms))
                    for line in self._lines.values()
                    for t_ms, values, event in line.waiting
                ]
        return lines

    def farewell(self) -> None:
        """State our absence; the connection ends when the wire closes. What is not covered is the log's to keep."""
        self._wire.call(self._farewell)

    def close(self) -> None:
        """State our absence and disconnect: `drain` first."""
        self.farewell()
        self._wire.remove(self.link)

    def _farewell(self) -> None:
        self._write_losses()
        if self.link.is_up and self._presence:
            self.link.publish(self._presence, encode_state(False), retain=True)
            self.link.flush()

    # -- in the wire's thread -------------------------------------------------------------------------------------

    def up(self) -> None:
        if self._presence:
            self.link.publish(self._presence, encode_state(True), retain=True)

    def ready(self) -> None:
        with self._lock:
            self._mids.clear()
            now_s = time.monotonic()
            for line in self._lines.values():
                line.again()
                line.moved_s, line.patience_s = now_s, self._limits.patience_s
                self._offer(line)

    def down(self) -> None:
        with self._lock:
            self._mids.clear()
            for line, _, _ in self._plan:
                line.queued = False
            self._plan, self._staged = [], None

    def _offer(self, line: _Line) -> None:
        """Queue a line that has something to publish and room in its window. Holds the lock."""
        new = line.waiting and line.cursor == len(line.held) < self._limits.window
        if not line.queued and (line.due or new):
            line.queued = True
            self._ready.append(line)

    def stage(self) -> None:
        """Choose what to publish next, number what is new, and put it into the log's open batch."""
        if not self.link.is_ready or self._plan:
            return
        with self._lock:
            room = self._limits.in_flight - self.link.unacknowledged
            if room <= 0 or not self._ready:
                return
            self._plan = self._choose(room)
            now_s = time.monotonic()
            for line, _, new in self._plan:
                if new:
                    self._number(line, new, now_s)
            if self._log is not None:
                self._staged = self._log.stage(*self._unlogged([line for line, _, _ in self._plan]))

    def _unlogged(self, lines: Iterable[_Line]) -> tuple[list[tuple[str, int, int, int]], list[bytes]]:
        """What of these lines the log does not have yet: ranges, and the readings to keep. Holds the lock."""
        keeps = self._log is not None and self._log.keeps
        ranges: list[tuple[str, int, int, int]] = []
        kept: list[bytes] = []
        for line in lines:
            if line.logged < line.seq:
                device = line.address.device
                ranges.append((device, self.boot, line.logged + 1, line.seq))
                if keeps:
                    new = (line.held[i] for i in range(line.logged - line.seq, 0))
                    kept += [as_line(device, event, payload) for _, _, event, payload in new]
        return ranges, kept

    def pump(self) -> None:
        """Publish what is staged, after the log was written, and what else there is room for."""
        if not self.link.is_ready:
            return
        while self._acks:
            self.link.publish(*self._acks.popleft())
        if self._ready:
            self.stage()
        if not self._plan:
            return
        with self._lock:
            batch = self._take()
            self._tell()
        for line, (boot, seq, event, payload) in batch:
            mid = self.link.publish(line.event if event else line.telemetry, payload)
            if not self._marks and mid:
                self._mids[mid] = (line, boot, seq)

    def _choose(self, room: int) -> list[tuple[_Line, int, int]]:
        """Up to `room` messages in turn of the lines: (line, how many again, how many new). Holds the lock."""
        plan: list[tuple[_Line, int, int]] = []
        while self._ready and room > 0:
            line = self._ready.popleft()
            again = min(line.due, BURST, room)
            new = min(len(line.waiting), self._limits.window - len(line.held), BURST - again, room - again)
            if line.cursor + again < len(line.held):
                new = 0
            plan.append((line, again, max(0, new)))
            room -= again + max(0, new)
        return plan

    def _take(self) -> list[tuple[_Line, Held]]:
        """The planned messages, once they are logged; none on a full disk. Holds the lock."""
        plan, self._plan = self._plan, []
        if not self._commit():
            for line, _, new in reversed(plan):
                line.leave += new  # they have their numbers and are held, but nobody has seen them
                self._ready.appendleft(line)
            return []
        batch: list[tuple[_Line, Held]] = []
        for line, again, new in plan:
            first, published, line.logged = line.cursor, line.logged, line.seq
            # Marks may have come in between and have taken some of them away.
            line.cursor = min(len(line.held), first + again + new)
            mine = [(line, line.held[i]) for i in range(first, line.cursor)]
            if again:
                self._resent += sum(boot != self.boot or seq <= published for _, (boot, seq, _, _) in mine)
            if line.twice and mine and not line.waiting:
                mine.append(mine[-1])
                self._resent += 1
                line.twice = False
            batch += mine
            line.leave -= again
            line.queued = False
            self._offer(line)
        return batch

    def _number(self, line: _Line, count: int, now_s: float) -> None:
        """Give the oldest waiting readings their numbers and hold them."""
        if not line.held:
            line.moved_s = now_s
            line.patience_s = self._limits.patience_s
            self._holding[line] = None
        for _ in range(count):
            t_ms, values, event = line.waiting.popleft()
            line.seq += 1
            line.held.append((self.boot, line.seq, event, encode_flat(values, t_ms, self.boot, line.seq)))
        self._waiting -= count
        self._held += count
        self._sent += count

    def _commit(self) -> bool:
        """Write the log before publishing. On a full disk nothing is published; the lines come again."""
        if self._log is None or self._staged is None:
            return True
        staged, self._staged = self._staged, None
        try:
            self._log.commit(staged)
        except OSError as error:
            self.problem = f"{self._log.path}: {error}; nothing new is sent until there is room"
            self._stuck = True
            return False
        if self._stuck:
            self._stuck, self.problem = False, ""
        return True

    def tend(self, now_s: float) -> None:
        if now_s - self._swept_s < 1.0:
            return
        self._swept_s = now_s
        self._write_losses()
        self._tidy()
        if not self.link.is_ready:
            return
        with self._lock:
            for line in self._holding:
                if not line.due and now_s - line.moved_s > line.patience_s:
                    line.again()
                    line.moved_s = now_s
                    line.patience_s = min(2 * line.patience_s, self._limits.longest_patience_s)
                    self._offer(line)

    def _tidy(self) -> None:
        if self._log is None or self._everything is None:
            return
        try:
            self._log.tidy(self._everything)
        except OSError as error:
            self.problem = f"{self._log.path}: what is kept beside it grows: {error}"

    def _write_losses(self) -> None:
        if not self._losses:
            return
        with self._lock:
            losses, self._losses = self._losses, {}
        if self._log is None:
            return
        try:
            self._log.write([], [(device, self.boot, count) for device, count in losses.items()])
        except OSError as error:
            self.problem = f"{self._log.path}: {error}"
            with self._lock:
                for device, count in losses.items():
                    self._losses[device] = self._losses.get(device, 0) + count

    def acknowledged(self, mid: int) -> None:
        told = self._mids.pop(mid, None)
        if told is not None:
            line, boot, seq = told
            self._cover(line, boot, 0, Mark(line.address.device, boot, 0, ((seq, seq),)))

    def heard(self, topic: str, payload: bytes) -> None:
        line, leaf = self._by_topic.get(topic, (None, None))
        if line is None:
            return
        try:
            if leaf == "mark":
                plain = read_plain_mark(payload)
                if plain is not None:  # nearly always
                    self._cover(line, *plain)
                else:
                    mark = decode_mark(line.address.device, payload)
                    self._cover(line, mark.boot, mark.seq, mark)
            else:
                self._obey(line, decode_command(line.address.device, payload))
        except PayloadError as error:
            self.problem = f"{topic}: not understood ({error}): {payload[:120]!r}"

    def _cover(self, line: _Line, boot: int, seq: int, mark: Mark | None = None) -> None:
        """Let go what the server has: of `boot` up to `seq`, and what else the whole mark tells where that is not all.

        The patience is with the oldest: newer ones that come through do not renew it.
        """
        with self._lock:
            held, before = line.held, len(line.held)
            while held and (
                (held[0][0] == boot and held[0][1] <= seq) or (mark is not None and mark.covers(*held[0][:2]))
            ):
                held.popleft()
            covered = before - len(held)
            if covered:
                line.cursor = max(0, line.cursor - covered)
                line.moved_s = time.monotonic()
                line.patience_s = self._limits.patience_s
                line.pace = line.leave = min(2 * line.pace, self._limits.window)
            if held and mark is not None and (mark.beyond or mark.older):
                line.cursor = sum(1 for i in range(line.cursor) if not mark.covers(*held[i][:2]))
                line.held = held = deque(entry for entry in held if not mark.covers(*entry[:2]))
                covered = before - len(held)
            if not covered:
                return
            if not held:
                del self._holding[line]
            self._held -= covered
            self._covered += covered
            self._offer(line)
            self._tell()
            pump = bool(self._ready)
        if pump:
            self.link.wake()

    def _obey(self, line: _Line, command: Command) -> None:
        """Carry a command out once, however often it comes, and answer each time."""
        key = command.id
        if key not in self._answered:
            said = self._answer(command) if self._answer is not None else None
            if said is None:
                return
            self._commands += 1
            self._answered[key] = (line.ack, encode_ack(key, *said))
            while len(self._answered) > 1000:
                del self._answered[next(iter(self._answered))]
        self._acks.append(self._answered[key])
        self.link.wake()
