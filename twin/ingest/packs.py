"""SenML packs as columns, for the regular form that our own senders write. Pure.

Regular: one base name, numbers only, the same quantities in the same order in each reading, base time in each reading's
first record, "boot" and "seq" ahead of the first or not at all. Everything else that RFC 8428 allows goes the slow way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from devices.envelope import MAX_NUMBER, MAX_READINGS, MAX_T_MS
from devices.records import Kind
from devices.senml import RELATIVE
from twin.ingest.parts import Part
from twin.ingest.shapes import UNREADABLE, doubles
from twin.records import I64, NOT_ACCOUNTABLE


class Record(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One record of a regular pack."""

    n: str
    v: float
    u: str = ""
    bn: str = ""
    bt: float = 0.0


DECODE = msgspec.json.Decoder(list[Record]).decode


@dataclass(frozen=True, slots=True)
class Plan:
    """How the records of a regular pack lie: `head` records ahead (0 or 2), then rounds of these quantities."""

    head: int
    names: tuple[str, ...]
    rounds: int


@dataclass(slots=True)
class Gathered:
    """The numbers of packs of equal quantities."""

    values: list[bytes] = field(default_factory=list)  # float64
    times: list[float] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    boots: list[int] = field(default_factory=list)
    firsts: list[int] = field(default_factory=list)

    def part(self, names: tuple[str, ...], at: I64) -> Part:
        """The part of these packs, each in the message of its position in `at`."""
        count = np.array(self.rounds, np.int64)
        boot = np.repeat(np.array(self.boots, np.int64), count)
        within = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
        seq = np.repeat(np.array(self.firsts, np.int64), count) + within
        table = np.frombuffer(b"".join(self.values), np.float64).reshape(-1, len(names))
        return Part(
            at=np.repeat(at[self.positions], count),
            t=np.rint(np.array(self.times, np.float64) * 1000).astype(np.int64),
            boot=boot,
            seq=np.where(boot == NOT_ACCOUNTABLE, NOT_ACCOUNTABLE, seq),
            values={name: np.ascontiguousarray(table[:, i]) for i, name in enumerate(names)},
        )


def senml_parts(kind: Kind, devices: Sequence[str], at: I64, payloads: Sequence[bytes]) -> tuple[list[Part], list[int]]:
    """The readings of these packs, those of equal quantities in one part; and the positions of irregular packs.

    Each pack's records are gone before the next is decoded: their memory stays in the cache.
    """
    found: dict[tuple[str, ...], Gathered] = {}
    odd: list[int] = []
    last: list[str] = []
    plan: Plan | None = None
    for position, payload in enumerate(payloads):
        try:
            records = DECODE(payload)
        except UNREADABLE:
            odd.append(position)
            continue
        names = [r.n for r in records]
        if names != last:
            last, plan = names, plan_of(kind, names)
        if plan is None or not regular(kind, plan, devices[position], records):
            odd.append(position)
            continue
        gathered = found.setdefault(plan.names, Gathered())
        if not _gather(gathered, plan, position, records):
            odd.append(position)
    return [gathered.part(names, at) for names, gathered in found.items() if gathered.rounds], odd


def plan_of(kind: Kind, names: list[str]) -> Plan | None:
    """How a pack with records of these names lies; None where it is irregular."""
    if not names:
        return None
    head = 2 if names[0] == "boot" else 0
    if head and (len(names) < 3 or names[1] != "seq"):
        return None
    try:
        width = names.index(names[head], head + 1) - head
    except ValueError:
        width = len(names) - head
    rounds, rest = divmod(len(names) - head, width)
    pattern = names[head : head + width]
    if rest or rounds > MAX_READINGS or names[head:] != pattern * rounds or not kind.index.keys() >= set(pattern):
        return None
    return Plan(head, tuple(pattern), rounds)


def regular(kind: Kind, plan: Plan, device: str, records: list[Record]) -> bool:
    """Whether base name, base times and units stand where a regular pack has them, and nowhere else."""
    if records[0].bn != device + ":" or [r.bn for r in records].count("") != len(records) - 1:
        return False
    if [r.bt for r in records].count(0.0) != len(records) - plan.rounds or not all(_times(plan, records)):
        return False
    units = [r.u for r in records]
    unsaid = units.count("")
    if unsaid == len(units):
        return True
    width = len(plan.names)
    first = units[plan.head : plan.head + width]
    if unsaid == len(units) - width and all(first):
        return first == [kind.quantity(name).unit for name in plan.names]
    names = (*[""] * plan.head, *plan.names * plan.rounds)
    return all(not unit or (name and unit == kind.quantity(name).unit) for name, unit in zip(names, units, strict=True))


def _times(plan: Plan, records: list[Record]) -> list[float]:
    """The base time of each round: in the pack's first record, and in the first of each later round."""
    return [records[0].bt, *[r.bt for r in records[plan.head + len(plan.names) :: len(plan.names)]]]


def _gather(gathered: Gathered, plan: Plan, position: int, records: list[Record]) -> bool:
    """Add a pack's numbers; False, and nothing added, where its envelope is wrong."""
    boot = seq = float(NOT_ACCOUNTABLE)
    numbers = [r.v for r in records]
    if plan.head:
        boot, seq = numbers[0], numbers[1]
        if not (boot.is_integer() and seq.is_integer() and 0 <= boot <= MAX_NUMBER and 0 <= seq <= MAX_NUMBER):
            return False
    times = _times(plan, records)
    if min(times) < RELATIVE or max(times) * 1000 > MAX_T_MS:
        return False
    gathered.times += times
    gathered.values.append(doubles(numbers[plan.head :] if plan.head else numbers))
    gathered.rounds.append(plan.rounds)
    gathered.positions.append(position)
    gathered.boots.append(int(boot))
    gathered.firsts.append(int(seq))
    return True
