"""Cause before symptom: what fails together under one gateway, feeder, cabinet or backhaul is one thing, there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.city import City, Groups, grown
from twin.detect.latch import Mask
from twin.records import F64

Masks = Mapping[str, Mask]


@dataclass(frozen=True, slots=True)
class Turn:
    """A device (level "") or a group began to fail, or no longer does. `children`: (kind, rows) that fail with it."""

    level: str
    kind: str
    row: int  # of the device; of a group, its index in the city's groups, -1 when the city no longer has it
    active: bool
    since_ms: int
    members: int = 0
    group: str = ""  # its id; the city may no longer have it when it ends
    children: tuple[tuple[str, NDArray[np.intp]], ...] = ()


@dataclass(frozen=True, slots=True)
class Signs:
    """What is seen on a tick mark, by kind and row. `sure`: certainly failing; `likely`: perhaps (holds all sure ones);
    `counted`: devices that can witness at all (heard before, part of the city); `silent`: ms since they were heard,
    where that tells who is well; `dead`: by level, own devices of groups that speak and say that their group fails."""

    sure: Masks
    likely: Masks
    counted: Masks
    silent: Mapping[str, F64] = field(default_factory=dict)
    dead: Masks = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Patience:
    """Holds in ms of city time, and what makes a group: a lone device waits `device_ms`, a group `group_ms`; a group
    fails when at least `members` witnesses exist (any, where the group's own device certainly fails too, or says that
    the group does) and a `share` of them is likely to fail, one certainly. Two are enough where both certainly fail and
    a narrower cause took the others of `members` before. Devices that fail while `members` of their group do wait
    `crowd_ms`: the rest may only not have been missed yet."""

    device_ms: Mapping[str, F64]  # by kind; one for all its devices, or one a row
    group_ms: float
    members: int
    share: float
    back_share: float = 0.1
    partial_ms: float = 300_000.0
    crowd_ms: float = 120_000.0
    later_ms: float = 5_000.0  # a word that comes so much later was said later


class Together:
    """Who fails alone, and which groups fail as one. Levels are asked in order, the widest cause first.

    A device under a failing group, or under one about to be said, never fails on its own account. After its group is
    back, it starts anew. What a failing group explains is no witness for the levels that `aside` names: supply that
    went silences a gateway's devices too, and says nothing of the gateway, whatever it does in the meantime.
    """

    def __init__(
        self,
        city: City,
        levels: Sequence[tuple[str, tuple[str, ...]]],
        aside: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    ) -> None:
        self.city = city
        self.levels = tuple(levels)  # (level, kinds that witness for it)
        self.aside = aside  # level -> levels whose failing groups explain devices for it as well
        self.said: dict[str, Mask] = {}
        self.since: dict[str, NDArray[np.int64]] = {}
        self.failing: dict[tuple[str, str], int] = {}  # (level, group id) -> since
        self.waiting: dict[tuple[str, str], int] = {}
        self.partial: dict[tuple[str, str], int] = {}

    def step(
        self, signs: Signs, now_ms: int, patience: Patience, forbidden: Iterable[tuple[str, str]] = ()
    ) -> list[Turn]:
        """One tick mark. `forbidden`: groups (level, id) that cannot be the cause just now."""
        self._ensure(signs)
        for kind, sure in signs.sure.items():
            since = self.since[kind]
            if sure.any() or since.any():
                self.since[kind] = np.where(sure & (since == 0), now_ms, np.where(sure, since, 0))
        turns: list[Turn] = []
        explained = {kind: np.zeros(len(mask), bool) for kind, mask in signs.sure.items()}
        barred = set(forbidden)
        for level, kinds in self.levels:
            turns += self._level(level, kinds, signs, now_ms, patience, explained, barred)
        turns += self._alone(signs, now_ms, patience, explained)
        return turns

    def busy(self) -> bool:
        """Whether anything fails, or is about to."""
        return bool(self.failing or self.waiting) or any(mask.any() for mask in self.said.values())

    def under(self, kind: str, row: int) -> bool:
        """Whether the device hangs on a group that fails now."""
        for level, _ in self.levels:
            groups = self.city.groups[level]
            index = int(groups.of[kind][row]) if kind in groups.of else -1
            if index >= 0 and (level, groups.ids[index]) in self.failing:
                return True
        return False

    def _ensure(self, signs: Signs) -> None:
        for kind, sure in signs.sure.items():
            if kind not in self.said:
                self.said[kind], self.since[kind] = np.zeros(len(sure), bool), np.zeros(len(sure), np.int64)
            self.said[kind] = grown(self.said[kind], len(sure), 0)[: len(sure)]
            self.since[kind] = grown(self.since[kind], len(sure), 0)[: len(sure)]

    def _level(
        self,
        level: str,
        kinds: tuple[str, ...],
        signs: Signs,
        now_ms: int,
        patience: Patience,
        explained: dict[str, Mask],
        barred: set[tuple[str, str]],
    ) -> list[Turn]:
        groups = self.city.groups[level]
        n = len(groups.ids)
        turns = self._vanished(level, groups)
        if not n or not (self.failing or self.waiting or any(mask.any() for mask in signs.sure.values())):
            return turns
        aside = self._aside(level, signs, explained)
        total, likely, sure = self._count(groups, n, kinds, signs, aside, now_ms)
        enough = (total >= patience.members) | ((total >= 1) & self._own(level, groups, signs, explained))
        if aside is not explained:
            taken = self._taken(groups, n, kinds, signs, aside, explained)
            enough |= (total >= 2) & (sure == total) & (total + taken >= patience.members)
        fails = enough & (likely >= patience.share * total) & (sure >= 1)
        active = {key for key in self.failing if key[0] == level}
        index_of = {groups.ids[i]: i for i in range(n)} if active else {}
        for key in sorted(active):
            i = index_of[key[1]]
            seen = (int(total[i]), int(likely[i]))
            if not seen[0]:  # a wider cause explains all of them, or did just now: are they heard?
                seen = self._still(groups, i, kinds, signs)
            if self._is_back(key, *seen, now_ms, patience):
                turns.append(Turn(level, "", i, False, self.failing.pop(key), group=key[1]))
                self.partial.pop(key, None)
                # Its poles may be back before its cells, which speak more rarely and have to start: they get time.
                self._start_anew(groups, i, now_ms + round(2.0 * patience.crowd_ms))
        for index in np.flatnonzero(fails):
            key = (level, groups.ids[index])
            if key in self.failing or key in barred:
                continue
            wait = patience.group_ms
            if self._part_of_more(level, int(index), kinds, signs, explained, patience.later_ms):
                wait = patience.crowd_ms
            if now_ms - self.waiting.setdefault(key, now_ms) >= wait:
                del self.waiting[key]
                children = self._children(groups, int(index), signs)
                since = self._since(children)
                self.failing[key] = since or now_ms
                turns.append(Turn(level, "", int(index), True, self.failing[key], int(total[index]), key[1], children))
        for key in [k for k in self.waiting if k[0] == level]:
            at = [i for i in np.flatnonzero(fails) if groups.ids[i] == key[1]]
            if not at or key in barred:
                del self.waiting[key]
        # Also of those about to be said.
        self._explain(level, groups, signs, explained, (*self.failing, *self.waiting))
        return turns

    def _vanished(self, level: str, groups: Groups) -> list[Turn]:
        """Failing groups that the city no longer has: over. Who belonged to them nobody knows; they start nothing."""
        gone = sorted(key for key in self.failing if key[0] == level and key[1] not in groups.ids)
        for key in gone:
            self.partial.pop(key, None)
        return [Turn(level, "", -1, False, self.failing.pop(key), group=key[1]) for key in gone]

    def _part_of_more(
        self,
        level: str,
        index: int,
        kinds: tuple[str, ...],
        signs: Signs,
        explained: dict[str, Mask],
        later_ms: float,
    ) -> bool:
        """Whether a wider group that holds this one's devices may be the cause: it has certain failures beyond them, or
        others beyond them of whom nobody was heard since the last of these was."""
        mine = {kind: self._inside(level, kind, signs) == index for kind in kinds if kind in signs.sure}
        last_ms = min((float(signs.silent[kind][rows & signs.likely[kind] & signs.counted[kind]].min(initial=np.inf))
                       for kind, rows in mine.items() if kind in signs.silent), default=np.inf)  # fmt: skip
        for outer, witnesses in self.levels[: [name for name, _ in self.levels].index(level)]:
            above = {of for kind, rows in mine.items() for of in self._inside(outer, kind, signs)[rows].tolist()}
            shared = sorted(above - {-1})
            beyond, heard = False, False
            for kind in witnesses if shared else ():
                if kind not in signs.sure:
                    continue
                free = signs.counted[kind] & ~explained[kind] & ~self.said[kind]
                free &= np.isin(self._inside(outer, kind, signs), shared)
                free &= self._inside(level, kind, signs) != index
                if kind in kinds and (free & signs.sure[kind]).any():
                    return True
                beyond = beyond or bool(free.any())
                heard = heard or (kind in signs.silent and bool((signs.silent[kind][free] < last_ms - later_ms).any()))
            if beyond and not heard and np.isfinite(last_ms):
                return True
        return False

    def _inside(self, level: str, kind: str, signs: Signs) -> NDArray[np.int32]:
        """By row the group that a device of that kind hangs on, -1: none."""
        of = self.city.groups[level].of
        return of[kind][: len(signs.sure[kind])] if kind in of else np.full(len(signs.sure[kind]), -1, np.int32)

    def _still(self, groups: Groups, index: int, kinds: tuple[str, ...], signs: Signs) -> tuple[int, int]:
        """A group's witnesses and how many of them likely fail, whatever explains them."""
        mine = [(kind, (groups.of[kind][: len(signs.sure[kind])] == index) & signs.counted[kind])
                for kind in kinds if kind in signs.sure]  # fmt: skip
        return sum(int(m.sum()) for _, m in mine), sum(int((m & signs.likely[kind]).sum()) for kind, m in mine)

    def _count(
        self, groups: Groups, n: int, kinds: tuple[str, ...], signs: Signs, explained: dict[str, Mask], now_ms: int
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        """Witnesses, likely and certain failures by group. The group's own device is no witness of its members, and who
        has time to start after its supply is back is none either."""
        total, likely, sure = (np.zeros(n, np.intp) for _ in range(3))
        for kind in kinds:
            if kind not in signs.sure:
                continue
            of = groups.of[kind][: len(signs.sure[kind])]
            free = (of >= 0) & signs.counted[kind] & ~explained[kind] & ~self.said[kind] & (self.since[kind] <= now_ms)
            total += np.bincount(of[free], minlength=n)
            likely += np.bincount(of[free & signs.likely[kind]], minlength=n)
            sure += np.bincount(of[free & signs.sure[kind]], minlength=n)
        return total, likely, sure

    def _taken(
        self, groups: Groups, n: int, kinds: tuple[str, ...], signs: Signs, aside: dict[str, Mask],
        explained: dict[str, Mask],
    ) -> NDArray[np.intp]:  # fmt: skip
        """Witnesses by group that fail already, for a cause beside or within it."""
        taken = np.zeros(n, np.intp)
        for kind in kinds:
            if kind in signs.sure:
                of = groups.of[kind][: len(signs.sure[kind])]
                mine = (of >= 0) & aside[kind] & ~explained[kind] & signs.likely[kind] & signs.counted[kind]
                taken += np.bincount(of[mine], minlength=n)
        return taken

    def _own(self, level: str, groups: Groups, signs: Signs, explained: dict[str, Mask]) -> Mask:
        """Groups whose own device, a gateway or a feeder's meter, certainly fails, or says that they do, and is not
        explained."""
        own = np.zeros(len(groups.ids), bool)
        if level in signs.sure and level in groups.of:
            of = groups.of[level][: len(signs.sure[level])]
            fails = signs.sure[level] | signs.dead.get(level, False)
            own[of[(of >= 0) & fails & signs.counted[level] & ~explained[level]]] = True
        return own

    def _is_back(self, key: tuple[str, str], total: int, likely: int, now_ms: int, patience: Patience) -> bool:
        if likely <= patience.back_share * total:
            return True
        if likely < 0.5 * total:
            return now_ms - self.partial.setdefault(key, now_ms) >= patience.partial_ms
        self.partial.pop(key, None)
        return False

    def _start_anew(self, groups: Groups, index: int, now_ms: int) -> None:
        for kind, since in self.since.items():
            mine = groups.of[kind][: len(since)] == index
            since[mine & (since > 0)] = now_ms

    def _children(self, groups: Groups, index: int, signs: Signs) -> tuple[tuple[str, NDArray[np.intp]], ...]:
        found = []
        for kind in sorted(signs.likely):
            mine = groups.of[kind][: len(signs.likely[kind])] == index
            rows = np.flatnonzero(mine & signs.likely[kind] & signs.counted[kind])
            if len(rows):
                found.append((kind, rows))
        return tuple(found)

    def _since(self, children: tuple[tuple[str, NDArray[np.intp]], ...]) -> int:
        times = [int(t) for kind, rows in children for t in self.since[kind][rows] if t > 0]
        return min(times, default=0)

    def _aside(self, level: str, signs: Signs, explained: dict[str, Mask]) -> dict[str, Mask]:
        """What is explained already, and for this level also by failing groups of the levels aside of it."""
        others = [other for other in self.aside.get(level, ()) if any(key[0] == other for key in self.failing)]
        if not others:
            return explained
        more = dict(explained)
        for other in others:
            self._explain(other, self.city.groups[other], signs, more, (*self.failing,))
        return more

    def _explain(
        self, level: str, groups: Groups, signs: Signs, explained: dict[str, Mask], by: Iterable[tuple[str, str]]
    ) -> None:
        """Mark everything that hangs on those groups `by` which are of this level."""
        keys = {key[1] for key in by if key[0] == level}
        if not keys:
            return
        hit = np.array([i for i, id_ in enumerate(groups.ids) if id_ in keys])
        for kind, mask in explained.items():
            explained[kind] = mask | np.isin(groups.of[kind][: len(signs.sure[kind])], hit)

    def _alone(self, signs: Signs, now_ms: int, patience: Patience, explained: dict[str, Mask]) -> list[Turn]:
        turns = []
        for kind in sorted(signs.sure):
            said = self.said[kind]
            for row in np.flatnonzero(said & ~signs.likely[kind]):
                said[row] = False
                turns.append(Turn("", kind, int(row), False, now_ms))
        for kind in sorted(signs.sure):
            said, since = self.said[kind], self.since[kind]
            due = (since > 0) & ~said & ~explained[kind] & signs.counted[kind]
            if not due.any():
                continue
            several = self._crowded(kind, signs, patience.members, now_ms)
            several |= self._last_heard(kind, signs, now_ms, patience, explained)
            wait = np.where(several, patience.crowd_ms, patience.device_ms[kind])
            for row in np.flatnonzero(due & (now_ms - since >= wait)):
                said[row] = True
                turns.append(Turn("", kind, int(row), True, int(since[row])))
        return turns

    def _crowded(self, kind: str, signs: Signs, members: int, now_ms: int) -> Mask:
        """Devices whose group, of any level, holds at least `members` certain failures not yet said."""
        nothing = {name: np.zeros(len(mask), bool) for name, mask in signs.sure.items()}
        crowded = np.zeros(len(signs.sure[kind]), bool)
        for level, kinds in self.levels:
            groups = self.city.groups[level]
            if kind not in groups.of or not len(groups.ids):
                continue
            _, _, sure = self._count(groups, len(groups.ids), kinds, signs, nothing, now_ms)
            of = groups.of[kind][: len(crowded)]
            crowded |= (of >= 0) & (sure[np.maximum(of, 0)] >= members)
        return crowded

    def _last_heard(self, kind: str, signs: Signs, now_ms: int, patience: Patience, explained: dict[str, Mask]) -> Mask:
        """Failing devices of whose group, of any level, nobody was heard since: of those that lost their supply only
        some have a last word, and the others are not missed yet."""
        last = np.zeros(len(signs.sure[kind]), bool)
        if kind not in signs.silent:
            return last
        ago = np.fmax(signs.silent[kind], now_ms - self.since[kind])
        for level, kinds in self.levels:
            groups = self.city.groups[level]
            n = len(groups.ids)
            if kind not in groups.of or not n:
                continue
            total, newest = np.zeros(n, np.intp), np.full(n, np.inf)
            for other in kinds:
                if other in signs.silent:
                    of = self._inside(level, other, signs)
                    free = (of >= 0) & signs.counted[other] & ~explained[other] & ~self.said[other]
                    total += np.bincount(of[free], minlength=n)
                    well = free & ~signs.sure[other]
                    np.minimum.at(newest, of[well], signs.silent[other][well])
            of = self._inside(level, kind, signs)
            group = np.maximum(of, 0)
            last |= (of >= 0) & (total[group] >= patience.members) & (newest[group] >= ago - patience.later_ms)
        return last

    def forget(self, kind: str, row: int) -> None:
        """Other hardware stands in that row."""
        if kind in self.said and row < len(self.said[kind]):
            self.said[kind][row], self.since[kind][row] = False, 0

    def dump(self) -> dict[str, Any]:
        """All that it remembers."""
        told: dict[str, Any] = {f"said.{kind}": mask.copy() for kind, mask in self.said.items()}
        told.update({f"since.{kind}": since.copy() for kind, since in self.since.items()})
        for name in ("failing", "waiting", "partial"):
            told[name] = [[*key, value] for key, value in getattr(self, name).items()]
        return told

    def load(self, told: Mapping[str, Any]) -> None:
        """Take over what was dumped."""
        for name, value in told.items():
            group, _, kind = name.partition(".")
            if group == "said":
                self.said[kind] = value.copy()
            elif group == "since":
                self.since[kind] = value.copy()
        for name in ("failing", "waiting", "partial"):
            setattr(self, name, {(level, id_): int(value) for level, id_, value in told.get(name, [])})
