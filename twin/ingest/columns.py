"""Messages to columns: topic to row by a cached lookup, payloads by typed decoders, the odd ones named with a reason.

Pure: no socket, no clock; the time of arrival comes with the messages. Forms of payloads: docs/envelope.md.
Each known topic belongs to a group of equal form (kind, leaf, fields), so that most messages are decoded in bulk. A
message that its group's decoder refuses is looked at again: its form is learned, or `devices.codec` names its trouble.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cbor2
import numpy as np

from devices.codec import Decoded, Refusal, read_payload, read_senml
from devices.envelope import MAX_BYTES, decode_ack, decode_state
from devices.errors import PayloadError
from devices.kinds import KINDS
from devices.records import Kind, Reading
from devices.senml import by_name
from twin.ingest.forms import STRANGER, Forms, Registry, Slot
from twin.ingest.packs import senml_parts
from twin.ingest.parts import Part, Troubles, Window, finish, from_rows, merge
from twin.records import FLAG_EVENT, I64, Answer, Batch, Online, Refused, Reject

SAMPLES = 64  # rejects kept readable, of one batch
SAMPLE_BYTES = 512

Messages = tuple[Sequence[bytes], Sequence[bytes], int]  # topics, payloads, arrived_ms
Row = tuple[int, int | None, int | None, int | None, Mapping[str, float]]


@dataclass(slots=True)
class Received:
    """What messages held: the raw batch (not yet freed of duplicates), and what is no telemetry."""

    batch: Batch
    answers: list[Answer] = field(default_factory=list)
    presences: list[Online] = field(default_factory=list)
    events: bool = False  # some reading is an event and wants a tick soon


class Columniser:
    """Turns messages into raw batches."""

    def __init__(
        self, registry: Registry, kinds: Mapping[str, Kind] | None = None, window: Window | None = None
    ) -> None:
        self.forms = Forms(registry, KINDS if kinds is None else kinds)
        self.window = window or Window()

    def forget(self) -> None:
        """The registry changed: look every topic up again."""
        self.forms.forget()

    def columnise(self, parcels: Sequence[Messages]) -> Received:
        """The raw batch of parcels, in their order."""
        topics: list[bytes] = []
        payloads: list[bytes] = []
        for some, their, _ in parcels:
            topics += some
            payloads += their
        arrived = np.repeat(np.array([p[2] for p in parcels], np.int64), [len(p[0]) for p in parcels])
        return _Work(self.forms, self.window, topics, payloads, arrived).run()


class _Work:
    """One call of `columnise`."""

    def __init__(
        self, forms: Forms, window: Window, topics: Sequence[bytes], payloads: Sequence[bytes], arrived: I64
    ) -> None:
        self.forms, self.window, self.topics, self.payloads, self.arrived = forms, window, topics, payloads, arrived
        self.numbers = forms.numbers(topics)
        self.parts: dict[str, list[Part]] = {}
        self.singles: dict[str, list[Row]] = {}
        self.batch = Batch(messages=len(topics))
        self.out = Received(self.batch)
        self.samples: list[Reject] = []
        self.refused: list[Refused] = []

    def run(self) -> Received:
        """Group, decode, check, and put together."""
        for index in np.flatnonzero(self.numbers == STRANGER).tolist():
            try:
                self.numbers[index] = self.forms.introduce(self.topics[index])
            except PayloadError as error:
                self._reject(index, error)
        for group, members in self._grouped():
            self._decode_group(group, members)
        self._finish()
        self.batch.samples = tuple(self.samples[-SAMPLES:])
        self.batch.refused = tuple(self.refused)
        return self.out

    def _grouped(self) -> list[tuple[int, list[int]]]:
        """Message indices by group, those of no device left out."""
        known = np.flatnonzero(self.numbers != STRANGER)
        groups = self.forms.groups[self.numbers[known]]
        if not len(groups):
            return []
        if (groups == groups[0]).all():
            return [(int(groups[0]), known.tolist())]
        order = np.argsort(groups, kind="stable")
        bounds = np.flatnonzero(np.diff(groups[order])) + 1
        return [(int(groups[some[0]]), known[some].tolist()) for some in np.split(order, bounds)]

    def _decode_group(self, number: int, members: list[int], learning: bool = True) -> None:
        group = self.forms.at(number)
        everything = len(members) == len(self.payloads)
        payloads = self.payloads if everything else [self.payloads[i] for i in members]
        if group.form == "ack":
            self._acks(members)
            return
        if group.form == "state":
            self._states(members)
            return
        odd: Sequence[int] = range(len(members))
        if len(max(payloads, key=len)) > MAX_BYTES:
            pass  # the slow way finds it
        elif group.form == "senml":
            devices = [self._slot(i).topic.device for i in members]
            kind = self._slot(members[0]).kind
            parts, odd = senml_parts(kind, devices, np.array(members, np.int64), payloads)
            self.parts.setdefault(group.kind, []).extend(parts)
        elif group.form is not None and not isinstance(group.form, str):
            part, odd = group.form.part(np.array(members, np.int64), payloads)
            if part is not None:
                self.parts.setdefault(group.kind, []).append(part)
        if odd:
            self._again([members[i] for i in odd], number, learning)

    def _again(self, members: list[int], tried: int, learning: bool) -> None:
        """Messages that the decoder of their group refused: learn their form, or read them one by one."""
        regrouped: dict[int, list[int]] = {}
        for index in members:
            slot, payload = self._slot(index), self.payloads[index]
            fits = learning and len(payload) <= MAX_BYTES
            number = self.forms.learn(int(self.numbers[index]), payload) if fits else None
            if number is None or number == tried:
                self._read(index, slot)
            else:
                regrouped.setdefault(number, []).append(index)
        for number, some in regrouped.items():
            self._decode_group(number, some, learning=False)

    def _slot(self, index: int) -> Slot:
        return self.forms.slots[int(self.numbers[index])]

    def _read(self, index: int, slot: Slot) -> None:
        """The slow way: strict, one message, every trouble by its reason."""
        self.forms.strictly += 1
        payload, arrived = self.payloads[index], int(self.arrived[index])
        if payload[:1] and 0x80 <= payload[0] <= 0x9F:
            decoded = _read_cbor(slot.kind, slot.topic.device, payload, arrived)
        else:
            decoded = read_payload(slot.kind, slot.topic.device, payload, arrived)
        rows = self.singles.setdefault(slot.kind.name, [])
        rows += [(index, *_row(reading)) for reading in decoded.readings]
        for error in decoded.bad_values:
            self._count(self.batch.bad_values, slot, error.reason)
        if decoded.bad_values:
            self._sample(index, decoded.bad_values[0].reason, decoded.bad_values[0].detail)
        for refusal in decoded.refused:
            self._refuse(slot, refusal.error.reason, refusal.boot, refusal.seq)
        if decoded.refused:
            self._sample(index, decoded.refused[0].error.reason, decoded.refused[0].error.detail)

    def _acks(self, members: list[int]) -> None:
        for index in members:
            try:
                key, ok, detail = decode_ack(self.payloads[index])
            except PayloadError as error:
                self._reject(index, error)
            else:
                self.out.answers.append(Answer(self._slot(index).topic.device, key, ok, detail))

    def _states(self, members: list[int]) -> None:
        for index in members:
            slot = self._slot(index)
            if not self.payloads[index]:
                continue  # a retained state was cleared: it says nothing
            try:
                up = decode_state(self.payloads[index])
            except PayloadError as error:
                self._reject(index, error)
            else:
                at = int(self.arrived[index])
                self.out.presences.append(Online(slot.kind.name, slot.row, slot.topic.device, up, at))

    def _finish(self) -> None:
        for name, singles in self.singles.items():
            if singles:
                self.parts.setdefault(name, []).append(from_rows(singles))
        if not any(self.parts.values()):
            return
        rows, flags = self.forms.rows[self.numbers], self.forms.flags[self.numbers]
        done = []
        for name, parts in sorted(self.parts.items()):
            if not parts:
                continue
            kind = self.forms.kinds[name]
            columns, troubles = finish(kind, merge(parts), rows, flags, self.arrived, self.window)
            self._note(name, troubles)
            if len(columns):
                done.append(columns)
                self.out.events = self.out.events or bool((columns.flags & FLAG_EVENT).any())
        self.batch.columns = tuple(done)

    def _note(self, kind: str, troubles: Troubles) -> None:
        for (row, reason), count in troubles.values.items():
            key = (kind, row, reason)
            self.batch.bad_values[key] = self.batch.bad_values.get(key, 0) + count
        for index, boot, seq, reason in troubles.readings:
            counts = (boot, seq) if boot >= 0 else (None, None)
            self._refuse(self._slot(index), reason, *counts)
            if reason != "envelope":
                self._sample(index, reason, "no usable value")
        for index, reason, detail in troubles.examples:
            self._sample(index, reason, detail)

    def _refuse(self, slot: Slot, reason: str, boot: int | None, seq: int | None) -> None:
        """A reading refused whole: counted at once where its number is unknown, else when it proves to be new."""
        if boot is None or seq is None:
            self._count(self.batch.rejected, slot, reason)
        else:
            self.refused.append(Refused(slot.kind.name, slot.row, boot, seq, reason))

    def _reject(self, index: int, error: PayloadError) -> None:
        slot = None if self.numbers[index] == STRANGER else self._slot(index)
        self._count(self.batch.rejected, slot, error.reason)
        self._sample(index, error.reason, error.detail)

    def _count(self, counts: dict[tuple[str, int, str], int], slot: Slot | None, reason: str) -> None:
        key = ("", -1, reason) if slot is None else (slot.kind.name, slot.row, reason)
        counts[key] = counts.get(key, 0) + 1

    def _sample(self, index: int, reason: str, detail: str) -> None:
        if len(self.samples) >= 2 * SAMPLES:
            del self.samples[:SAMPLES]
        topic = self.topics[index][:256].decode(errors="replace")
        at = int(self.arrived[index])
        self.samples.append(Reject(at, topic, reason, detail[:256], self.payloads[index][:SAMPLE_BYTES]))


def _row(reading: Reading) -> tuple[int | None, int | None, int | None, Mapping[str, float]]:
    return reading.t_ms, reading.boot, reading.seq, reading.values


def _read_cbor(kind: Kind, device: str, payload: bytes, now_ms: int) -> Decoded:
    """A SenML pack in CBOR."""
    try:
        if len(payload) > MAX_BYTES:
            raise PayloadError("too_large", f"{len(payload)} bytes; a message holds at most {MAX_BYTES}")
        try:
            pack = cbor2.loads(payload)
        except (cbor2.CBORDecodeError, ValueError, OverflowError, RecursionError, TypeError) as error:
            raise PayloadError("syntax", f"not CBOR ({str(error)[:160]})") from error
        if not isinstance(pack, list) or not all(isinstance(record, dict) for record in pack):
            raise PayloadError("shape", "a SenML pack is a list of maps")
        return read_senml(kind, device, [by_name(record) for record in pack], now_ms)
    except PayloadError as error:
        return Decoded(refused=[Refusal(error)])
