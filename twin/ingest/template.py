"""Templates: what messages of one program have in common byte for byte, all but their numbers. Pure.

A sender's program writes the same text again and again around new numbers. A template is learned from one flat reading
(twin/ingest/shapes.py) or one regular SenML pack (twin/ingest/packs.py): the texts between the numbers, and which
number is what. Then many messages are compared with the texts and their numbers read by array arithmetic, with no
object of a message, a record or a number. What differs in one byte, or has a number that twin/ingest/digits.py does not
read, is left to the decoders; so templates change no outcome.

JSON has a comma between any two numbers. So the commas of a message, which one pass over all bytes finds, say where its
numbers begin and end: each so many bytes behind one comma, or before the next.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.envelope import MAX_BYTES, MAX_NUMBER, MAX_READINGS, MAX_T_MS
from devices.records import Kind
from devices.senml import RELATIVE
from twin.ingest import native
from twin.ingest.cuts import MASKS, PAD, U64, Cuts
from twin.ingest.digits import read
from twin.ingest.packs import DECODE, Record, plan_of, regular
from twin.ingest.parts import NO_TIME, Part
from twin.ingest.shapes import UNREADABLE, Shape
from twin.records import F64, I64, NOT_ACCOUNTABLE

ENOUGH_BYTES = 16384  # of payloads of one group from which a template is worth its fixed cost
KEPT = 8  # templates of one group
LESSONS = 4  # templates learned of one group in one batch
PATIENCE = 32  # payloads in a row of which no template could be made, until the group is left alone
LARGEST = 128 * 1024  # of a payload that a template is made of
FAR = len(PAD) - 16  # how far from its comma a text may stand

_SCAN = re.compile(rb'"[^"\\]*"|[-./0-9]+')
_LEAD = re.compile(rb'\s*\[\s*\{\s*"bn"\s*:\s*"')
MARK = 1_000_000_000_000  # stands for number i as MARK + i
COMMA = ord(",")
BLOCK = 65536  # numbers at a time
LONGEST_LEAD = 64

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Layout:
    """What the numbers of a message mean, in the order in which a template gives them: boot and seq where `counted`,
    one time a reading where `timed` (in seconds, or whole milliseconds), then each quantity's values."""

    readings: int
    counted: bool
    timed: bool
    seconds: bool
    names: tuple[str, ...]

    @property
    def head(self) -> int:
        """How many numbers come before the times."""
        return 2 if self.counted else 0

    @property
    def width(self) -> int:
        """How many numbers there are."""
        return self.head + self.readings * (self.timed + len(self.names))

    @property
    def whole(self) -> NDArray[np.bool_]:
        """Which numbers must be whole ones."""
        found = np.zeros(self.width, np.bool_)
        found[: self.head + (0 if self.seconds else self.readings * self.timed)] = True
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """A message: it begins with `lead` and, where it is `named`, the device's own name; so many commas follow.

    Pieces lie between commas. before, ahead: the piece that each number stands in, and how many bytes of it stand
    before the number; behind: how many after it. fixed, lengths: pieces without a number, and how long they are.
    edge, offset, mask, text: words of the texts between numbers, and where each is: from the beginning of a piece.
    pattern: the same for the loop in C.
    `cbor`: numbers are written as there, and there are no commas; only the loop in C reads such. There a byte tells how
    long the name is: bytes of the learnt one are `name_length`.
    """

    lead: bytes
    named: bool
    commas: int
    before: I64
    ahead: I64
    behind: I64
    fixed: I64
    lengths: I64
    edge: I64
    offset: I64
    mask: U64
    text: U64
    pattern: native.Pattern
    layout: Layout
    cbor: bool = False
    name_length: int = 0


class Scan:
    """A joined batch with all its commas found."""

    def __init__(self, cuts: Cuts) -> None:
        self.cuts = cuts
        self._data: NDArray[np.uint8] | None = None
        self._words: U64 | None = None
        self._commas: I64 | None = None

    @property
    def data(self) -> NDArray[np.uint8]:
        """The bytes of the batch as numbers."""
        if self._data is None:
            self._data = self.cuts.bytes()
        return self._data

    @property
    def words(self) -> U64:
        """Eight bytes at each offset of the batch as one number."""
        if self._words is None:
            self._words = self.cuts.words()
        return self._words

    @property
    def commas(self) -> I64:
        """Where the commas are; and one that is behind everything."""
        if self._commas is None:
            self._commas = np.append(np.flatnonzero(self.data == COMMA), len(self.data))
        return self._commas

    def same(self, at: I64, text: bytes) -> NDArray[np.bool_]:
        """Where `text` stands at these offsets."""
        good = np.ones(len(at), np.bool_)
        for offset, mask, word in _words_of(text):
            good &= (self.words[at + offset] & mask) == word
        return good

    def hold(self, body: I64, stop: I64, count: int) -> tuple[I64, NDArray[np.bool_]]:
        """(the first comma behind each `body`, whether there are `count` until `stop`)."""
        first = np.searchsorted(self.commas, body)
        last = len(self.commas) - 1
        good = self.commas[np.minimum(first + count, last)] >= stop
        if count:
            good &= self.commas[np.minimum(first + count - 1, last)] < stop
        return first, good


@dataclass(slots=True)
class Stock:
    """The templates of one group, the one last used first; and how often in a row a new one was of little use."""

    templates: list[Template] = field(default_factory=list)
    failures: int = 0

    @property
    def willing(self) -> bool:
        """Whether it is worth while to learn another one."""
        return self.failures < PATIENCE

    def failed(self) -> None:
        """No template could be made of a payload."""
        self.failures += 1

    def used(self, template: Template, fitting: int, of: int) -> None:
        """Note how many messages of how many a template fitted."""
        if template in self.templates:
            if fitting and self.templates[0] is not template and 2 * fitting > of:
                self.templates.remove(template)
                self.templates.insert(0, template)
            return
        self.failures = 0 if 4 * fitting >= of else self.failures + 1
        if fitting:
            self.templates.insert(0, template)
            del self.templates[KEPT:]


def worthwhile(cuts: Cuts, members: I64) -> bool:
    """Whether so many messages are worth the fixed cost."""
    at, end = cuts.bounds[2:] if len(members) == len(cuts) else cuts.bounds[2:, members]
    return int((end - at).sum()) >= ENOUGH_BYTES


def learn(kind: Kind, device: str, payload: bytes) -> Template | None:
    """A template of a regular SenML pack; None where it does not lend itself to one."""
    name, begins = device.encode(), _LEAD.match(payload)
    if len(payload) > LARGEST or begins is None or len(begins[0]) > LONGEST_LEAD:
        return None
    at = begins.end() + len(name)
    if payload[begins.end() : at] != name or b"," in payload[:at]:
        return None
    spans = _spans(payload, at)
    told = None if spans is None else _pack_layout(kind, device, payload, spans)
    return None if spans is None or told is None else _template(begins[0], True, payload[at:], _less(spans, at), *told)


def learn_shape(shape: Shape, payload: bytes) -> Template | None:
    """A template of a flat reading or of a columnar pack; None where it does not lend itself to one."""
    spans = _spans(payload, 0)
    told = None if spans is None else _shape_layout(shape, payload, spans)
    return None if spans is None or told is None else _template(b"", False, payload, spans, *told)


def parts_of(
    scan: Scan, template: Template, members: I64, device: tuple[I64, I64]
) -> tuple[Part | None, NDArray[np.bool_]]:
    """The readings of those members that the template fits; which those are.

    `device`: offset and length of each member's own name (it stands in its topic), for a template that is `named`.
    """
    body, stop = scan.cuts.bounds[2:] if len(members) == len(scan.cuts) else scan.cuts.bounds[2:, members]
    if native.LIB is not None:
        value, fits = _fit(scan, template, body, stop, device)
    elif template.cbor:
        return None, np.zeros(len(members), np.bool_)
    else:
        value, fits = _matched(scan, template, body, stop, device)
    fits &= stop - body <= MAX_BYTES
    if template.cbor:
        fits &= device[1] == template.name_length
    if not fits.all():
        members, value = members[fits], value[:, fits]
    return (_part(template.layout, members, value) if len(members) else None), fits


def _fit(
    scan: Scan, template: Template, body: I64, stop: I64, device: tuple[I64, I64]
) -> tuple[F64, NDArray[np.bool_]]:
    """`_matched` by the loop in C."""
    layout, n = template.layout, len(body)
    one = layout.readings == 1  # a column a number, else the numbers of a message side by side
    value = np.zeros((layout.width, n) if one else (n, layout.width))
    fits = native.fit(
        scan.cuts.data, body, stop, device if template.named else None, template.lead, template.pattern,
        value, 1 if one else layout.width, cbor=template.cbor,
    )  # fmt: skip
    value = value if one else value.T
    return value, fits & _sound(layout, value)


def _matched(
    scan: Scan, template: Template, body: I64, stop: I64, device: tuple[I64, I64]
) -> tuple[F64, NDArray[np.bool_]]:
    """The numbers of messages, float64 (numbers, messages), and which messages are the template's."""
    if template.named:
        fits = _led(scan, template.lead, body, stop, device)
        body = body + len(template.lead) + device[1]
        first, right = scan.hold(body, stop, template.commas)
        fits &= right
    else:
        first, fits = scan.hold(body, stop, template.commas)
    value = np.zeros((template.layout.width, len(body)))
    chosen = np.flatnonzero(fits)
    step = max(1, BLOCK // template.layout.width)
    for at in range(0, len(chosen), step):
        some = chosen[at : at + step]
        value[:, some], fits[some] = _read(scan, template, body[some], stop[some], first[some])
    return value, fits


def _led(scan: Scan, lead: bytes, at: I64, stop: I64, device: tuple[I64, I64]) -> NDArray[np.bool_]:
    """Whether payloads begin with the lead and the member's name."""
    good = scan.same(at, lead) & (at + len(lead) + device[1] <= stop)
    for word in range(0, int(device[1].max()), 8):
        mask = MASKS[np.clip(device[1] - word, 0, 8)]
        good &= (scan.words[device[0] + word] & mask) == (scan.words[at + len(lead) + word] & mask)
    return good


def _read(scan: Scan, template: Template, body: I64, stop: I64, first: I64) -> tuple[F64, NDArray[np.bool_]]:
    """The numbers of messages, float64 (numbers, messages), and which messages are the template's and in order."""
    n, commas = len(body), template.commas
    edges = np.empty((commas + 2, n), np.int64)  # where pieces begin, and behind the last one
    edges[0] = body
    np.take(scan.commas, first + np.arange(commas)[:, None], out=edges[1:-1], mode="clip")
    edges[1:-1] += 1
    np.add(stop, 1, out=edges[-1])
    good = np.ones(n, np.bool_)
    if len(template.fixed):
        good &= _columns(edges[template.fixed + 1] - edges[template.fixed] == template.lengths[:, None])
    start = edges[template.before]
    start += template.ahead[:, None]
    end = edges[template.before + 1]
    end -= template.behind[:, None]
    good &= _columns(end > start)
    where = edges[template.edge]
    where += template.offset[:, None]
    words = scan.words[where]
    words &= template.mask[:, None]
    good &= _columns(words == template.text[:, None])
    if not good.all():  # of other messages numbers may end before they begin
        np.maximum(end, start + 1, out=end)
    numbers = read(scan.data, scan.words, start.ravel(), end.ravel())
    value = numbers.value.reshape(-1, n)
    good &= _columns(numbers.good.reshape(-1, n))
    good &= _columns(numbers.whole.reshape(-1, n) | ~template.layout.whole[:, None])
    return value, good & _sound(template.layout, value)


def _columns(true: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Columns that are true throughout; quickly so where all are."""
    if true.all():
        return np.ones(true.shape[1], np.bool_)
    return np.asarray(true.all(axis=0))


def _sound(layout: Layout, value: F64) -> NDArray[np.bool_]:
    """Whether boot, seq and times of messages are within their bounds."""
    head, times = layout.head, layout.readings * layout.timed
    if not layout.seconds:
        limits = np.array([MAX_NUMBER] * head + [MAX_T_MS] * times, np.float64)
        return _columns(value[: head + times] <= limits[:, None])
    good = np.ones(value.shape[1], np.bool_)
    if head:
        good &= _columns(value[:head] <= MAX_NUMBER)
    if times:
        t = value[head : head + times]
        good &= _columns((t >= RELATIVE) & (t * 1000 <= MAX_T_MS))
    return good


def _part(layout: Layout, at: I64, value: F64) -> Part:
    """Readings, message by message."""
    each, head = layout.readings, layout.head
    if each > 1:
        at = np.repeat(at, each)
    if layout.counted:
        boot, seq = value[0].astype(np.int64), value[1].astype(np.int64)
        if each > 1:
            boot, seq = np.repeat(boot, each), (seq[:, None] + np.arange(each)).ravel()
    else:
        boot = seq = np.full(len(at), NOT_ACCOUNTABLE, np.int64)
    if layout.timed:
        times = value[head : head + each].T.ravel()
        t = np.rint(times * 1000).astype(np.int64) if layout.seconds else times.astype(np.int64)
        head += each
    else:
        t = np.full(len(at), NO_TIME, np.int64)
    values = {name: value[head + i * each : head + (i + 1) * each].T.ravel() for i, name in enumerate(layout.names)}
    return Part(at, t, boot, seq, values)


# ---- learning --------------------------------------------------------------------------------------------------------


def _spans(payload: bytes, start: int) -> list[Span] | None:
    """Where the numbers from `start` on stand; None where there are none, or texts that are hard to read."""
    if len(payload) > LARGEST or b"\\" in payload:
        return None
    lead = b'"' if start else b""  # then the part begins in the string that the device's name began
    found = [(f.start(), f.end()) for f in _SCAN.finditer(lead + payload[start:]) if f[0][:1] != b'"']
    shift = start - len(lead)
    return [(a + shift, b + shift) for a, b in found] or None


def _less(spans: Sequence[Span], by: int) -> list[Span]:
    return [(start - by, end - by) for start, end in spans]


def _marked(text: bytes, spans: Sequence[Span]) -> Any:
    """The text as JSON, each number replaced by MARK and its place; None where it is none, or a name comes twice."""
    pieces, last = [], 0
    for index, (start, end) in enumerate(spans):
        pieces += [text[last:start], b"%d" % (MARK + index)]
        last = end
    try:
        return json.loads(b"".join((*pieces, text[last:])), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a name comes twice")
    return fields


def _place(value: Any) -> int | None:
    """Which number a marked value is."""
    return value - MARK if type(value) is int and value >= MARK else None


def _order(places: Sequence[int | None], count: int) -> list[int] | None:
    """The places, if they are all the numbers that there are, each once."""
    known = [place for place in places if place is not None]
    return known if len(known) == len(places) and sorted(known) == list(range(count)) else None


def _shape_layout(shape: Shape, payload: bytes, spans: Sequence[Span]) -> tuple[Layout, list[int]] | None:
    """The layout of a flat reading or a columnar pack, and which number of the text is which of the layout."""
    try:
        shape.decode(payload)
    except UNREADABLE:
        return None
    fields = _marked(payload, spans)
    counts = ("boot", "seq") if shape.counted else ()
    listed = (*(("t",) if shape.timed else ()), *shape.names)
    if not isinstance(fields, dict) or fields.keys() != {*counts, *listed}:
        return None
    lists = [fields[name] if shape.packed else [fields[name]] for name in listed]
    if {len(one) for one in lists} != {len(lists[0])} or not 0 < len(lists[0]) <= MAX_READINGS:
        return None
    places = [fields[name] for name in counts] + [place for one in lists for place in one]
    order = _order([_place(place) for place in places], len(spans))
    return None if order is None else (Layout(len(lists[0]), shape.counted, shape.timed, False, shape.names), order)


def _pack_layout(kind: Kind, device: str, payload: bytes, spans: Sequence[Span]) -> tuple[Layout, list[int]] | None:
    """The layout of a regular pack, and which number of the text is which of the layout."""
    try:
        records = DECODE(payload)
    except UNREADABLE:
        return None
    pack = _marked(payload, spans)
    return pack_layout(kind, device, records, pack, len(spans)) if isinstance(pack, list) else None


def pack_layout(
    kind: Kind, device: str, records: list[Record], pack: Sequence[Mapping[str, Any]], count: int
) -> tuple[Layout, list[int]] | None:
    """The layout of a pack that is regular; `pack`: its records with the place of each of `count` numbers, marked."""
    plan = plan_of(kind, [r.n for r in records])
    if plan is None or not regular(kind, plan, device, records):
        return None
    numbers = [_place(record.get("v")) for record in pack]
    width, head = len(plan.names), plan.head
    places = [*numbers[:head], *(_place(pack[at].get("bt")) for at in (0, *range(head + width, len(pack), width)))]
    for i in range(width):
        places += numbers[head + i :: width]
    order = _order(places, count)
    return None if order is None else (Layout(plan.rounds, bool(head), True, True, plan.names), order)


def _template(
    lead: bytes, named: bool, body: bytes, spans: Sequence[Span], layout: Layout, order: Sequence[int]
) -> Template | None:
    """A template of the part behind lead and name."""
    edges = [0, *(at + 1 for at, byte in enumerate(body) if byte == COMMA), len(body) + 1]
    piece = [int(np.searchsorted(edges, start, "right")) - 1 for start, _ in spans]
    if len(set(piece)) < len(piece):
        return None
    rows: list[tuple[int, int, np.uint64, np.uint64]] = []
    begins = [0, *(end for _, end in spans)]
    ends = [*(start for start, _ in spans), len(body)]
    texts = [body[begin:end] for begin, end in zip(begins, ends, strict=True)]
    for which, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        edge = piece[which - 1] + 1 if which else 0
        shift = begin - edges[edge]
        if body[begin:end] != b",":
            rows += [(edge, shift + offset, mask, word) for offset, mask, word in _words_of(body[begin:end])]
    if any(abs(offset) > FAR for _, offset, _, _ in rows):
        return None
    fixed = sorted(set(range(len(edges) - 1)).difference(piece))
    ahead = [start - edges[piece[i]] for i, (start, _) in enumerate(spans)]
    behind = [edges[piece[i] + 1] - end for i, (_, end) in enumerate(spans)]
    if max(*ahead, *behind) > FAR:
        return None
    return Template(
        lead,
        named,
        len(edges) - 2,
        np.array([piece[i] for i in order], np.int64),
        np.array([ahead[i] for i in order], np.int64),
        np.array([behind[i] for i in order], np.int64),
        np.array(fixed, np.int64),
        np.array([edges[i + 1] - edges[i] for i in fixed], np.int64),
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows], np.uint64),
        np.array([row[3] for row in rows], np.uint64),
        native.pattern(texts, np.argsort(order), layout.whole),
        layout,
    )


def _words_of(text: bytes) -> list[tuple[int, np.uint64, np.uint64]]:
    """(offset, mask, word) of a text; of a long one the last word reaches back to be whole."""
    found = []
    for at in range(0, len(text), 8):
        offset = at if at + 8 <= len(text) or at == 0 else len(text) - 8
        piece = text[offset : offset + 8]
        found.append((offset, MASKS[len(piece)], np.uint64(int.from_bytes(piece, "little"))))
    return found
