"""Messages to columns: topic to row by a cached lookup, payloads by typed decoders, the odd ones named with a reason.

Pure: no socket, no clock; the time of arrival comes with the messages. Forms of payloads: docs/envelope.md.
Each known topic belongs to a group of equal form (kind, leaf, fields), so that most messages are decoded in bulk. A
message that its group's decoder refuses is looked at again: its form is learned, or `devices.codec` names its trouble.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import cbor2
import numpy as np

from devices.codec import Decoded, Refusal, read_payload, read_senml
from devices.envelope import MAX_BYTES, decode_ack, decode_state
from devices.errors import PayloadError
from devices.kinds import KINDS
from devices.records import Kind, Reading
from devices.senml import by_name
from twin.ingest import native
from twin.ingest.cbor import learn_cbor
from twin.ingest.cuts import Cuts, join
from twin.ingest.forms import Forms, Group, Registry, Slot
from twin.ingest.index import STRANGER
from twin.ingest.packs import senml_parts
from twin.ingest.parts import Part, Troubles, Window, finish, from_rows, merge
from twin.ingest.shapes import Flat, Packed, Shape
from twin.ingest.template import LESSONS, Scan, Stock, Template, learn, learn_shape, parts_of, worthwhile
from twin.records import FLAG_EVENT, I64, Answer, Batch, Online, Refused, Reject

SAMPLES = 64  # rejects kept readable, of one batch
KNOCKS = 2000  # devices that nobody knows, told of one batch
KNOCK_BYTES = 200  # kept readable of what each said
SAMPLE_BYTES = 512
NOWHERE: tuple[I64, I64] = (np.zeros(0, np.int64), np.zeros(0, np.int64))

Messages = tuple[Cuts, int]  # messages, arrived_ms
Row = tuple[int, int | None, int | None, int | None, Mapping[str, float]]


@dataclass(slots=True)
class Received:
    """What messages held: the raw batch (not yet freed of duplicates), and what is no telemetry. `newest`: (arrived_ms,
    topic, payload) of the last message of a kind's row."""

    batch: Batch
    answers: list[Answer] = field(default_factory=list)
    presences: list[Online] = field(default_factory=list)
    events: bool = False  # some reading is an event and wants a tick soon
    newest: Callable[[str, int], tuple[int, bytes, bytes] | None] = lambda _kind, _row: None


class Columniser:
    """Turns messages into raw batches."""

    def __init__(
        self,
        registry: Registry,
        kinds: Mapping[str, Kind] | None = None,
        window: Window | None = None,
        *,
        templates: bool | None = None,
    ) -> None:
        """`templates`: whether to read by templates; None, where it is worth while."""
        self._templates = templates
        self.forms = Forms(registry, KINDS if kinds is None else kinds)
        self.window = window or Window()

    def forget(self) -> None:
        """The registry changed: look every topic up again."""
        self.forms.forget()

    def columnise(self, parcels: Sequence[Messages]) -> Received:
        """The raw batch of parcels, in their order."""
        cuts = join(some for some, _ in parcels)
        arrived = np.repeat(np.array([at for _, at in parcels], np.int64), [len(some) for some, _ in parcels])
        return _Work(self.forms, self.window, cuts, arrived, self._templates).run()


class _Work:
    """One call of `columnise`."""

    def __init__(self, forms: Forms, window: Window, cuts: Cuts, arrived: I64, templates: bool | None) -> None:
        self.forms, self.window, self.cuts, self.arrived = forms, window, cuts, arrived
        self._templates = templates
        self._scan: Scan | None = None
        self.numbers = forms.numbers(cuts)
        self.parts: dict[str, list[Part]] = {}
        self.singles: dict[str, list[Row]] = {}
        self.batch = Batch(messages=len(cuts))
        self.out = Received(self.batch, newest=self._newest)
        self.samples: list[Reject] = []
        self.refused: list[Refused] = []
        self.knocks: dict[bytes, Reject] = {}

    def run(self) -> Received:
        """Group, decode, check, and put together."""
        fresh: dict[bytes, int] = {}
        for index in np.flatnonzero(self.numbers == STRANGER).tolist():
            try:
                topic = self.cuts.topic(index)
                if topic not in fresh:
                    fresh[topic] = self.forms.introduce(topic)
                self.numbers[index] = fresh[topic]
            except PayloadError as error:
                self._reject(index, error)
                if error.reason == "unknown_device":
                    self._knock(index)
        for group, members in self._grouped():
            self._decode_group(group, members)
        self._finish()
        self.batch.samples = tuple(self.samples[-SAMPLES:])
        self.batch.refused = tuple(self.refused)
        self.batch.knocks = tuple(self.knocks.values())
        return self.out

    def _grouped(self) -> list[tuple[int, I64]]:
        """Message indices by group, those of no device left out."""
        known = np.flatnonzero(self.numbers != STRANGER)
        groups = self.forms.groups[self.numbers[known]]
        if not len(groups):
            return []
        if (groups == groups[0]).all():
            return [(int(groups[0]), known)]
        order = np.argsort(groups, kind="stable")
        bounds = np.flatnonzero(np.diff(groups[order])) + 1
        return [(int(groups[some[0]]), known[some]) for some in np.split(order, bounds)]

    def _decode_group(self, number: int, members: I64, learning: bool = True) -> None:
        group = self.forms.at(number)
        if group.form == "ack":
            self._acks(members.tolist())
            return
        if group.form == "state":
            self._states(members.tolist())
            return
        if (group.form == "senml" or _templated(group.form)) and self._worthwhile(members):
            members = self._by_template(number, group, members)
            if not len(members):
                return
        mine = self.cuts if len(members) == len(self.cuts) else self.cuts.some(members)
        payloads = mine.payloads
        odd: Sequence[int] = range(len(members))
        if (mine.bounds[3] - mine.bounds[2]).max() > MAX_BYTES:
            pass  # the slow way finds it
        elif group.form == "senml":
            devices = [self._device(i) for i in members.tolist()]
            kind = self._slot(int(members[0])).kind
            parts, odd = senml_parts(kind, devices, members, payloads)
            self.parts.setdefault(group.kind, []).extend(parts)
        elif group.form is not None and not isinstance(group.form, str):
            part, odd = group.form.part(members, payloads)
            if part is not None:
                self.parts.setdefault(group.kind, []).append(part)
        if odd:
            self._again(members[np.array(odd)].tolist(), number, learning)

    def _worthwhile(self, members: I64) -> bool:
        return worthwhile(self.cuts, members) if self._templates is None else self._templates

    def _by_template(self, number: int, group: Group, members: I64) -> I64:
        """Decode the messages that templates fit, learning new ones on the way; returns those that none does."""
        stock = self.forms.stocks.setdefault(number, Stock())
        self._scan = self._scan or Scan(self.cuts)
        waiting = list(stock.templates)
        lessons = 0
        asked = len(members)  # the caller has found that so many are worth while
        while len(members) and (len(members) == asked or self._worthwhile(members)):
            if waiting:
                template = waiting.pop(0)
            elif lessons < LESSONS and stock.willing:
                lessons += 1
                new = self._learn(group, int(members[0]))
                if new is None:
                    stock.failed()
                    break
                template = new
            else:
                break
            names = self._names(members) if template.named else NOWHERE
            part, fits = parts_of(self._scan, template, members, names)
            stock.used(template, int(fits.sum()), len(members))
            if part is not None:
                self.parts.setdefault(group.kind, []).append(part)
                members = members[~fits]
        return members

    def _names(self, members: I64) -> tuple[I64, I64]:
        """Offset and length of each message's device in its topic."""
        slots = self.numbers[members]
        return self.cuts.bounds[0, members] + self.forms.names_at[slots], self.forms.names_len[slots]

    def _learn(self, group: Group, index: int) -> Template | None:
        """A template of the message with that index."""
        if isinstance(group.form, Flat | Packed):
            return learn_shape(group.form, self.cuts.payload(index))
        make = learn_cbor if group.form == "cbor" else learn
        return make(self.forms.kinds[group.kind], self._device(index), self.cuts.payload(index))

    def _again(self, members: list[int], tried: int, learning: bool) -> None:
        """Messages that the decoder of their group refused: learn their form, or read them one by one."""
        regrouped: dict[int, list[int]] = {}
        for index in members:
            slot, payload = self._slot(index), self.cuts.payload(index)
            fits = learning and len(payload) <= MAX_BYTES
            number = self.forms.learn(int(self.numbers[index]), payload) if fits else None
            if number is None or number == tried:
                self._read(index, slot)
            else:
                regrouped.setdefault(number, []).append(index)
        for number, some in regrouped.items():
            self._decode_group(number, np.array(some, np.int64), learning=False)

    def _slot(self, index: int) -> Slot:
        return self.forms.slot(int(self.numbers[index]))

    def _device(self, index: int) -> str:
        """The device that a message's topic names."""
        number = self.numbers[index]
        at = int(self.forms.names_at[number])
        return self.cuts.topic(index)[at : at + int(self.forms.names_len[number])].decode()

    def _read(self, index: int, slot: Slot) -> None:
        """The slow way: strict, one message, every trouble by its reason."""
        self.forms.strictly += 1
        payload, arrived = self.cuts.payload(index), int(self.arrived[index])
        if payload[:1] and 0x80 <= payload[0] <= 0x9F:
            decoded = _read_cbor(slot.kind, self._device(index), payload, arrived)
        else:
            decoded = read_payload(slot.kind, self._device(index), payload, arrived)
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
                key, ok, detail = decode_ack(self.cuts.payload(index))
            except PayloadError as error:
                self._set_aside(index, error)
            else:
                self.out.answers.append(Answer(self._device(index), key, ok, detail))

    def _states(self, members: list[int]) -> None:
        for index in members:
            slot = self._slot(index)
            if not self.cuts.payload(index):
                continue  # a retained state was cleared: it says nothing
            try:
                up = decode_state(self.cuts.payload(index))
            except PayloadError as error:
                self._set_aside(index, error)
            else:
                at = int(self.arrived[index])
                self.out.presences.append(Online(slot.kind.name, slot.row, self._device(index), up, at))

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

    def _set_aside(self, index: int, error: PayloadError) -> None:
        """A message that cannot be read, but would have been no reading either."""
        self._count(self.batch.asides, self._slot(index), error.reason)
        self._sample(index, error.reason, error.detail)

    def _count(self, counts: dict[tuple[str, int, str], int], slot: Slot | None, reason: str) -> None:
        key = ("", -1, reason) if slot is None else (slot.kind.name, slot.row, reason)
        counts[key] = counts.get(key, 0) + 1

    def _sample(self, index: int, reason: str, detail: str) -> None:
        if len(self.samples) >= 2 * SAMPLES:
            del self.samples[:SAMPLES]
        self.samples.append(self._told(index, reason, detail))

    def _knock(self, index: int) -> None:
        """Samples are too few to tell of each newcomer when a thousand come at once."""
        topic = self.cuts.topic(index)
        if len(self.knocks) < KNOCKS and topic not in self.knocks:
            told = self._told(index, "unknown_device", "")
            self.knocks[topic] = replace(told, payload=told.payload[:KNOCK_BYTES])

    def _newest(self, kind: str, row: int) -> tuple[int, bytes, bytes] | None:
        for index in np.flatnonzero((self.forms.rows[self.numbers] == row) & (self.numbers != STRANGER))[::-1].tolist():
            if self._slot(index).kind.name == kind:
                return int(self.arrived[index]), self.cuts.topic(index), self.cuts.payload(index)
        return None

    def _told(self, index: int, reason: str, detail: str) -> Reject:
        topic = self.cuts.topic(index)[:256].decode(errors="replace")
        return Reject(int(self.arrived[index]), topic, reason, detail[:256], self.cuts.payload(index)[:SAMPLE_BYTES])


def _templated(form: Shape | str | None) -> bool:
    """Whether templates can be made of messages of this form, and are faster than its decoder."""
    if native.LIB is None:
        return False
    return form == "cbor" or isinstance(form, Packed) or (isinstance(form, Flat) and not form.wide)


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
