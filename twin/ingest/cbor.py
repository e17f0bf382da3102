"""Templates of SenML packs in CBOR (RFC 8428 §6, RFC 8949): the same as in JSON, but that numbers are bytes. Pure.

Only for the loop in C (twin/ingest/native.c). A pack that has anything but a list of maps with lengths, texts, integers
and floats of four or eight bytes is left to cbor2.
"""

from __future__ import annotations

from typing import Any

import cbor2
import numpy as np

from devices.errors import PayloadError
from devices.records import Kind
from devices.senml import by_name
from twin.ingest import native
from twin.ingest.packs import Record
from twin.ingest.template import LARGEST, MARK, Template, pack_layout
from twin.records import I64

FIELDS = frozenset(("n", "v", "u", "bn", "bt"))
UNSIGNED, NEGATIVE, TEXT, LIST, MAP, FLOAT = 0, 1, 3, 4, 5, 7
NONE: I64 = np.zeros(0, np.int64)
NO_WORDS = np.zeros(0, np.uint64)


class _Odd(Exception):
    """Something that no template is made of."""


class _Walk:
    """A pack taken apart item by item: where its numbers stand, and where its first base name."""

    def __init__(self, payload: bytes) -> None:
        self._payload, self._at = payload, 0
        self.spans: list[tuple[int, int]] = []
        self.name_at = -1

    def pack(self) -> list[dict[Any, Any]]:
        """The records by label, each number as MARK + its place. Raises _Odd, IndexError."""
        records = [self._record() for _ in range(self._length(LIST))]
        if self._at != len(self._payload):
            raise _Odd
        return records

    def _record(self) -> dict[Any, Any]:
        told: dict[Any, Any] = {}
        for _ in range(self._length(MAP)):
            if (key := self._key()) in told:
                raise _Odd
            told[key] = self._value()
        return told

    def _key(self) -> Any:
        major, argument, _ = self._head()
        if major == TEXT:
            return self._text(argument)
        if major > NEGATIVE:
            raise _Odd
        return -1 - argument if major else argument

    def _value(self) -> Any:
        begin = self._at
        major, argument, width = self._head()
        if major == TEXT:
            if self.name_at < 0:
                self.name_at = self._at
            return self._text(argument)
        if major > NEGATIVE and not (major == FLOAT and width in (4, 8)):
            raise _Odd
        self.spans.append((begin, self._at))
        return MARK + len(self.spans) - 1

    def _length(self, wanted: int) -> int:
        major, argument, _ = self._head()
        if major != wanted or argument > len(self._payload):
            raise _Odd
        return argument

    def _text(self, length: int) -> str:
        self._at += length
        return self._payload[self._at - length : self._at].decode()

    def _head(self) -> tuple[int, int, int]:
        first = self._payload[self._at]
        major, info = first >> 5, first & 31
        width = 0 if info < 24 else 1 << (info - 24)
        if info > 27 or self._at + 1 + width > len(self._payload):
            raise _Odd
        self._at += 1 + width
        return major, int.from_bytes(self._payload[self._at - width : self._at]) if width else info, width


def learn_cbor(kind: Kind, device: str, payload: bytes) -> Template | None:
    """A template of a regular pack; None where it does not lend itself to one."""
    walk, name = _Walk(payload), device.encode()
    try:
        pack = [by_name(record) for record in walk.pack()] if len(payload) <= LARGEST else []
        told = [by_name(record) for record in cbor2.loads(payload)]
        records = [Record(**record) for record in told if record.keys() <= FIELDS]
    except (_Odd, IndexError, ValueError, TypeError, AttributeError, PayloadError, cbor2.CBORDecodeError):
        return None
    at = walk.name_at + len(name)
    if not pack or len(records) != len(pack) or next(iter(told[0])) != "bn" or payload[walk.name_at : at] != name:
        return None
    found = pack_layout(kind, device, records, pack, len(walk.spans))
    if found is None or walk.spans[0][0] < at:
        return None
    begins, ends = [at, *(end for _, end in walk.spans)], [*(begin for begin, _ in walk.spans), len(payload)]
    texts = [payload[begin:end] for begin, end in zip(begins, ends, strict=True)]
    return Template(
        lead=payload[: walk.name_at],
        named=True,
        commas=0,
        before=NONE,
        ahead=NONE,
        behind=NONE,
        fixed=NONE,
        lengths=NONE,
        edge=NONE,
        offset=NONE,
        mask=NO_WORDS,
        text=NO_WORDS,
        pattern=native.pattern(texts, np.argsort(found[1]), found[0].whole),
        layout=found[0],
        cbor=True,
        name_length=len(name),
    )
