"""The tick: everything journalled between two marks goes through model, detectors and ledger. Deterministic, no I/O."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from twin.city import City
from twin.detect import Moment
from twin.errors import SettingsError
from twin.model import advance
from twin.model.orders import VERB, Orders
from twin.records import (
    I32,
    Action,
    Answer,
    Batch,
    Changes,
    Columns,
    Edit,
    Entry,
    Finding,
    Frame,
    Link,
    Names,
    Outcome,
)
from twin.tick.complete import complete
from twin.tick.moves import Moved, move
from twin.tick.refusals import Rejected
from twin.tick.world import Ledger, World

LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class Ticked:
    """What one tick did. touched: by kind, the rows that said something, sorted; findings: as the ledger got them.

    frames: for looking at; their `known` no longer answers questions that were not asked during the tick.
    """

    changes: Changes
    frames: list[Frame] = field(default_factory=list)
    touched: dict[str, I32] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    moves: list[Moved] = field(default_factory=list)


@dataclass(slots=True)
class Heard:
    """The entries of one tick, by what they are."""

    columns: dict[str, list[Columns]] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    edits: list[tuple[int, Edit]] = field(default_factory=list)  # (number of its entry, edit)


def tick(world: World, entries: Sequence[Entry], now_ms: int, n: int = 0, leap_ms: int = 0) -> Ticked:
    """Run the entries journalled since the tick before, as of city time `now_ms`; `n` is the mark's number, `leap_ms`
    what of the time since the mark before was leapt over.

    The world is changed in place. How the readings are cut into batches makes no difference; where the marks stand
    does. Rows that the city does not have are passed over.
    """
    ticked, heard = sense(world, entries, now_ms, n, leap_ms)
    ticked.changes = conclude((world,), world.ledger, world.orders, world.city, ticked.findings, heard)
    return ticked


def sense(world: World, entries: Sequence[Entry], now_ms: int, n: int = 0, leap_ms: int = 0) -> tuple[Ticked, Heard]:
    """The first half of a tick: model and detectors of one world. Of a city in several worlds each senses its own."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):  # NaN means "unknown" everywhere
        heard = sort_entries(world, entries)
        return _sense(world, heard, now_ms, n, leap_ms), heard


def conclude(
    worlds: Sequence[World], ledger: Ledger, orders: Orders, city: City, findings: Sequence[Finding], heard: Heard
) -> Changes:
    """The second half: the ledger, under this tick's policy, correlates findings, wherever they come from; verdicts go
    to every world; orders to devices of the city go on."""
    now_ms = worlds[0].now_ms
    for _, edit in heard.edits:
        if edit.what == "policy":
            _follow(edit, ledger.rule)
    told = [action for action in heard.actions if action.verb == VERB]
    actions = [action for action in heard.actions if action.verb != VERB]
    changes = ledger.step(findings, actions, heard.outcomes, heard.answers, now_ms)
    for world in worlds:
        _judge(world, changes)
    sent, refused = orders.step(told, heard.outcomes, heard.answers, city, now_ms)
    changes.deliveries += sent
    changes.refused += refused
    return changes


def _sense(world: World, heard: Heard, now_ms: int, n: int, leap_ms: int) -> Ticked:
    ticked = Ticked(Changes())
    for entry_n, edit in heard.edits:
        if edit.what == "city":
            moved = move(world, entry_n, edit.text, now_ms)
            ticked.moves += [moved] if moved is not None else []
        else:
            _edit(world, edit, now_ms)
    counted_ms = world.link.counted_ms
    world.link.advance(heard.links, now_ms, leap_ms)
    if any(edit.what == "learning" and json.loads(edit.text) == "sparse" for _, edit in heard.edits):
        for model in world.models.values():
            model.forget_gaps(now_ms, world.link.counted_ms)
    for rejected in heard.rejected:
        world.refusals.note(rejected, now_ms)
    told, world.unsaid = world.unsaid, []
    for kind in sorted(heard.columns):
        _observe(world, kind, heard.columns[kind], now_ms, ticked, told)
    presence = {kind: model.presence(world.link.counted_ms) for kind, model in sorted(world.models.items())}
    moment = Moment(
        now_ms=world.now_ms,
        presence=presence,
        counting=world.link.counting,
        resumed=world.link.resumed,
        passed_ms=world.link.counted_ms - counted_ms,
        heard={kind: int(np.count_nonzero(one.t > 0)) for kind, one in presence.items()},
        refused=world.refusals.held,
        learning=world.learnt.learning,
    )
    for name, detector in world.detectors.items():
        told += [(name, finding) for finding in detector.sweep(moment)]
    found = [complete(finding, world.city, world.models) for finding in world.settle(told)]
    ticked.findings = world.learnt.voice(found, world.said, moment, world.city)
    if n:
        world.last_tick = n
    return ticked


def _judge(world: World, changes: Changes) -> None:
    """Tell the detectors what cases were found to be, each case once."""
    for type_, subject, false in changes.judged:
        for detector in world.detectors.values():
            if type_ in detector.types:
                detector.judged(type_, subject, false)


def sort_entries(world: World, entries: Sequence[Entry]) -> Heard:
    heard = Heard()
    for entry in entries:
        body = entry.body
        if isinstance(body, Batch):
            if body.rejected:
                heard.rejected.append(body.rejected)
            for columns in body.columns:
                if len(columns):
                    heard.columns.setdefault(columns.kind, []).append(columns)
        elif isinstance(body, Names):
            world.city.extend(body)
            world.fit()
        elif isinstance(body, Link):
            heard.links.append(body)
        elif isinstance(body, Action):
            heard.actions.append(body)
        elif isinstance(body, Outcome):
            heard.outcomes.append(body)
        elif isinstance(body, Answer):
            heard.answers.append(body)
        elif isinstance(body, Edit):
            heard.edits.append((entry.n, body))
    return heard


def _edit(world: World, edit: Edit, now_ms: int) -> None:
    """What an edit changes of one world, at once; the policy is its ledger's."""
    if edit.what == "learning":
        told = json.loads(edit.text)
        if told is True:
            world.said.clear()
            world.learnt.begin()
        else:
            world.learnt.end(world.said, now_ms)
    if edit.what == "rules":
        _follow(edit, lambda text: world.rules.override(json.loads(text)))


def _follow(edit: Edit, take: Callable[[str], None]) -> None:
    """Rules and policy are replaced at once. They were checked before they were journalled; those that no longer fit
    (another version wrote them) are left out, said so, and change nothing."""
    try:
        take(edit.text)
    except (SettingsError, ValueError) as error:
        LOG.warning("journalled %s do not fit this version and are left out: %s", edit.what, error)


def _observe(
    world: World,
    kind: str,
    columns: list[Columns],
    now_ms: int,
    ticked: Ticked,
    told: list[tuple[str, Finding]],
) -> None:
    model = world.models.get(kind)
    if model is None:
        return
    columns = [_known_rows(c, world.city.rows(kind)) for c in columns]
    rows = np.concatenate([c.row for c in columns]).astype(np.int32)
    if not len(rows):
        return
    model.hear(rows, np.concatenate([c.arrived for c in columns]), world.link.counted_ms, now_ms)
    heard = np.zeros(world.city.rows(kind), bool)
    heard[rows] = True
    ticked.touched[kind] = np.flatnonzero(heard).astype(np.int32)
    world.refusals.heard(kind, ticked.touched[kind])
    for frame in advance(model, columns, world.city):
        frame.desired = world.desires.of(world.orders, world.city, kind, frame.rows, frame.t)
        ticked.frames.append(frame)
        for name, detector in world.detectors.items():
            told += [(name, finding) for finding in detector.observe(frame)]


def _known_rows(columns: Columns, rows: int) -> Columns:
    """The readings whose row the city has. Journalled rows are always known; a damaged one must not reach an array."""
    good = (columns.row >= 0) & (columns.row < rows)
    if good.all():
        return columns
    return Columns(
        columns.kind,
        columns.row[good],
        columns.t[good],
        columns.boot[good],
        columns.seq[good],
        columns.arrived[good],
        columns.flags[good],
        {name: x[good] for name, x in columns.values.items()},
    )
