"""A change of the city as the tick takes it: city, models, detectors and ledger go on as those of the changed city."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from devices.cities.change import Change, ChangeRefused, Found, applied, change_in, change_out, tell
from devices.places import CityFiles
from twin.detect.base import Forgetful
from twin.model.renew import carry, reset
from twin.records import Why
from twin.tick.world import World

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CityEdit:
    """A change of the city as it is asked for. `id` makes a repeated one the same."""

    id: str
    actor: str
    reason: str
    changes: tuple[Change, ...]

    def text(self) -> str:
        """As it stands in the journal."""
        told = {"id": self.id, "actor": self.actor, "reason": self.reason}
        return json.dumps(told | {"changes": [change_out(c) for c in self.changes]}, ensure_ascii=False, sort_keys=True)

    @classmethod
    def read(cls, text: str) -> CityEdit:
        """From the journal. Raises ChangeRefused, ValueError, KeyError or TypeError for what `text` did not give."""
        told = json.loads(text)
        changes = tuple(change_in(change) for change in told["changes"])
        return cls(str(told["id"]), str(told["actor"]), str(told["reason"]), changes)


@dataclass(frozen=True, slots=True)
class Moved:
    """A change of the city that was taken in: entry `n` of the journal made version `version`, at city time `at_ms`.

    before: the objects as they were, one for each change (None: there was none).
    """

    version: int
    n: int
    at_ms: int
    edit: CityEdit
    before: tuple[dict[str, Any] | None, ...]


def move(world: World, n: int, text: str, at_ms: int) -> Moved | None:
    """Take in a journalled change. It was judged before it was journalled; one that this version cannot read is left
    out, said so, and changes nothing (None)."""
    read = taken(world.city.files, n, text)
    if read is None:
        return None
    edit, files = read
    before = before_of(world.city.files, edit)
    become(world, edit, files)
    world.ledger.move(files, *concerned(edit), edit.actor)
    return Moved(world.city.version, n, at_ms, edit, before)


def before_of(files: CityFiles, edit: CityEdit) -> tuple[dict[str, Any] | None, ...]:
    """The objects that an edit changes as they are, one for each change; None where there is none."""
    found = Found(files)
    return tuple(_told(found, change) for change in edit.changes)


def taken(files: CityFiles, n: int, text: str) -> tuple[CityEdit, CityFiles] | None:
    """A journalled change and the city after it; None, and said so, where this version cannot read it."""
    try:
        edit = CityEdit.read(text)
        return edit, applied(files, edit.changes)
    except (ChangeRefused, ValueError, KeyError, TypeError) as error:
        LOG.warning("the journalled change %d of the city does not fit this version and is left out: %s", n, error)
        return None


def become(world: World, edit: CityEdit, files: CityFiles) -> None:
    """City, models and detectors of one world go on as those of `files`, to which the edit leads."""
    world.city.become(files, world.city.version + 1)
    world.fit()
    for change in edit.changes:
        if change.replaces:
            _replace(world, change)
    for change in edit.changes:
        if change.table == "devices" and change.value is None:
            _retire(world, change.id)
    world.refusals.follow(world.city)
    gone, fresh = concerned(edit)
    for subject in {**gone, **fresh}:
        _unsay(world, subject)


def concerned(edit: CityEdit) -> tuple[dict[str, Why], dict[str, Why]]:
    """Subjects that are no more, and those of other hardware, each with the reason."""
    gone = {
        c.id: Why(f"retired: {edit.reason}", f"已停用：{edit.reason}")
        for c in edit.changes
        if c.table in ("devices", "nodes") and c.value is None
    }
    fresh: dict[str, Why] = {}
    for change in edit.changes:
        if change.replaces in gone:
            gone[change.replaces] = Why(
                f"replaced by {change.id}: {edit.reason}", f"已更换为{change.id}：{edit.reason}"
            )
        elif change.replaces:
            fresh[change.replaces] = Why(f"replaced: {edit.reason}", f"已更换：{edit.reason}")
    return gone, fresh


def _told(found: Found, change: Change) -> dict[str, Any] | None:
    known = found.find(change.table, change.id)
    return None if known is None else tell(change.table, change.id, known)


def _replace(world: World, change: Change) -> None:
    """Other hardware: the model goes on or begins anew; what detectors had against the old one is forgotten."""
    device = world.city.describe(change.id)
    if device is None or device.kind not in world.models:
        return
    kind, registry = device.kind, world.city.registry
    new, old = registry.row(kind, change.id), registry.find(kind, change.replaces)
    if old is None:
        return
    if change.model == "carry":
        carry(world.models[kind], old, new)
    else:
        reset(world.models[kind], new)
    for row in {old, new}:
        _forget(world, kind, row)


def _retire(world: World, device: str) -> None:
    """A device leaves: its row stays its own, and if it ever comes back it begins anew, in model and detectors."""
    for kind, model in world.models.items():
        row = world.city.registry.find(kind, device)
        if row is not None:
            reset(model, row)
            _forget(world, kind, row)


def _forget(world: World, kind: str, row: int) -> None:
    """What is held against a device is forgotten, by everybody."""
    world.refusals.forget(kind, row)
    for detector in world.detectors.values():
        if isinstance(detector, Forgetful):
            detector.forget(kind, row)


def _unsay(world: World, subject: str) -> None:
    world.withheld.held.pop(subject, None)
    for key in [key for key, sayers in world.said.items() if _subject(sayers) == subject]:
        del world.said[key]


def _subject(sayers: Mapping[str, Any]) -> str:
    return next(iter(sayers.values())).subject if sayers else ""
