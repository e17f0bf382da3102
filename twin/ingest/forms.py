"""What is remembered of topics: whose each is, and which form its payloads take. Nothing that changes an outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from devices.errors import PayloadError
from devices.records import Kind
from devices.topics import parse_topic
from twin.ingest.cuts import Cuts
from twin.ingest.index import Index
from twin.ingest.shapes import ANY_OBJECT, UNREADABLE, Shape, flat_shape, packed_shape, wide_shape
from twin.ingest.template import Stock
from twin.records import FLAG_EVENT, I64

SHAPES = 64  # forms learned of one kind; beyond, the wide one serves
FICKLE = 8  # a topic that changed its form so often gets the wide one


class Registry(Protocol):
    """Who is who."""

    def lookup(self, kind: str, device: str, district: str) -> int | None:
        """The device's row; None if it is unknown or stands in another district."""
        ...


class Slot(NamedTuple):
    """Whose one topic is."""

    kind: Kind
    row: int


@dataclass(frozen=True, slots=True)
class Group:
    """Topics of one kind and one form: a shape, "senml", "cbor", "ack", "state"; None while it is not learned."""

    kind: str
    form: Shape | str | None


class Forms:
    """Topics by number. Bounded: only topics of registered devices are remembered, and `SHAPES` forms a kind.

    `rows`, `flags`, `groups`, `changes` of form, and of the device's name in the topic `names_at` and `names_len`:
    arrays by number, of which the first `count` are in use; a full city has a hundred thousand topics, and an object
    for each would take 30 MB. `stocks`: the templates of groups.
    """

    def __init__(self, registry: Registry, kinds: Mapping[str, Kind]) -> None:
        self.kinds = kinds
        self._registry = registry
        self._groups: list[Group] = []
        self._group_of: dict[tuple[str, object], int] = {}
        self._learned: dict[str, int] = dict.fromkeys(kinds, 0)
        self.strictly = 0  # messages that went the slow way
        self._wide = {name: wide_shape(kind) for name, kind in kinds.items()}
        self.stocks: dict[int, Stock] = {}
        self.forget()

    def forget(self) -> None:
        """The registry changed: look every topic up again."""
        self._index = Index()
        self._apart: dict[bytes, int] = {}  # topics that the index cannot find
        self.count = 0
        self.rows: NDArray[np.int32] = np.zeros(64, np.int32)
        self.flags: NDArray[np.uint8] = np.zeros(64, np.uint8)
        self.groups: NDArray[np.int32] = np.zeros(64, np.int32)
        self.changes: NDArray[np.uint8] = np.zeros(64, np.uint8)
        self.names_at: I64 = np.zeros(64, np.int64)
        self.names_len: I64 = np.zeros(64, np.int64)

    def numbers(self, cuts: Cuts) -> NDArray[np.int32]:
        """The numbers of the topics of a joined batch, STRANGER where one is not known (yet)."""
        return self._index.numbers(cuts)

    def introduce(self, topic: bytes) -> int:
        """The number of a topic that `numbers` does not know. Raises PayloadError: `topic` or `unknown_device`."""
        if topic in self._apart:
            return self._apart[topic]
        parsed = parse_topic(topic.decode(errors="replace"))
        kind = self.kinds.get(parsed.kind)
        row = None if kind is None else self._registry.lookup(parsed.kind, parsed.device, parsed.district)
        if kind is None or row is None:
            raise PayloadError("unknown_device", f"no {parsed.kind} {parsed.device} is registered in {parsed.district}")
        if parsed.leaf in ("cmd", "mark"):
            raise PayloadError("topic", f"{parsed.leaf} is not for devices to write")
        number, self.count = self.count, self.count + 1
        if number == len(self.rows):
            for name in ("rows", "flags", "groups", "changes", "names_at", "names_len"):
                array = getattr(self, name)
                setattr(self, name, np.concatenate([array, np.zeros_like(array)]))
        form = parsed.leaf if parsed.leaf in ("ack", "state") else None
        self.rows[number] = row
        self.flags[number] = FLAG_EVENT if parsed.leaf == "event" else 0
        self.groups[number] = self._group(parsed.kind, form, form)
        self.names_at[number] = topic.rindex(b"/") - len(parsed.device.encode())
        self.names_len[number] = len(parsed.device.encode())
        for missed, text in self._index.add(topic, number):
            self._apart[text] = missed
        return number

    def slot(self, number: int) -> Slot:
        """Whose the topic of that number is."""
        return Slot(self.kinds[self._groups[self.groups[number]].kind], int(self.rows[number]))

    def at(self, group: int) -> Group:
        """The group of that number."""
        return self._groups[group]

    def learn(self, number: int, payload: bytes) -> int | None:
        """The group of a payload's form, which its topic belongs to from now on; None where it has no bulk decoder."""
        kind = self.slot(number).kind
        group = self._form(kind, payload)
        if group is not None and group != self.groups[number]:
            self.changes[number] = min(int(self.changes[number]) + 1, FICKLE + 1)
            if self.changes[number] > FICKLE and payload[:1] == b"{" and not self._is_packed(group):
                group = self._group(kind.name, "wide", self._wide[kind.name])
            self.groups[number] = group
        return group

    def _is_packed(self, group: int) -> bool:
        form = self._groups[group].form
        return form is not None and not isinstance(form, str) and form.packed

    def _group(self, kind: str, key: object, form: Shape | str | None) -> int:
        number = self._group_of.get((kind, key))
        if number is None:
            number = self._group_of[kind, key] = len(self._groups)
            self._groups.append(Group(kind, form))
        return number

    def _form(self, kind: Kind, payload: bytes) -> int | None:
        if payload[:1] == b"[":
            return self._group(kind.name, "senml", "senml")
        if payload[:1] and 0x80 <= payload[0] <= 0x9F:
            return self._group(kind.name, "cbor", "cbor")
        try:
            fields = ANY_OBJECT.decode(payload)
        except UNREADABLE:
            return None
        names = frozenset(fields)
        packed = any(type(value) is list for name, value in fields.items() if name != "seq")
        known = self._group_of.get((kind.name, (names, packed)))
        if known is not None:
            return known
        shape: Shape | None = packed_shape(kind, names) if packed else flat_shape(kind, names)
        if shape is None:
            return None
        if self._learned[kind.name] >= SHAPES:
            return None if packed else self._group(kind.name, "wide", self._wide[kind.name])
        self._learned[kind.name] += 1
        return self._group(kind.name, (names, packed), shape)
