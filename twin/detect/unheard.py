"""Never heard: part of the city for longer than a grace and not one good reading, although others around it report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.kinds import KINDS
from twin.city import City, Roster, grown
from twin.detect.base import Moment, Refusal
from twin.detect.latch import Mask
from twin.detect.rules import Params, Rules
from twin.detect.words import refused, span
from twin.records import F64, Finding, Presence

LOOK_MS = 60_000  # of city time between two looks
WITNESSES = ("pole", "cell", "feeder")  # what a gateway is judged by, as where it falls silent (outage.py)
NAMED = 20  # devices that the finding of a district names
TYPE, LOST = "device_silent", "gateway_loss"
_NONE: F64 = np.empty(0)

Index = NDArray[np.intp]


@dataclass(slots=True)
class _Kind:
    """What one look knows of a kind, by row. `alive`: part of the city; `district`: index into the look's codes;
    `wanted`: never heard although others around it report; `due`: for longer than the grace."""

    alive: Mask
    heard: Mask
    district: Index
    wanted: Mask
    due: Mask
    age_ms: F64


@dataclass(slots=True)
class _Look:
    """One look at the whole city: what is due, what of it stands alone, and which gateways have nothing else."""

    kinds: dict[str, _Kind]
    codes: list[str]
    whole: dict[int, int] = field(default_factory=dict)  # gateways (by index) of which all is due: their district
    lone: dict[str, Mask] = field(default_factory=dict)
    many: list[bool] = field(default_factory=list)  # by district: too many to be said one by one


class Unheard:
    """A device is expected when its kind reports in its district, or in the city and others behind its gateway do: what
    nobody has connected yet is no fault. Its silence counts from then, or from when it became part of the city (or its
    hardware was replaced), in city time in which our link was up and drained; nothing counts while a past is learnt.

    All that stands behind one gateway is one finding at the gateway. Where more than `unheard_share` of a district
    (three at least), or more than `unheard_most`, are missing, it is being built: one finding of the district.
    """

    types = (TYPE, LOST)

    def __init__(self, city: City, rules: Rules) -> None:
        self.city = city
        self.rules = rules
        self.clock_ms = 0.0  # city time that counted since this began
        self.looked = 0
        self.since: dict[str, F64] = {}  # by kind and row: the clock when the wait began, NaN where none does
        self.devices: set[str] = set()  # said, each by its id
        self.gateways: dict[str, str] = {}  # said, with the type
        self.districts: set[str] = set()  # said, by code
        self._codes: dict[str, int] = {}  # districts in the order in which they were first met
        self._placed: dict[str, tuple[object, Index]] = {}  # by kind: its roster, and the district of each row

    def observe(self, _frame: object) -> list[Finding]:
        return []

    def sweep(self, moment: Moment) -> list[Finding]:
        if moment.learning:
            return []
        self.clock_ms += moment.passed_ms
        mark = moment.now_ms // LOOK_MS
        if not moment.counting or mark == self.looked:
            return []
        self.looked = mark
        look = self._look(moment)
        told = [*self._tell_gateways(look, moment), *self._tell_districts(look, moment)]
        return [*told, *self._tell_devices(look, moment)]

    # ---- looking -----------------------------------------------------------------------------------------------

    def _look(self, moment: Moment) -> _Look:
        kinds = {kind: self._kind(kind, one) for kind, one in moment.presence.items()}
        look = _Look(kinds, list(self._codes))
        self._wait(look, moment.now_ms)
        self._find_whole(look)
        of, whole = self.city.groups["gateway"].of, np.array(list(look.whole), np.intp)
        for kind, one in kinds.items():
            under = np.isin(of[kind][: len(one.due)], whole) if kind in of else np.zeros(len(one.due), bool)
            look.lone[kind] = one.due & ~under
        look.many = self._many(look)
        return look

    def _kind(self, kind: str, one: Presence) -> _Kind:
        n, roster = len(one.t), self.city.rosters.get(kind)
        alive, district = np.zeros(n, bool), np.zeros(n, np.intp)
        if roster is not None:
            m = min(n, len(roster))
            alive[:m] = (roster.alive & ~roster.recorded)[:m]
            district[:m] = self._district(kind, roster)[:m]
        nobody = np.zeros(n, bool)
        return _Kind(alive, np.asarray(one.t > 0), district, nobody, nobody, np.zeros(n))

    def _wait(self, look: _Look, now_ms: int) -> None:
        """Who is expected now, for how long, and who has been for longer than the grace."""
        groups, beside = self.city.groups["gateway"], self._beside(look.kinds)
        for kind, one in look.kinds.items():
            n = len(one.alive)
            reports = np.bincount(one.district[one.alive & one.heard], minlength=len(look.codes))
            around = reports[one.district] > 0 if n else np.zeros(0, bool)
            if kind != "gateway" and kind in groups.of and len(beside) and reports.any():
                of = groups.of[kind][:n]
                around |= (of >= 0) & (beside[np.maximum(of, 0)] > 0)
            one.wanted = one.alive & ~one.heard & around
            since = grown(self.since.get(kind, _NONE), n, np.nan)[:n]
            since = np.where(one.wanted, np.where(np.isnan(since), self.clock_ms, since), np.nan)
            self.since[kind] = since
            one.age_ms = self.clock_ms - since
            with np.errstate(invalid="ignore"):
                one.due = one.age_ms >= 1000.0 * np.asarray(self._local(kind, n, now_ms)["unheard_s"], np.float64)

    def _district(self, kind: str, roster: Roster) -> Index:
        """By row, its district's place among the codes; a device of none stands in the city."""
        known = self._placed.get(kind)
        if known is None or known[0] is not roster:
            names = [(device.district if device is not None else "") or self.city.files.adcode
                     for device in roster.devices]  # fmt: skip
            index = self._codes
            known = roster, np.array([index.setdefault(name, len(index)) for name in names], np.intp)
            self._placed[kind] = known
        return known[1]

    def _local(self, kind: str, n: int, now_ms: int) -> Params:
        return self.rules.local(TYPE, self.city, kind, np.arange(n, dtype=np.int32), np.full(n, now_ms, np.int64))

    def _find_whole(self, look: _Look) -> None:
        """Gateways of which everything expected is due; those that were, and no longer are, wait anew."""
        groups = self.city.groups["gateway"]
        n = len(groups.ids)
        total, due, where = np.zeros(n, np.intp), np.zeros(n, np.intp), np.zeros(n, np.intp)
        for kind in WITNESSES:
            if kind not in look.kinds or kind not in groups.of:
                continue
            one = look.kinds[kind]
            of = groups.of[kind][: len(one.due)]
            on = (of >= 0) & one.alive & (one.heard | one.wanted)
            total += np.bincount(of[on], minlength=n)
            due += np.bincount(of[on & one.due], minlength=n)
            where[of[on]] = one.district[on]
        whole = np.flatnonzero((total >= self.rules.number(TYPE, "cause_members")) & (due == total))
        look.whole = {int(i): int(where[i]) for i in whole}
        for name in self.gateways.keys() - {groups.ids[i] for i in look.whole}:
            self._wait_anew(name, look)

    def _beside(self, kinds: Mapping[str, _Kind]) -> Index:
        """By gateway, how many of the devices behind it were ever heard."""
        groups = self.city.groups["gateway"]
        found = np.zeros(len(groups.ids), np.intp)
        for kind, one in kinds.items():
            if kind != "gateway" and kind in groups.of:
                of = groups.of[kind][: len(one.heard)]
                found += np.bincount(of[(of >= 0) & one.alive & one.heard], minlength=len(found))
        return found

    def _many(self, look: _Look) -> list[bool]:
        """Districts of which too many are missing; one that was said so is over at half of that."""
        n = len(look.codes)
        missing, total = np.zeros(n, np.intp), np.zeros(n, np.intp)
        for kind, one in look.kinds.items():
            missing += np.bincount(one.district[look.lone[kind]], minlength=n)
            total += np.bincount(one.district[one.alive], minlength=n)
        for at in look.whole.values():
            missing[at] += 1
        p = self.rules[TYPE]
        most = np.maximum(p["cause_members"], np.minimum(p["unheard_most"], p["unheard_share"] * total))
        was = np.array([code in self.districts for code in look.codes], bool)
        return [bool(over) for over in missing > np.where(was, 0.5 * most, most)]

    # ---- telling -----------------------------------------------------------------------------------------------

    def _tell_gateways(self, look: _Look, moment: Moment) -> Iterator[Finding]:
        groups = self.city.groups["gateway"]
        whole = {groups.ids[i]: i for i in look.whole}
        for name in sorted(self.gateways.keys() - whole.keys()):
            en, zh = "the first of its devices has reported", "其下已有设备首次上报"
            yield self._end(self.gateways.pop(name), name, moment, en, zh)
        for name in sorted(whole.keys() - self.gateways.keys()):
            if look.many[look.whole[whole[name]]]:
                continue
            below = [(kind, int(row)) for kind, row in self._behind(whole[name], look)]
            children = [self.city.registry.device(kind, row) for kind, row in below]
            age = max(look.kinds[kind].age_ms[row] for kind, row in below)
            row = self.city.registry.lookup("gateway", name)
            speaks = row is not None and "gateway" in look.kinds and bool(look.kinds["gateway"].heard[row])
            type_ = TYPE if speaks else LOST
            (long, long_zh), n = span(age), len(children)
            en = f"none of the {n} devices behind it was ever heard, expected for {long}"
            zh = f"其下{n}台设备应上报已{long_zh},从未上报"
            if speaks:
                en, zh = f"it speaks, but {en}", f"网关在线,但{zh}"
            evidence = {"children": children, "silent": n, "members": n, "unheard_s": round(age / 1000)}
            made = self._finding(type_, name, moment, en, zh, evidence, age)
            if made is not None:
                self.gateways[name] = type_
                yield made

    def _behind(self, group: int, look: _Look) -> Iterator[tuple[str, int]]:
        of = self.city.groups["gateway"].of
        for kind in sorted(set(WITNESSES) & look.kinds.keys() & of.keys()):
            one = look.kinds[kind]
            for row in np.flatnonzero((of[kind][: len(one.due)] == group) & one.due).tolist():
                yield kind, row

    def _wait_anew(self, gateway: str, look: _Look) -> None:
        """Whoever stands behind a gateway of which the first device reports is being connected: the grace begins."""
        groups = self.city.groups["gateway"]
        if gateway not in groups.ids:
            return
        index = groups.ids.index(gateway)
        for kind, since in self.since.items():
            if kind in groups.of:
                mine = groups.of[kind][: len(since)] == index
                since[mine & ~np.isnan(since)] = self.clock_ms
                if kind in look.kinds:
                    look.kinds[kind].due[mine] = False

    def _tell_districts(self, look: _Look, moment: Moment) -> Iterator[Finding]:
        now = {code for code, many in zip(look.codes, look.many, strict=True) if many}
        for code in sorted(self.districts - now):
            self.districts.discard(code)
            en, zh = "few are missing now", "未上报设备已所剩无几"
            yield self._end(TYPE, code, moment, en, zh)
        for code in sorted(now - self.districts):
            at, counts, total, names = look.codes.index(code), dict[str, int](), 0, list[str]()
            age = 0.0
            for kind in sorted(look.kinds):
                one = look.kinds[kind]
                here = one.district == at
                rows = np.flatnonzero(one.due & here)
                if len(rows):
                    total += int((one.alive & here).sum())
                    counts[kind] = len(rows)
                    age = max(age, float(one.age_ms[rows].max()))
                    names += [self.city.registry.device(kind, int(row)) for row in rows[: NAMED - len(names)]]
            n = sum(counts.values())
            long, long_zh = span(age)
            what = ", ".join(f"{count} {KINDS[kind].en}" for kind, count in counts.items())
            what_zh = "、".join(f"{KINDS[kind].zh}{count}台" for kind, count in counts.items())
            en = f"{n} of {total} devices were never heard, expected for up to {long} ({what})"
            zh = f"{total}台设备中有{n}台从未上报,最长应上报已{long_zh}({what_zh})"
            evidence = {"silent": n, "members": total, "by_kind": counts, "some": names, "unheard_s": round(age / 1000)}
            made = self._finding(TYPE, code, moment, en, zh, evidence, age)
            if made is not None:
                self.districts.add(code)
                yield made

    def _tell_devices(self, look: _Look, moment: Moment) -> Iterator[Finding]:
        for name in sorted(self.devices):
            kind = self.city.kind(name)
            row = self.city.registry.lookup(kind, name)
            one = look.kinds.get(kind)
            if one is not None and row is not None and one.alive[row] and not one.heard[row]:
                continue
            self.devices.discard(name)
            heard = one is not None and row is not None and bool(one.heard[row])
            en, zh = ("reports for the first time", "首次上报") if heard else ("not expected to report", "无需上报")
            yield self._end(TYPE, name, moment, en, zh)
        many = np.array(look.many, bool)
        for kind in sorted(look.kinds):
            one, lone = look.kinds[kind], look.lone[kind]
            for row in np.flatnonzero(lone & ~many[one.district]).tolist() if lone.any() else ():
                name = self.city.registry.device(kind, row)
                if name in self.devices:
                    continue
                made = self._told_device(kind, row, name, one, moment)
                if made is not None:
                    self.devices.add(name)
                    yield made

    def _told_device(self, kind: str, row: int, name: str, one: _Kind, moment: Moment) -> Finding | None:
        age = float(one.age_ms[row])
        here = one.alive & (one.district == one.district[row])
        report, of = int((here & one.heard).sum()), int(here.sum())
        long, long_zh = span(age)
        en = f"never heard, expected for {long}; {report} of {of} of its kind in its district report"
        zh = f"应上报已{long_zh},从未上报;同区同类设备{of}台中{report}台已上报"
        evidence: dict[str, Any] = {"unheard_s": round(age / 1000), "heard": report, "members": of}
        told: Refusal | None = moment.refused.get((kind, row))
        if told is not None and told.total > 1:
            why, why_zh = refused(told.reason)
            n = told.counts[told.reason]
            en = f"speaks, but no reading was ever good, expected for {long}: {n} of {told.total} are {why}"
            zh = f"有上报,但{long_zh}以来无一条有效读数:{told.total}条中{n}条因{why_zh}被拒收"
            evidence["refused"] = dict(told.counts)
        return self._finding(TYPE, name, moment, en, zh, evidence, age)

    def _finding(
        self, type_: str, subject: str, moment: Moment, en: str, zh: str, evidence: Mapping[str, Any], age_ms: float
    ) -> Finding | None:
        """The finding; None where the rules have switched its type off there."""
        p = self.rules.at(type_, self.city, subject, moment.now_ms)
        if not p.get("enabled", True):
            return None
        begun = self._end(type_, subject, moment, en, zh)
        since_ms = moment.now_ms - round(age_ms)
        return replace(begun, active=True, since_ms=since_ms, severity=int(p.get("severity", 2)), evidence=evidence)

    @staticmethod
    def _end(type_: str, subject: str, moment: Moment, en: str, zh: str) -> Finding:
        now_ms = moment.now_ms
        return Finding(type_, subject, active=False, at_ms=now_ms, since_ms=now_ms, detector="unheard",
                       en=f"{subject}: {en}", zh=f"{subject}：{zh}")  # fmt: skip

    # ---- memory ------------------------------------------------------------------------------------------------

    def forget(self, kind: str, row: int) -> None:
        """Other hardware: it has its grace anew."""
        if kind in self.since and row < len(self.since[kind]):
            self.since[kind][row] = np.nan
        if row < self.city.registry.rows(kind):
            self.devices.discard(self.city.registry.device(kind, row))

    def judged(self, type_: str, subject: str, false: int) -> None:
        """No budget here: the grace is the city's."""

    def dump(self) -> dict[str, Any]:
        told: dict[str, Any] = {f"since.{kind}": since.copy() for kind, since in self.since.items()}
        return told | {
            "clock_ms": self.clock_ms,
            "looked": self.looked,
            "devices": sorted(self.devices),
            "gateways": [list(one) for one in sorted(self.gateways.items())],
            "districts": sorted(self.districts),
        }

    def load(self, told: Mapping[str, Any]) -> None:
        self.since = {n.partition(".")[2]: v.copy() for n, v in told.items() if n.startswith("since.")}
        self.clock_ms, self.looked = float(told["clock_ms"]), int(told["looked"])
        self.devices, self.districts = set(told["devices"]), set(told["districts"])
        self.gateways = {str(name): str(type_) for name, type_ in told["gateways"]}
