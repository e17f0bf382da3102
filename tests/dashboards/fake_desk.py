"""A lively city that fits one file: some hundred devices around Helsinki, trucks that move, cases that come and go.

For developing and testing the web without the server. Everything derives from `seed` and from `advance`; nothing
happens by itself, but `live=True` lets the clock run with the machine's.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from functools import cached_property
from typing import Any

from devices.kinds import KINDS
from devices.orders import check_order
from twin.detect import default_rules
from twin.errors import (
    BacktestRuns,
    BadPeriod,
    DeliveryFailed,
    LinkRefused,
    SettingsError,
    StoreElsewhere,
    UnknownPlace,
)
from twin.query.backtest import Ask
from twin.query.cap import WARNINGS
from twin.query.desk import Account, Letter, Moved, Row, Series
from twin.query.score import ScoreCard, Where, score_card
from twin.records import Case, Reject, Transition
from twin.whistle.lifecycle import CITY_VERBS, after, verbs
from twin.whistle.mutes import Mutes
from twin.whistle.policy import policy_text

CENTRE = (24.9415, 60.1695)
START_MS = 1_753_730_000_000
NAN = float("nan")
DEPARTMENTS = {
    "lighting": {"en": "Street lighting", "zh": "照明管理所"},
    "waste_management": {"en": "Construction waste office", "zh": "渣土办"},
    "environment": {"en": "Environment", "zh": "生态环境局"},
}
STATES = {q.name: float(len(q.states) - 1) for kind in KINDS.values() for q in kind.quantities if q.role == "state"}
WHISTLES = (
    ("lamp_out", 2, "lighting", "pole", "powerConsumption",
     "Lamp of {} is dark: it draws 3 W where 82 W is expected (three reports).",
     "{} 灯具熄灭：功率3瓦，预期82瓦（连续三次上报）。"),
    ("backhaul_down", 3, "mobile_operator", "cell", "backhaulUp",
     "Backhaul of {} is down for 4 minutes.", "{} 回传中断已4分钟。"),
    ("outside_hours", 2, "waste_management", "truck", "speed",
     "Truck {} drives laden (28.4 t) at 14:20, outside its permit's hours (20:00-05:00).",
     "渣土车 {} 于14:20载重（28.4吨）行驶，超出处置证许可时段（20:00-05:00）。"),
    ("leakage", 4, "power", "pole", "leakageCurrent",
     "Leakage current of {} is 42 mA, above 30 mA in two reports.", "{} 漏电流42毫安，连续两次超过30毫安。"),
    ("sensor_stuck", 1, "maintenance", "pole", "pm25",
     "PM2.5 of {} has not moved for 6 hours while its peers did.", "{} 的PM2.5读数6小时未变化，而周边测点均有变化。"),
    ("interference", 2, "mobile_operator", "cell", "sinr",
     "SINR of {} is 7 dB under expectation at unchanged load.", "{} 信噪比低于预期7分贝，负载未变。"),
)  # fmt: skip


def _rows(seed: int, poles: int, cells: int, trucks: int) -> list[Row]:
    """Poles along a street grid, cells on poles, trucks anywhere, feeders and gateways, three recorded stations."""
    rng = random.Random(seed)
    rows = []
    for i in range(poles):
        street, place = i % 18, i // 18
        x, y = (street - 9) * 75.0, (place / max(1, poles / 18) - 0.5) * 1500
        if street % 3 == 0:
            x, y = y * 0.62, x * 1.1
        rows.append(_row(f"pole-{i + 1:04d}", "pole", x + rng.gauss(0, 2), y + rng.gauss(0, 2)))
    rows += [replace(rng.choice(rows[:poles]), id=f"cell-{i + 1:04d}", kind="cell") for i in range(cells)]
    for i in range(trucks):
        rows.append(_row(f"truck-{i + 1:03d}", "truck", rng.uniform(-450, 450), rng.uniform(-700, 700)))
    rows += [_row(f"feeder-{i + 1:02d}", "feeder", -480 + i * 110, -760) for i in range(8)]
    rows += [_row(f"gw-{i + 1:02d}", "gateway", rng.uniform(-450, 450), rng.uniform(-700, 700)) for i in range(10)]
    for i, name in enumerate(("aotizhongxin", "dongsi", "tiantan")):
        rows.append(replace(_row(f"beijing-{name}", "pole", 520, -100 + i * 90), origin="recorded"))
    return rows


def _row(device: str, kind: str, east_m: float, north_m: float) -> Row:
    lon = CENTRE[0] + east_m / (111_320 * math.cos(math.radians(CENTRE[1])))
    return Row(device, kind, lon, CENTRE[1] + north_m / 111_320, "simulated", 0)


def _step_m(a: tuple[float, float], b: tuple[float, float]) -> float:
    return math.hypot((b[0] - a[0]) * 55_400, (b[1] - a[1]) * 111_320)


def _length_m(line: Sequence[tuple[float, float]]) -> float:
    return sum(_step_m(a, b) for a, b in itertools.pairwise(line))


def _along(line: Sequence[tuple[float, float]], gone_m: float) -> tuple[float, float]:
    """The place `gone_m` metres along a line that is driven to and fro for ever."""
    whole = _length_m(line)
    left = gone_m % (2 * whole)
    left = 2 * whole - left if left > whole else left
    for a, b in itertools.pairwise(line):
        step = _step_m(a, b)
        if left <= step:
            part = left / step if step else 0.0
            return a[0] + (b[0] - a[0]) * part, a[1] + (b[1] - a[1]) * part
        left -= step
    return line[-1]


def shipped_city() -> dict[str, Any]:
    """What FakeDesk needs to look like the city that the product ships: rows, roads, bounds, base map."""
    from pathlib import Path

    import devices.cities
    from devices.cities.load import load_city

    city = load_city(Path(devices.cities.__file__).parent / "helsinki")
    rows = [Row(d.id, d.kind, d.lon, d.lat, d.origin, 0) for d in city.devices]
    lons, lats = [row.lon for row in rows], [row.lat for row in rows]
    return {"rows": rows, "roads": [line for _, _, line in city.roads], "basemap": str(city.basemap),
            "bounds": (min(lons), min(lats), max(lons), max(lats))}  # fmt: skip


class FakeBacktests:
    """Back-tests that get a third further with each look."""

    def __init__(self) -> None:
        self.asks: list[Ask] = []
        self.told: dict[str, Any] = {"id": "", "state": "none", "share": 0.0, "detail": "", "actor": "", "result": None}

    def start(self, ask: Ask, actor: str) -> Mapping[str, Any]:
        if self.told["state"] == "comparing":
            raise BacktestRuns(f"a back-test that {self.told['actor']} started is running; cancel it or wait")
        default_rules().override(dict(ask.rules), "rules")
        if ask.start_ms is not None and ask.start_ms > START_MS:
            raise BadPeriod("nothing is stored in that span: there is 2025-07-01 00:00:00 to 2025-07-28 00:00:00 (UTC)")
        self.asks.append(ask)
        self.told = {"id": f"b{len(self.asks)}", "state": "comparing", "share": 0.0, "detail": "", "actor": actor,
                     "started_ms": START_MS, "ended_ms": 0, "from_ms": START_MS - 86_400_000, "to_ms": START_MS,
                     "rules": dict(ask.rules), "result": None}  # fmt: skip
        return dict(self.told)

    def state(self) -> Mapping[str, Any]:
        if self.told["state"] == "comparing":
            self.told["share"] = round(self.told["share"] + 0.34, 2)
            if self.told["share"] >= 1:
                self.told |= {"state": "done", "share": 1.0, "ended_ms": START_MS + 9000, "result": self._result()}
        return dict(self.told)

    def cancel(self) -> Mapping[str, Any]:
        if self.told["state"] == "comparing":
            self.told |= {"state": "cancelled", "ended_ms": START_MS + 3000}
        return dict(self.told)

    @staticmethod
    def _result() -> dict[str, Any]:
        def one(i: int, subject: str, **more: Any) -> dict[str, Any]:
            type_, severity, _, _, _, en, zh = WHISTLES[i]
            return {"type": type_, "subject": subject, "at_ms": START_MS - 3_600_000 * (i + 1), "severity": severity,
                    "en": en.format(subject), "zh": zh.format(subject)} | more  # fmt: skip

        early = one(3, "pole-0005", before_ms=START_MS - 13_800_000, by_s=-600.0)
        late = one(5, "cell-0001", before_ms=START_MS - 23_400_000, by_s=1800.0)
        return {"same": 11, "today": 14, "other": 15, "readings": 123_456, "ticks": 17_280, "cpu_s": 41.5,
                "learnt_from_ms": START_MS - 8 * 86_400_000, "gained": [one(0, "pole-0002"), one(2, "truck-001")],
                "lost": [one(4, "pole-0007")], "earlier": [early], "later": [late],
                "counts": {"gained": 2, "lost": 1, "earlier": 1, "later": 1}}  # fmt: skip


class FakeDesk:
    """A Desk. `advance(seconds)` moves trucks and clock; `whistle(i)` opens a case; `health_told` may be changed."""

    def __init__(
        self, *, seed: int = 1, poles: int = 420, cells: int = 120, trucks: int = 60, live: bool = False,
        rows: Sequence[Row] = (), roads: Sequence[Sequence[tuple[float, float]]] = (), basemap: str = "",
        bounds: tuple[float, float, float, float] = (24.931, 60.162, 24.952, 60.177),
    ) -> None:  # fmt: skip
        self.rng = random.Random(seed)
        self.rows = list(rows) or _rows(seed, poles, cells, trucks)
        self.roads = [road for road in roads if _length_m(road) > 150]
        self.bounds = bounds
        self.gone_m = {row.id: self.rng.uniform(0, 900) for row in self.rows if row.kind == "truck"}
        self.index = {row.id: i for i, row in enumerate(self.rows)}
        self.basemap = basemap
        self.changed = [1] * len(self.rows)
        self.version = 1
        self.live, self._began = live, time.monotonic()
        self.city_ms = START_MS
        self.headings = {row.id: self.rng.uniform(0, 2 * math.pi) for row in self.rows if row.kind == "truck"}
        self.book: dict[str, Case] = {}
        self.steps: dict[str, list[Transition]] = {}
        self.requests: dict[str, Case] = {}
        self.asked: list[tuple[str, str, str, str, dict[str, Any]]] = []  # verb, case, actor, reason, arguments
        self.count = {"received": 128_400, "duplicate": 37, "late": 12, "missing": 3, "unstorable": 0}
        self.photos: dict[tuple[str, str], bytes] = {}
        self.rules_set: dict[str, Any] = {}
        self.policy_set: dict[str, Any] = {}
        self.ingested: list[tuple[str, bytes]] = []
        self.told: list[dict[str, Any]] = []  # orders
        self.hushed = Mutes()
        self.dead: list[dict[str, Any]] = [{
            "case": "c00001", "key": "c00001:dispatch:1:webhook", "channel": "webhook", "purpose": "dispatch",
            "address": "https://lighting.example/whistles", "attempts": 20, "at_ms": START_MS, "detail": "refused",
        }]  # fmt: skip
        self.health_told: dict[str, Any] = {
            "ready": True, "link": "drained", "journal": {"bytes": 42_000_000, "bound_bytes": 2**31, "full": False},
            "store": {"name": "embedded", "up": True, "behind": 2, "detail": ""},
            "tick": {"last": 5120, "lag_ms": 40}, "disk": {"free_bytes": 81e9, "low": False},
        }  # fmt: skip
        self.lock = threading.RLock()
        self.backtests = FakeBacktests()
        for i, state in enumerate((4, 4, 5, 1, 1)):
            self._state((i * 37 + 11) % len(self.rows), state)

    def orders(self, device: str = "", limit: int = 100) -> list[Any]:
        """Orders that were given."""
        return [one for one in self.told if device in ("", one["device"])][:limit]

    async def order(
        self, device: str, action: str, arguments: Mapping[str, Any], actor: str, reason: str, request: str
    ) -> Any:
        """Note an order as done."""
        if device not in self.index:
            raise KeyError(device)
        check_order(self.rows[self.index[device]].kind, action, arguments)
        done = {"id": request, "device": device, "action": action, "arguments": dict(arguments), "actor": actor,
                "reason": reason, "at_ms": self.city_ms, "state": "done"}  # fmt: skip
        self.told.insert(0, done)
        return done

    @cached_property
    def register(self) -> Any:
        """The register of a small town of its own."""
        from tests.dashboards.fake_register import running_register

        return running_register()

    # -- what a test or the development server does ----------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Move the clock and every truck, at 36 km/h, turning now and then and at the edge of the city."""
        with self.lock:
            self.city_ms += int(seconds * 1000)
            self.version += 1
            self.count["received"] += int(seconds * 230)
            for n, (device, heading) in enumerate(self.headings.items()):
                i = self.index[device]
                row = self.rows[i]
                if self.roads:
                    self.gone_m[device] += 10 * seconds
                    lon, lat = _along(self.roads[n % len(self.roads)], self.gone_m[device])
                    self.rows[i] = replace(row, lon=lon, lat=lat)
                    self.changed[i] = self.version
                    continue
                lon = row.lon + 10 * seconds * math.sin(heading) / 55_400
                lat = row.lat + 10 * seconds * math.cos(heading) / 111_320
                if abs(lon - CENTRE[0]) > 0.009 or abs(lat - CENTRE[1]) > 0.0068 or self.rng.random() < 0.05:
                    self.headings[device] = self.rng.uniform(0, 2 * math.pi)
                    continue
                self.rows[i] = replace(row, lon=lon, lat=lat)
                self.changed[i] = self.version

    def whistle(self, i: int, device: str | None = None, children: int = 0) -> Case:
        """Open a case of the i-th sort (of six) on `device`."""
        with self.lock:
            type_, severity, department, kind, quantity, en, zh = WHISTLES[i % len(WHISTLES)]
            candidates = [row for row in self.rows if row.kind == kind and row.origin == "simulated"]
            row = self.rows[self.index[device]] if device else self.rng.choice(candidates)
            number = len(self.book) + 1
            case = Case(
                id=f"c{number:05d}", key=f"{type_}:{row.id}", type=type_, subject=row.id, subject_kind=row.kind,
                state="dispatched", severity=severity, opened_ms=self.city_ms, since_ms=self.city_ms - 90_000,
                updated_ms=self.city_ms, department=department, children=children,
                deadline_ms=self.city_ms + 4 * 3_600_000, lon=row.lon, lat=row.lat, en=en.format(row.id),
                zh=zh.format(row.id),
                evidence={"quantity": quantity, "observed": 3.0, "expected": 82.0, "low": 70.0, "high": 95.0,
                          "reports": 3, "detector": type_},
            )  # fmt: skip
            self.book[case.id] = case
            self.steps[case.id] = [
                Transition(case.id, 1, self.city_ms, "city", "find", "", "found", "", case.evidence),
                Transition(case.id, 2, self.city_ms, "city", "file", "found", "filed"),
                Transition(
                    case.id,
                    3,
                    self.city_ms + 20,
                    "city",
                    "dispatch",
                    "filed",
                    "dispatched",
                    f"{department} answers for {type_}",
                ),
            ]
            for child in range(children):
                self.book[f"{case.id}-{child}"] = replace(
                    case,
                    id=f"{case.id}-{child}",
                    subject=f"pole-{child + 1:04d}",
                    parent=case.id,
                    children=0,
                    severity=1,
                )
            self._state(self.index[row.id], 3 if severity >= 3 else 2)
            return case

    def _state(self, i: int, state: int) -> None:
        self.version += 1
        self.rows[i] = replace(self.rows[i], state=state)
        self.changed[i] = self.version

    # -- Desk --------------------------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        return self.city_ms + (int((time.monotonic() - self._began) * 1000) if self.live else 0)

    def city(self) -> Mapping[str, Any]:
        return {
            "name": "Helsinki centre", "name_zh": "赫尔辛基市中心", "version": 1, "centre": CENTRE,
            "clock": {"city_ms": self.now_ms(), "speed": 1.0, "mode": "simulated"},
            "bounds": self.bounds, "timezone": "Europe/Helsinki",
            "attribution": "© OpenStreetMap contributors, ODbL 1.0",
            "attributions": ["Beijing Multi-Site Air Quality, S. Chen, UCI, CC BY 4.0"],
            "departments": DEPARTMENTS, "basemap": self.basemap,
        }  # fmt: skip

    def devices(self) -> Sequence[Row]:
        with self.lock:
            return tuple(self.rows)

    def moved(self, since: int) -> Moved:
        with self.lock:
            index = [i for i, at in enumerate(self.changed) if at > since]
            rows = [self.rows[i] for i in index]
            return Moved(self.version, self.now_ms(), index, [r.lon for r in rows], [r.lat for r in rows],
                         [r.state for r in rows])  # fmt: skip

    def device(self, device: str) -> Mapping[str, Any] | None:
        if device not in self.index:
            return None
        row = self.rows[self.index[device]]
        kind = KINDS[row.kind]
        values = []
        for i, quantity in enumerate(kind.quantities):
            known = quantity.role == "gauge" and i % 4 != 3
            value = self._observed(device, quantity.name, self.now_ms())
            if quantity.role == "state":
                value = float(len(quantity.states) - 1)
            expected = self._expected(device, quantity.name, self.now_ms()) if known else NAN
            width = abs(expected) * 0.12 + 0.1
            values.append({
                "quantity": quantity.name, "value": value, "unit": quantity.unit, "expected": expected,
                "low": expected - width, "high": expected + width, "t_ms": self.now_ms() - 12_000, "age_s": 12.0,
            })  # fmt: skip
        return {
            "id": device, "kind": row.kind, "origin": row.origin, "state": row.state, "lon": row.lon, "lat": row.lat,
            "code16": "2301010201000001", "urn": "urn:citywhistle:2301010201000001", "attributes": {"ratedPower": 90.0},
            "relations": {"street": "Aleksanterinkatu", "cabinet": "cabinet-011", "feeder": "feeder-01",
                          "gateway": "gw-01"},
            "values": values, "cases": [c for c in self.book.values() if c.subject == device and c.state != "closed"],
            "account": replace(self.account(), device=device, kind=row.kind),
        }  # fmt: skip

    def _scale(self, quantity: str) -> float:
        return 5.0 + (sum(map(ord, quantity)) % 90)

    def _expected(self, device: str, quantity: str, t_ms: int) -> float:
        day = (t_ms % 86_400_000) / 86_400_000
        return self._scale(quantity) * (1 + 0.35 * math.sin(2 * math.pi * (day - 0.3)))

    def _observed(self, device: str, quantity: str, t_ms: int) -> float:
        if quantity in STATES:
            return 0.0 if self.city_ms - t_ms < 240_000 else STATES[quantity]
        noise = math.sin(t_ms / 61_000) + math.sin(t_ms / 7_919_000 + len(device))
        dip = 0.06 if self.city_ms - t_ms < 900_000 and quantity == "powerConsumption" else 1.0
        return (self._expected(device, quantity, t_ms) + noise * self._scale(quantity) * 0.03) * dip

    def cases(
        self, *, open_only: bool = True, after: str = "", limit: int = 200, departments: Sequence[str] = ()
    ) -> Sequence[Case]:
        with self.lock:
            ranked = [c for c in reversed(list(self.book.values())) if not c.parent]
        if departments:
            ranked = [c for c in ranked if not {*self.parties(c), *c.returned_by}.isdisjoint(departments)]
        chosen = [c for c in ranked if not (open_only and c.state in ("closed", "cancelled"))]
        if after:
            at = next((i for i, c in enumerate(chosen) if c.id == after), len(chosen))
            chosen = chosen[at + 1 :]
        return chosen[:limit]

    def case(self, case: str) -> Case | None:
        return self.book.get(case)

    def parties(self, case: Case) -> frozenset[str]:
        """In charge, or of the cause; the environment office joins in what the waste office handles."""
        cause = self.book.get(case.parent)
        mine = {case.department, "environment"} if case.department == "waste_management" else {case.department}
        said = {*mine, *case.parties}.difference(case.returned_by)
        return frozenset(said | ({cause.department} if cause else set())) - {""}

    def route(self, type: str, subject: str, at_ms: int = 0) -> Mapping[str, Any]:  # noqa: A002
        if subject not in self.index:
            raise UnknownPlace(f"the city has no {subject!r}")
        return {"department": "lighting", "channel": "sms", "address": "13800000000", "on_call": bool(at_ms),
                "kind": "single", "always": False, "deadline_ms": at_ms or self.city_ms, "joint": [], "en": type,
                "zh": type, "timezone": "Europe/Helsinki"}  # fmt: skip

    def warnings(self, limit: int = 100) -> Sequence[Case]:
        return [case for case in reversed(list(self.book.values())) if case.type in WARNINGS][:limit]

    def possible(self, case: Case) -> Sequence[str]:
        return verbs(case.state)

    def _concern(self, departments: Sequence[str]) -> Sequence[Case]:
        return [c for c in self.cases(departments=departments) if not self.parties(c).isdisjoint(departments)]

    def needed(self, departments: Sequence[str]) -> frozenset[str]:
        """What stands still, and the trucks of their open cases."""
        about = {case.subject for case in self._concern(departments)}
        return frozenset(row.id for row in self.rows if row.kind != "truck" or row.id in about)

    def seen_since(self, device: str, departments: Sequence[str]) -> int | None:
        if device not in self.needed(departments):
            return None
        about = [case.since_ms for case in self._concern(departments) if case.subject == device]
        return min(about) - 3 * 3_600_000 if device.startswith("truck") else 0

    def mutes(self) -> Sequence[Any]:
        return list(self.hushed.held.values())

    async def hush(self, verb: str, actor: str, reason: str, request: str, arguments: Mapping[str, Any]) -> None:
        self.asked.append((verb, "", actor, reason, dict(arguments)))
        if verb == "mute":
            self.hushed.add(request, actor, reason, arguments, self.now_ms())
        else:
            self.hushed.end(str(arguments["mute"]))

    def dead_letters(self, limit: int = 100) -> Sequence[Mapping[str, Any]]:
        return self.dead[:limit]

    def channels(self) -> Sequence[Mapping[str, Any]]:
        lane = {"channel": "webhook", "address": "https://lighting.example/whistles", "waiting": 3, "failures": 6,
                "open": True, "error": "connection refused"}  # fmt: skip
        return [{"channel": "webhook", "configured": True, "departments": ["lighting"], "lanes": [lane]},
                {"channel": "mail", "configured": False, "departments": [], "lanes": []}]  # fmt: skip

    async def try_channel(self, channel: str, to: str) -> str:
        if channel == "mail":
            raise SettingsError("there is no [channels.mail] in the configuration")
        if channel != "webhook":
            raise UnknownPlace(f"there is no channel {channel!r}")
        if to == "nowhere":
            raise DeliveryFailed("connection refused")
        return "202 Accepted"

    def verify(self, head: str = "") -> Mapping[str, Any]:
        return {"ok": not head, "checked": 6, "head": "0" * 64, "flaw": "altered" if head else "", "n": 0, "case": "",
                "detail": ""}  # fmt: skip

    def earlier(self, case: Case, limit: int = 20) -> Sequence[Case]:
        alike = [c for c in self.book.values() if (c.type, c.subject) == (case.type, case.subject) and c.id < case.id]
        return alike[::-1][:limit]

    def children(self, case: str, limit: int = 1000) -> Sequence[Case]:
        return [c for c in self.book.values() if c.parent == case][:limit]

    def history(self, case: str) -> Sequence[Transition]:
        return self.steps.get(case, [])

    def deliveries(self, case: str) -> Sequence[Mapping[str, Any]]:
        return [{
            "key": f"{case}-dispatch", "channel": "webhook", "address": "https://lighting.example/whistles",
            "purpose": "dispatch", "state": "sent", "attempts": 1, "sent_at_ms": self.city_ms, "detail": "202 Accepted",
        }]  # fmt: skip

    async def act(
        self, verb: str, case: str, actor: str, reason: str, request: str, arguments: Mapping[str, Any] | None = None
    ) -> Case:
        with self.lock:
            if request in self.requests:
                return self.requests[request]
            before = self.book[case]
            if verb in CITY_VERBS:
                self.asked.append((verb, case, actor, reason, dict(arguments or {})))
                return before
            state = after(before.state, verb)
            self.asked.append((verb, case, actor, reason, dict(arguments or {})))
            department = str((arguments or {}).get("department") or before.department) if verb != "return" else ""
            gave = (*before.returned_by, before.department) if verb == "return" else before.returned_by
            gave = gave if state in ("filed", "dispatched") else ()
            then = replace(before, state=state, department=department, returned_by=gave,
                           updated_ms=before.updated_ms + 1)  # fmt: skip
            self.book[case] = then
            steps = self.steps[case]
            told = dict(arguments or {})
            steps.append(
                Transition(case, len(steps) + 1, self.now_ms(), actor, verb, before.state, state, reason, told)
            )
            if verb == "close":
                self._state(self.index[before.subject], 0)
            self.requests[request] = then
            return then

    def letter(self, token: str) -> Letter:
        """A token is "CASE", which opens; anything else is forged, "old" expired and "spent" used."""
        if token not in self.book:
            raise LinkRefused({"old": "expired", "spent": "used"}.get(token, "forged"))
        case = self.book[token]
        steps = [step for step in ("accept", "return", "extend", "handle") if step in verbs(case.state)]
        mine = case.department == "lighting" and case.state not in ("closed", "cancelled")
        offers = (*steps, "comment") if mine else ("evaluate",) if case.state == "closed" else ()
        return Letter(
            case, f"{case.id}:dispatch:1:webhook", "dispatch", ("lighting", "Street lighting", "照明管理所"),
            ("lamp out", "路灯不亮"), (f"Pole {case.subject}", f"灯杆{case.subject}"), offers,
            f"lighting by link {case.id}:dispatch:1:webhook", START_MS + 14 * 86_400_000,
        )  # fmt: skip

    def keep_photo(self, case: str, jpeg: bytes) -> str:
        digest = hashlib.sha256(jpeg).hexdigest()
        self.photos[case, digest] = jpeg
        return digest

    def photo(self, case: str, sha256: str) -> bytes | None:
        return self.photos.get((case, sha256))

    def score(self, first: date | None, last: date | None, departments: Sequence[str] | None = None) -> ScoreCard:
        """The card of the book, as rows of it: every third case handled late, every second evaluated."""
        end = last or date(2026, 11, 30)
        begin = first or end - timedelta(days=29)
        if begin > end:
            raise BadPeriod("the period begins after its end")
        rows = []
        for i, c in enumerate(c for c in self.book.values() if departments is None or c.department in departments):
            done = c.opened_ms + (9 if i % 3 == 0 else 2) * 3_600_000
            rows.append((c.type, c.subject, c.department, c.parent, c.opened_ms, c.deadline_ms, c.opened_ms + 9000,
                         c.opened_ms + 90_000, done, done + 1800_000, done + 1800_000, done, i % 4 == 1, 0, 0, "",
                         "false" if i % 5 == 4 else "useful", 4.0, ("citizen", "unit")[i % 2]))  # fmt: skip
        card = score_card(
            rows, lambda s: Where("d1", "s1", "acme" if s.startswith("truck") else ""), 0, 1, self.city_ms
        )
        names = {"district": {"d1": {"en": "South", "zh": "南区"}}, "street": {"s1": {"en": "Kluuvi", "zh": "克鲁维"}}}
        return replace(card, first=begin.isoformat(), last=end.isoformat(), names=names)

    def series(self, device: str, quantity: str, start_ms: int, end_ms: int, points: int = 1000) -> Series:
        KINDS[self.rows[self.index[device]].kind].quantity(quantity)
        step = max(30_000, (end_ms - start_ms) // points)
        gap = (end_ms - (end_ms - start_ms) // 3, end_ms - (end_ms - start_ms) // 3 + (end_ms - start_ms) // 14)
        t = [m for m in range(start_ms, end_ms, step) if not gap[0] < m < gap[1]]
        expected = [self._expected(device, quantity, m) for m in t]
        width = self._scale(quantity) * 0.1
        unit = KINDS[self.rows[self.index[device]].kind].quantity(quantity).unit
        return Series(device, quantity, unit, t, [self._observed(device, quantity, m) for m in t], expected,
                      [e - width for e in expected], [e + width for e in expected], end_ms - 2_000)  # fmt: skip

    def account(self) -> Account:
        got = self.count["received"]
        return Account("", "", True, 0, got, got - 4, got - 60, self.count["duplicate"], self.count["late"], 5,
                       self.count["missing"], {"range": 212, "syntax": 4, "unknown_device": 1}, self.city_ms,
                       self.city_ms, None, unstorable=self.count["unstorable"])  # fmt: skip

    def accounts(self, *, after: str = "", limit: int = 200) -> Sequence[Account]:
        ids = sorted(self.index)
        chosen = [device for device in ids if device > after][:limit]
        return [replace(self.account(), device=device, kind=self.rows[self.index[device]].kind) for device in chosen]

    def rejects(self, limit: int = 100) -> Sequence[Reject]:
        told = [
            Reject(self.city_ms - 1000, "city/d1/cell/cell-0003/telemetry", "range", "rsrp -200 is outside -156..-30",
                   b'{"t": 1753729999000, "rsrp": -200}'),
            Reject(self.city_ms - 9000, "city/d1/pole/pole-0009/telemetry", "syntax", "not JSON at byte 4",
                   b"\xff\xfe<script>alert(1)</script>"),
        ]  # fmt: skip
        return told[:limit]

    def health(self) -> Mapping[str, Any]:
        return self.health_told

    def rules(self) -> Mapping[str, Any]:
        return {"rules": {"tilt": {"limit": 3}}, "overrides": dict(self.rules_set), "budgets": []}

    def set_rules(self, table: Mapping[str, Any], actor: str) -> None:
        default_rules().override(table)
        self.rules_set = {**table}

    def policy(self) -> Mapping[str, Any]:
        return {"types": {"tilt": {"deadline_s": 7200.0}}, "default": {}, "overrides": dict(self.policy_set)}

    def set_policy(self, table: Mapping[str, Any], actor: str) -> None:
        policy_text(table, timezone="UTC")
        self.policy_set = {**table}

    def store_info(self) -> Mapping[str, Any]:
        return {"backend": "fake", "position": 7, "cannot_keep": []}

    def back_up(self) -> Mapping[str, Any]:
        raise StoreElsewhere("the series lie in a fake: use its own tools")

    def metrics(self) -> str:
        return f"# TYPE citywhistle_received_total counter\ncitywhistle_received_total {self.count['received']}\n"


def main() -> None:
    """Serve the shipped city with made-up life: python -m tests.dashboards.fake_desk [PORT]."""
    import sys

    from dashboards.serve import serve

    desk = FakeDesk(live=True, **shipped_city())
    for i in range(9):
        desk.whistle(i, children=14 if i == 1 else 0)
    running = serve(desk, port=int(sys.argv[1]) if len(sys.argv) > 1 else 0, token="a-key-for-development-only")
    print(running.open_url(), flush=True)
    try:
        for beat in range(86_400):
            time.sleep(1)
            desk.city_ms -= 1000  # `live` moves the clock; advance would move it twice
            desk.advance(1)
            if beat % 45 == 44 and len(desk.book) < 60:
                desk.whistle(beat // 45)
    except KeyboardInterrupt:
        running.stop()


if __name__ == "__main__":
    main()
