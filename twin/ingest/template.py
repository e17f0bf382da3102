"""Templates: what SenML packs of one program have in common byte for byte, all but their numbers. Pure.

A sender's program writes the same text again and again around new numbers. A template is learned from one regular pack
(twin/ingest/packs.py): the texts between the numbers, and which number is what. Then many packs are compared with the
texts and their numbers read by array arithmetic, with no object of a pack or a record. What differs in one byte, or has
a number that twin/ingest/digits.py does not read, is left to the decoders; so templates change no outcome.

Flat JSON and columnar packs gain nothing by this: msgspec takes 22 ns a number there, and little text is between them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.envelope import MAX_NUMBER, MAX_T_MS
from devices.records import Kind
from devices.senml import RELATIVE
from twin.ingest.cuts import MASKS, U64, Cuts
from twin.ingest.digits import read, tokens
from twin.ingest.packs import DECODE, plan_of, regular
from twin.ingest.parts import Part
from twin.ingest.shapes import UNREADABLE
from twin.records import F64, I64, NOT_ACCOUNTABLE

ENOUGH_BYTES = 16384  # of packs of one group from which a template is worth its fixed cost
KEPT = 8  # templates of one group
LESSONS = 4  # templates learned of one group in one batch
PATIENCE = 32  # payloads in a row of which no template could be made, until the group is left alone
LARGEST = 128 * 1024  # of a payload that a template is made of

_SCAN = re.compile(rb'"[^"\\]*"|[-./0-9]+')
_TOKEN = re.compile(rb"[-./0-9]+")
_LEAD = re.compile(rb'\s*\[\s*\{\s*"bn"\s*:\s*"')
_MARK = 1_000_000_000_000  # stands for the number of token i as _MARK + i
BLOCK = 8192  # numbers at a time
LONGEST_LEAD = 64


@dataclass(frozen=True, slots=True)
class Layout:
    """Which numbers (in order of the text) mean what: times and values one a reading; boot and seq where `counted`."""

    readings: int
    t: I64
    counted: bool
    boot: int
    seq: int
    values: Mapping[str, I64]


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """Texts and numbers of a pack; it begins with `lead` and the device's own name.

    tokens: in the part behind; picks: which of them are numbers (others stand in texts). gaps: lengths of the texts
    around the numbers. segment, offset, mask, text: the words of these texts, which text each is of and where in it;
    texts of one character are among `commas` (which they are) and `characters`.
    """

    lead: bytes
    tokens: int
    picks: I64
    gaps: I64
    segment: I64
    offset: I64
    mask: U64
    text: U64
    commas: I64
    characters: NDArray[np.uint8]
    layout: Layout


class Scan:
    """A joined batch with all its tokens found."""

    def __init__(self, cuts: Cuts) -> None:
        self.cuts = cuts
        self.data, self.words = cuts.bytes(), cuts.words()
        self.start, self.end = tokens(self.data)

    def same(self, at: I64, text: bytes) -> NDArray[np.bool_]:
        """Where `text` stands at these offsets."""
        good = np.ones(len(at), np.bool_)
        for offset, mask, word in _words_of(text):
            good &= (self.words[at + offset] & mask) == word
        return good


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
    """Whether so many packs are worth the fixed cost."""
    return int((cuts.bounds[3, members] - cuts.bounds[2, members]).sum()) >= ENOUGH_BYTES


def learn(kind: Kind, device: str, payload: bytes) -> Template | None:
    """A template of a pack; None where it does not lend itself to one."""
    name, begins = device.encode(), _LEAD.match(payload)
    if len(payload) > LARGEST or b"\\" in payload or begins is None or len(begins[0]) > LONGEST_LEAD:
        return None
    if not payload.startswith(name, begins.end()):
        return None
    body = payload[begins.end() + len(name) :]
    found = _scan(body)
    if found is None:
        return None
    layout = _layout(kind, device, payload, len(payload) - len(body), found[1])
    return None if layout is None else _template(begins[0], body, found, layout)


def parts_of(
    scan: Scan, template: Template, members: I64, device: tuple[I64, I64]
) -> tuple[Part | None, NDArray[np.bool_]]:
    """The readings of those members that the template fits; which those are.

    `device`: offset and length of each member's own name (it stands in its topic).
    """
    fits = np.zeros(len(members), np.bool_)
    body = scan.cuts.bounds[2, members]
    stop = scan.cuts.bounds[3, members]
    chosen = np.flatnonzero(_led(scan, template.lead, body, stop, device))
    body, stop = body[chosen] + len(template.lead) + device[1][chosen], stop[chosen]
    first = np.searchsorted(scan.start, body)
    right = np.searchsorted(scan.start, stop) - first == template.tokens
    if not right.all():
        chosen, body, stop, first = chosen[right], body[right], stop[right], first[right]
    if not len(chosen):
        return None, fits
    read_so_far = [_read(scan, template, body[some], stop[some], first[some]) for some in _blocks(template, len(body))]
    value = np.concatenate([one for one, _ in read_so_far])
    usable = np.concatenate([good for _, good in read_so_far])
    if not usable.all():
        chosen, value = chosen[usable], value[usable]
    fits[chosen] = True
    return (_part(template.layout, members[chosen], value) if len(chosen) else None), fits


def _blocks(template: Template, n: int) -> list[slice]:
    """Messages a few at a time, so that what is made of them stays in the cache."""
    step = max(1, BLOCK // len(template.picks))
    return [slice(at, at + step) for at in range(0, n, step)]


def _led(scan: Scan, lead: bytes, at: I64, stop: I64, device: tuple[I64, I64]) -> NDArray[np.bool_]:
    """Whether payloads begin with the lead and the member's name."""
    good = scan.same(at, lead) & (at + len(lead) + device[1] <= stop)
    for word in range(0, int(device[1].max()), 8):
        mask = MASKS[np.clip(device[1] - word, 0, 8)]
        good &= (scan.words[device[0] + word] & mask) == (scan.words[at + len(lead) + word] & mask)
    return good


def _read(scan: Scan, template: Template, body: I64, stop: I64, first: I64) -> tuple[F64, NDArray[np.bool_]]:
    """The numbers of messages, float64 (messages, numbers), and which messages are the template's and in order."""
    n, width = len(body), len(template.picks)
    index = first[:, None] + template.picks
    ahead = np.empty((n, width + 1), np.int64)  # where the texts end and the numbers begin
    behind = np.empty((n, width + 1), np.int64)  # where the texts begin
    ahead[:, :-1], ahead[:, -1] = scan.start[index], stop
    behind[:, 1:], behind[:, 0] = scan.end[index], body
    good = _rows(ahead - behind == template.gaps)
    where = behind.take(template.segment, axis=1)
    where += template.offset
    if not good.all():
        np.minimum(where, len(scan.words) - 1, out=where)  # of other packs this may be anywhere
    words = scan.words[where]
    words &= template.mask
    good &= _rows(words == template.text)
    if len(template.commas):
        good &= _rows(scan.data[behind.take(template.commas, axis=1)] == template.characters)
    numbers = read(scan.data, scan.words, ahead[:, :-1].ravel(), behind[:, 1:].ravel())
    value = numbers.value.reshape(n, width)
    good &= _rows(numbers.good.reshape(n, width))
    return value, good & _sound(template.layout, value, numbers.whole.reshape(n, width))


def _rows(true: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Rows that are true throughout; quickly so where all are."""
    if true.all():
        return np.ones(len(true), np.bool_)
    return np.asarray(true.all(axis=1))


def _sound(layout: Layout, value: F64, whole: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether boot, seq and times of packs are what they must be."""
    good = np.ones(len(value), np.bool_)
    if layout.counted:
        counts = [layout.boot, layout.seq]
        good &= _rows(whole[:, counts] & (value[:, counts] <= MAX_NUMBER))
    t = value[:, layout.t]
    return good & _rows((t >= RELATIVE) & (t * 1000 <= MAX_T_MS))


def _part(layout: Layout, at: I64, value: F64) -> Part:
    """Readings, pack by pack."""
    total = len(at) * layout.readings
    boot = seq = np.full(total, NOT_ACCOUNTABLE, np.int64)
    if layout.counted:
        boot = np.repeat(value[:, layout.boot].astype(np.int64), layout.readings)
        seq = (value[:, layout.seq].astype(np.int64)[:, None] + np.arange(layout.readings)).ravel()
    t = np.rint(value[:, layout.t].ravel() * 1000).astype(np.int64)
    values = {name: value[:, _slice(picks)].ravel() for name, picks in layout.values.items()}
    return Part(np.repeat(at, layout.readings), t, boot, seq, values)


def _slice(picks: I64) -> slice | I64:
    """Evenly spaced picks as a slice, which is read faster."""
    step = int(picks[1] - picks[0]) if len(picks) > 1 else 1
    even = step > 0 and bool((np.diff(picks) == step).all())
    return slice(int(picks[0]), int(picks[-1]) + 1, step) if even else picks


def _scan(text: bytes) -> tuple[list[int], list[tuple[int, int]], int] | None:
    """Numbers outside strings: (which tokens they are, where they stand), and the number of tokens."""
    picks: list[int] = []
    spans: list[tuple[int, int]] = []
    count = 0
    for found in _SCAN.finditer(b'"' + text):  # the text begins in the string that the device's name began
        if found[0][:1] == b'"':
            count += len(_TOKEN.findall(found[0]))
        else:
            picks.append(count)
            spans.append((found.start() - 1, found.end() - 1))
            count += 1
    return (picks, spans, count) if picks and len(_TOKEN.findall(text)) == count else None


def _marked(text: bytes, spans: Sequence[tuple[int, int]]) -> Any:
    """The text as JSON, each number replaced by _MARK and its place; None where it is none, or a name comes twice."""
    pieces, last = [], 0
    for index, (start, end) in enumerate(spans):
        pieces += [text[last:start], b"%d" % (_MARK + index)]
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
    return value - _MARK if type(value) is int and value >= _MARK else None


def _layout(kind: Kind, device: str, payload: bytes, shift: int, spans: Sequence[tuple[int, int]]) -> Layout | None:
    """The layout of a regular pack; `shift`: where the part begins that the spans count in."""
    try:
        records = DECODE(payload)
    except UNREADABLE:
        return None
    plan = plan_of(kind, [r.n for r in records])
    if plan is None or not regular(kind, plan, device, records):
        return None
    pack = _marked(payload, [(start + shift, end + shift) for start, end in spans])
    if not isinstance(pack, list):
        return None
    numbers = [_place(record.get("v")) for record in pack]
    width = len(plan.names)
    times = [_place(pack[at].get("bt")) for at in (0, *range(plan.head + width, len(pack), width))]
    places = [*numbers, *times]
    if None in places or sorted(p for p in places if p is not None) != list(range(len(spans))):
        return None
    found = np.array(numbers, np.int64)
    values = {name: found[plan.head + i :: width] for i, name in enumerate(plan.names)}
    counts = (int(found[0]), int(found[1])) if plan.head else (0, 0)
    return Layout(plan.rounds, np.array(times, np.int64), bool(plan.head), *counts, values)


def _template(
    lead: bytes, body: bytes, found: tuple[list[int], list[tuple[int, int]], int], layout: Layout
) -> Template:
    picks, spans, count = found
    starts = [0, *(end for _, end in spans)]
    ends = [*(start for start, _ in spans), len(body)]
    texts = [body[start:end] for start, end in zip(starts, ends, strict=True)]
    rows = [(which, *word) for which, text in enumerate(texts) if len(text) > 1 for word in _words_of(text)]
    commas = [which for which, text in enumerate(texts) if len(text) == 1]
    return Template(
        lead,
        count,
        np.array(picks, np.int64),
        np.array([len(text) for text in texts], np.int64),
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows], np.uint64),
        np.array([row[3] for row in rows], np.uint64),
        np.array(commas, np.int64),
        np.array([texts[which][0] for which in commas], np.uint8),
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
