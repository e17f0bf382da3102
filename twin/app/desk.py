"""The desk over the running city: every question of page, API and command line, answered from memory or the store."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from devices.clock import Clock, SimulatedClock
from devices.kinds import KINDS
from devices.orders import ORDERS, check_order
from devices.places import Device
from twin.access import Access
from twin.app.accounts import Accounts
from twin.app.actions import Counter
from twin.app.album import Album
from twin.app.backtests import Backtesting
from twin.app.exits import Exits
from twin.app.heart import Heart
from twin.app.heartbeat import Heartbeat
from twin.app.letters import read_letter
from twin.app.meters import render
from twin.app.partners import Partners
from twin.app.picture import Picture
from twin.app.policybook import Policybook
from twin.app.proof import prove
from twin.app.register import CityRegister
from twin.app.retention import Night
from twin.app.rulebook import Rulebook
from twin.app.scoring import score
from twin.app.sight import MOST, Sight
from twin.app.tables import Tables
from twin.city import City
from twin.deliver.cases import Cases
from twin.deliver.links import Links
from twin.errors import LinkRefused, SettingsError, StoreDown, StoreElsewhere, TwinError, UnknownPlace
from twin.ingest.pump import Pump
from twin.journal import Journal
from twin.model.orders import VERB
from twin.query.cap import WARNINGS
from twin.query.desk import Account, Ahead, Letter, Moved, Row, Series
from twin.query.score import ScoreCard
from twin.records import Action, Case, Reject, Transition
from twin.store import Store
from twin.store.backup import back_up, elsewhere
from twin.store.embedded import EmbeddedStore
from twin.store.writer import StoreWriter
from twin.tick import budgets, expectation, forecast
from twin.whistle.ledger import Ledger
from twin.whistle.lifecycle import verbs
from twin.whistle.places import CityPlaces
from twin.whistle.route import explain

DAY_MS = 86_400_000
RAW_MS = 60_000  # the shortest step of a chart; shorter ones are drawn from raw readings
LOW_DISK_BYTES = 512 << 20
RELATIONS = ("district", "street", "grid", "cabinet", "feeder", "pole", "gateway", "company")


@dataclass(slots=True)
class CityDesk:
    """`twin.query.desk.Desk` over the parts of one running server."""

    city_: City
    clock: Clock
    heart: Heart
    picture: Picture
    cases_: Cases
    journal: Journal
    store: Store
    writer: StoreWriter
    accounts_: Accounts
    counter: Counter
    pump: Pump
    data_dir: Path
    release: str
    partners: Partners
    attributions: Sequence[str] = ()
    links: Links | None = None
    register_: CityRegister | None = None
    night: Night | None = None
    access: Access | None = None
    photos_days: float = 0.0  # after which photos go; 0: never
    heartbeat: Heartbeat | None = None
    rulebook: Rulebook | None = None
    policybook: Policybook | None = None
    tables: Tables | None = None
    backtests_: Backtesting | None = None
    _places: tuple[int, CityPlaces] | None = None
    exits: Exits | None = None
    _sight: Sight | None = None
    _began_s: float = field(default_factory=time.monotonic)

    # ---- the city --------------------------------------------------------------------------------------------

    def city(self) -> Mapping[str, Any]:
        files = self.city_.files
        return {
            "name": files.name,
            "name_zh": files.name_zh,
            "adcode": files.adcode,
            "timezone": files.timezone,
            "centre": list(files.centre),
            "bounds": list(files.bounds()),
            "attribution": files.attribution,
            "attributions": list(self.attributions),
            "version": self.picture.rows_version,
            "release": self.release,
            "clock": {
                "city_ms": self.clock.now_ms(),
                "speed": self.clock.speed,
                "mode": "simulated" if isinstance(self.clock, SimulatedClock) else "real",
            },
            "departments": {one.id: {"en": one.name, "zh": one.name_zh} for one in files.departments},
            "basemap": str(files.basemap) if files.basemap is not None else "",
        }

    def devices(self) -> Sequence[Row]:
        return self.picture.rows()

    def moved(self, since: int) -> Moved:
        return self.picture.moved(since)

    def device(self, device: str) -> Mapping[str, Any] | None:
        known, at = self.city_.describe(device), self.picture.index(device)
        if known is None or at is None:
            return None
        row = self.city_.registry.lookup(known.kind, known.id)
        return {
            "id": known.id,
            "kind": known.kind,
            "origin": known.origin,
            "state": int(self.picture.state[at]),
            "lon": float(self.picture.lon[at]),
            "lat": float(self.picture.lat[at]),
            "code16": known.code16,
            "urn": known.urn,
            "relations": {name: getattr(known, name) for name in RELATIONS if getattr(known, name)},
            "attributes": dict(known.attributes),
            "values": self._values(known),
            "cases": self.cases_.cases(subject=device),
            "desired": self._desired(known),
            "can": list(ORDERS.get(known.kind, ())),
            "account": None if row is None else self.accounts_.of(known.kind, row, known.id),
        }

    def _values(self, device: Device) -> list[dict[str, Any]]:
        """Last values with what was expected at the time of the device's newest reading."""
        row = self.city_.registry.lookup(device.kind, device.id)
        model = self.heart.world.models.get(device.kind)
        if row is None or model is None or row >= model.rows:
            return []
        t_ms = int(model.arrays["t"][row])
        if not t_ms:
            return []
        told = []
        for quantity in KINDS[device.kind].quantities:
            column = model.last.get(quantity.name)
            if column is None or not np.isfinite(column[row]):
                continue
            at = np.array([t_ms], np.int64)
            expected, low, high = expectation(self.heart.world, device.kind, row, quantity.name, at)
            told.append(
                {
                    "quantity": quantity.name,
                    "value": float(column[row]),
                    "unit": quantity.unit,
                    "expected": _number(expected[0]),
                    "low": _number(np.maximum(low[0], quantity.low)),
                    "high": _number(np.minimum(high[0], quantity.high)),
                    "t_ms": t_ms,
                    "age_s": max(0.0, (self.clock.now_ms() - t_ms) / 1000),
                }
            )
        return told

    @property
    def register(self) -> CityRegister:
        if self.register_ is None:
            raise TwinError("this server has no register")
        return self.register_

    @property
    def backtests(self) -> Backtesting:
        if self.backtests_ is None:
            raise StoreElsewhere(elsewhere(self.store.name))
        return self.backtests_

    def _desired(self, device: Device) -> list[dict[str, Any]]:
        """What the device should report by orders, beside what it reports."""
        wishes = self.heart.world.orders.desired.get(device.id, {})
        reported = {told["quantity"]: told for told in self._values(device)} if wishes else {}
        rows = []
        for quantity, wish in dict(wishes).items():
            said = reported.get(quantity, {}).get("value")
            differs = (
                said is None or abs(said - wish.value) > 0.5 * 10.0 ** -KINDS[device.kind].quantity(quantity).decimals
            )
            rows.append(asdict(wish) | {"reported": said, "differs": differs})
        return rows

    def orders(self, device: str = "", limit: int = 100) -> list[Any]:
        known = list(self.heart.world.orders.known.values())
        return [order for order in reversed(known) if device in ("", order.device)][:limit]

    async def order(
        self, device: str, action: str, arguments: Mapping[str, Any], actor: str, reason: str, request: str
    ) -> Any:
        known = self.city_.describe(device)
        if known is None:
            raise KeyError(device)
        check_order(known.kind, action, arguments)
        told = {"device": device, "action": action, "arguments": dict(arguments)}
        future = await asyncio.to_thread(self.counter.hand_in, Action(request, actor, VERB, "", reason, told))
        await asyncio.wrap_future(future)
        return self.heart.world.orders.known[request]

    # ---- cases -----------------------------------------------------------------------------------------------

    def cases(
        self, *, open_only: bool = True, after: str = "", limit: int = 200, departments: Sequence[str] = ()
    ) -> Sequence[Case]:
        if not departments:
            return self.cases_.cases(open_only=open_only, after=after, limit=limit)
        return self.partners.cases(self.cases_, departments, open_only=open_only, after=after, limit=limit)

    def parties(self, case: Case) -> frozenset[str]:
        cause = self.cases_.case(case.parent) if case.parent else None
        return self.partners.of(case) | (self.partners.of(cause) if cause is not None else frozenset())

    def _concern(self, departments: Sequence[str]) -> Sequence[Case]:
        """Open cases that the departments are party to: without those that they gave back."""
        return self.partners.concern(self.cases_, departments, MOST)

    def possible(self, case: Case) -> Sequence[str]:
        return verbs(case.state)

    @property
    def sight(self) -> Sight:
        if self._sight is None:
            self._sight = Sight(self.city_, self._concern, self.cases_.children)
        return self._sight

    def needed(self, departments: Sequence[str]) -> frozenset[str]:
        return self.sight.needed(departments)

    def seen_since(self, device: str, departments: Sequence[str]) -> int | None:
        return self.sight.since_ms(device, departments)

    def mutes(self) -> Sequence[Any]:
        ledger = self.heart.world.ledger
        return ledger.mutes(self.clock.now_ms()) if isinstance(ledger, Ledger) else ()

    async def hush(self, verb: str, actor: str, reason: str, request: str, arguments: Mapping[str, Any]) -> None:
        action = Action(request, actor, verb, "", reason, dict(arguments))
        await asyncio.wrap_future(await asyncio.to_thread(self.counter.hand_in, action))

    def dead_letters(self, limit: int = 100) -> Sequence[Mapping[str, Any]]:
        return self.cases_.dead_letters(limit)

    def channels(self) -> Sequence[Mapping[str, Any]]:
        return self.exits.known() if self.exits is not None else ()

    async def try_channel(self, channel: str, to: str) -> str:
        if self.exits is None:
            raise UnknownPlace(f"this server has no ways out, and no channel {channel[:40]!r}")
        return await self.exits.test(channel, to)

    def route(self, type: str, subject: str, at_ms: int = 0) -> Mapping[str, Any]:  # noqa: A002
        if self._places is None or self._places[0] != self.city_.version:
            self._places = (self.city_.version, CityPlaces.of(self.city_.files))
        policy, now_ms = self.partners.policy(), self.clock.now_ms()
        return asdict(explain(self._places[1], policy, type, subject, at_ms or now_ms))

    def warnings(self, limit: int = 100) -> Sequence[Case]:
        return self.cases_.of_types(tuple(WARNINGS), limit)

    def verify(self, head: str = "") -> Mapping[str, Any]:
        days = self.photos_days
        verdict = prove(self.cases_, self.data_dir, self.access, days, head)
        return asdict(verdict) | {"ok": verdict.ok}

    def case(self, case: str) -> Case | None:
        return self.cases_.case(case)

    def earlier(self, case: Case, limit: int = 20) -> Sequence[Case]:
        known = self.city_.describe(case.subject)
        subjects = [case.subject]
        if known is not None and known.company:
            subjects += [one.id for one in self.city_.files.devices if one.company == known.company]
        since_ms = case.opened_ms - round(self.partners.policy().repeat_days * DAY_MS)
        return self.cases_.earlier(case, subjects, since_ms, limit)

    def children(self, case: str, limit: int = 1000) -> Sequence[Case]:
        return self.cases_.children(case, limit)

    def history(self, case: str) -> Sequence[Transition]:
        return self.cases_.history(case)

    def deliveries(self, case: str) -> Sequence[Mapping[str, Any]]:
        return self.cases_.deliveries(case)

    async def act(
        self, verb: str, case: str, actor: str, reason: str, request: str, arguments: Mapping[str, Any] | None = None
    ) -> Case:
        if await asyncio.to_thread(self.cases_.case, case) is None:
            raise KeyError(case)
        action = Action(id=request, actor=actor, verb=verb, case=case, reason=reason, arguments=arguments or {})
        future = await asyncio.to_thread(self.counter.hand_in, action)
        await asyncio.wrap_future(future)
        found = await asyncio.to_thread(self.cases_.case, case)
        if found is None:
            raise KeyError(case)
        return found

    def letter(self, token: str) -> Letter:
        if self.links is None:
            raise LinkRefused("forged")
        return read_letter(self.cases_, self.links, token, time.time())

    def keep_photo(self, case: str, jpeg: bytes) -> str:
        return Album(self.data_dir).keep(case, jpeg)

    def photo(self, case: str, sha256: str) -> bytes | None:
        return Album(self.data_dir).photo(case, sha256)

    def score(self, first: date | None, last: date | None, departments: Sequence[str] | None = None) -> ScoreCard:
        return score(self.cases_, self.city_.files, self.clock.now_ms(), first, last, departments)

    # ---- series ----------------------------------------------------------------------------------------------

    def series(self, device: str, quantity: str, start_ms: int, end_ms: int, points: int = 1000) -> Series:
        known = self.city_.describe(device) or (self.register_.last(device) if self.register_ is not None else None)
        if known is None or quantity not in KINDS[known.kind].index:
            raise KeyError(f"{device} {quantity}")
        row = self.city_.registry.find(known.kind, device)  # a retired device's readings stay
        if row is None:
            raise KeyError(device)
        step = max(1, (end_ms - start_ms) // max(1, points))
        if step < RAW_MS:
            t, observed = self.store.range(known.kind, row, quantity, start_ms, end_ms)
            if len(t) > 4 * points:
                buckets = self.store.downsample(known.kind, row, quantity, start_ms, end_ms, step)
                t, observed = buckets.t, buckets.mean
        else:
            buckets = self.store.downsample(known.kind, row, quantity, start_ms, end_ms, step)
            t, observed = buckets.t, buckets.mean
        expected, low, high = expectation(self.heart.world, known.kind, row, quantity, t)
        limits = KINDS[known.kind].quantity(quantity)
        low, high = np.maximum(low, limits.low), np.minimum(high, limits.high)
        return Series(
            device,
            quantity,
            limits.unit,
            t.tolist(),
            observed.tolist(),
            expected.tolist(),
            low.tolist(),
            high.tolist(),
            self.accounts_.complete_to_ms(self.picture.now_ms),
            self._ahead(known.kind, row, quantity),
        )

    def _ahead(self, kind: str, row: int, quantity: str) -> Ahead | None:
        """The next 24 hours from now on, within what the quantity can be."""
        told = forecast(self.heart.world, kind, row, quantity, self.picture.now_ms)
        if told is None:
            return None
        limits = KINDS[kind].quantity(quantity)
        t, middle, bands = told
        bands = np.clip(bands, limits.low, limits.high)
        middle = np.clip(middle, limits.low, limits.high)
        return Ahead(t.tolist(), middle.tolist(), *(bands[:, i].tolist() for i in range(4)))

    # ---- rules ---------------------------------------------------------------------------------------------------

    def rules(self) -> Mapping[str, Any]:
        world = self.heart.world
        return {"rules": world.rules.tables(), "overrides": world.rules.overrides(), "budgets": budgets(world)}

    def set_rules(self, table: Mapping[str, Any], actor: str) -> None:
        if self.rulebook is None:
            raise SettingsError("this server takes no rules")
        self.rulebook.replace(table, actor)

    def policy(self) -> Mapping[str, Any]:
        if self.policybook is None:
            raise TwinError("this server has no policy of its own")
        policy = self.policybook.policy
        types = {name: asdict(told) for name, told in sorted(policy.types.items())}
        return {"types": types, "default": asdict(policy.default), "overrides": self.policybook.table}

    def set_policy(self, table: Mapping[str, Any], actor: str) -> None:
        if self.policybook is None:
            raise SettingsError("this server takes no policy")
        self.policybook.replace(table, actor)

    # ---- accounting and health -------------------------------------------------------------------------------

    def account(self) -> Account:
        return self.accounts_.total()

    def accounts(self, *, after: str = "", limit: int = 200) -> Sequence[Account]:
        return self.accounts_.page(after, limit)

    def rejects(self, limit: int = 100) -> Sequence[Reject]:
        return self.accounts_.rejects(limit)

    def health(self) -> Mapping[str, Any]:
        size, pulse = self.journal.size(), self.heart.pulse
        free = shutil.disk_usage(self.data_dir).free
        written = self.writer.state()
        link = self.pump.link_state()
        late_s = max(0.0, (self.clock.now_ms() - pulse.last_now_ms) / 1000 / self.clock.speed)
        return {
            "ready": link.state == "up" and not (size.full or pulse.stalled or self.pump.stalled) and pulse.ticks > 0,
            "link": "drained" if link.drained else "up" if link.state == "up" else "down",
            "link_detail": link.trouble,
            "journal": {"bytes": size.bytes, "bound_bytes": size.max_bytes, "full": size.full, "entries": size.entries},
            "store": {
                "name": self.store.name,
                "up": written.up,
                "behind": written.behind,
                "skipped": written.skipped,
                "detail": written.error,
                "unreadable": self.store.unreadable if isinstance(self.store, EmbeddedStore) else [],
            },
            "tick": {"last": pulse.last_tick, "lag_ms": round(late_s * 1000), "stalled": pulse.stalled},
            "heartbeat": self.heartbeat.state() if self.heartbeat is not None else {"configured": False},
            "ingest": {"stalled": self.pump.stalled},
            "tables": {"trouble": dict(self.tables.trouble) if self.tables is not None else {}},
            "disk": {"free_bytes": free, "low": free < LOW_DISK_BYTES},
            "retention": {
                "removed": dict(self.night.removed) if self.night is not None else {},
                "failed": self.night.failed if self.night is not None else "",
            },
            "uptime_s": round(time.monotonic() - self._began_s, 1),
        }

    def store_info(self) -> Mapping[str, Any]:
        return self.store.info()

    def back_up(self) -> Mapping[str, Any]:
        if not isinstance(self.store, EmbeddedStore):
            raise StoreElsewhere(elsewhere(self.store.name))
        folder = self.data_dir / "backups" / time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        try:
            made = back_up(self.store, self.journal.names(), folder)
        except OSError as error:
            raise StoreDown(f"no backup could be made in {folder}: {error.strerror or error}") from error
        size = sum(made["files"].values())
        return {"path": str(folder.resolve()), "position": made["position"], "rows": made["rows"], "bytes": size}

    def metrics(self) -> str:
        return render(self.account(), self.health(), self.heart.pulse, self.cases_, self.pump.stages(),
                      self.night.removed if self.night is not None else None)  # fmt: skip


def _number(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None
