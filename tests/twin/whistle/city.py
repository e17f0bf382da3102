"""A small city for the tests of whistles: poles on a feeder through cabinets, cells on poles, a truck, departments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from devices.places import Area, CityFiles, Department, Device, Node
from twin.records import Action, Answer, Changes, Finding, Outcome
from twin.whistle.hours import ALWAYS
from twin.whistle.ledger import Ledger
from twin.whistle.places import CityPlaces
from twin.whistle.policy import Policy

NOON = 1_782_280_800_000  # Wednesday 2026-06-24 06:00 UTC


def files(poles: int = 20) -> CityFiles:
    """A city: district d1, street s1, feeder-01 > cabinets of ten poles, one gateway, cell-0001 on pole-0000."""
    nodes = [Node("feeder-01", "feeder", "Feeder 1", "馈线1", "", 25.0, 60.0, area="s1")]
    nodes += [
        Node(f"cabinet-{i:03d}", "cabinet", f"Cabinet {i}", f"配电箱{i}", "feeder-01", area="s1")
        for i in range((poles + 9) // 10)
    ]
    devices = [
        Device(
            f"pole-{i:04d}", "pole", f"{i:016d}", 24.9 + i / 1e4, 60.1, "d1", "s1",
            cabinet=f"cabinet-{i // 10:03d}", feeder="feeder-01", gateway="gw-01",
        )
        for i in range(poles)
    ]  # fmt: skip
    devices += [
        Device("cell-0001", "cell", "1" * 16, 24.9, 60.1, "d1", "s1", pole="pole-0000", gateway="gw-01"),
        Device("gw-01", "gateway", "2" * 16, 24.9, 60.1, "d1", "s1"),
        Device("truck-001", "truck", "3" * 16, 24.9, 60.1, "d1", company="acme"),
    ]
    departments = (
        Department("lighting", "Lighting", "照明", ("lamp_out", "day_burner"), ()),
        Department("lighting_s1", "Lighting street 1", "照明一街", ("day_burner",), ("s1",), "webhook", "http://s1"),
        Department("power", "Power company", "供电公司", ("feeder_trip", "cabinet_trip", "leakage", "supply_lost"), ()),
        Department("maintenance", "Maintenance", "运维", ("device_silent", "gateway_loss", "behaviour"), ()),
        Department("waste", "Waste management", "渣土管理", ("illegal_dumping", "outside_hours", "off_route"), ()),
        Department("environment", "Environment", "环保", ("dust",), ()),
        Department("operations", "Operations", "城运", (), ()),
        Department("city_hall", "City hall", "市府", ("escalation_city",), ()),
    )
    areas = (Area("d1", "district", "", "District", "区"), Area("s1", "street", "d1", "Street", "街道"))
    return CityFiles(
        "Test", "测试", "310000", "UTC", (24.9, 60.1), "", areas, tuple(nodes), tuple(devices), (), departments, {}, {}
    )


class Story:
    """A ledger on a manual clock: tell what happens, look at what changed."""

    def __init__(self, poles: int = 20, **policy: Any) -> None:
        self.places = CityPlaces.of(files(poles))
        self.policy = Policy(**({"calendar": ALWAYS} | policy))
        self.ledger = Ledger(self.places, self.policy)
        self.now_ms = NOON
        self.log: list[Changes] = []
        self.acted = 0

    def after(self, seconds: float = 1.0, findings: Sequence[Finding] = (), actions: Sequence[Action] = (),
              outcomes: Sequence[Outcome] = (), answers: Sequence[Answer] = ()) -> Changes:  # fmt: skip
        """Let city time pass, then take one step."""
        self.now_ms += round(seconds * 1000)
        changes = self.ledger.step(findings, actions, outcomes, answers, self.now_ms)
        self.log.append(changes)
        return changes

    def finding(self, type: str, subject: str, active: bool = True, **more: Any) -> Finding:  # noqa: A002
        """A finding now."""
        told = {"en": f"{subject}: {type}.", "zh": f"{subject}：{type}。"} | more
        return Finding(type, subject, active, self.now_ms, self.now_ms, **told)

    def act(self, verb: str, case: str, reason: str = "", **arguments: Any) -> Changes:
        """One action by an operator, a second later."""
        self.acted += 1
        return self.after(1, actions=[Action(f"a{self.acted}", "li", verb, case, reason, arguments)])

    def sent(self, purpose: str = "dispatch") -> list[str]:
        """Keys of every message of that purpose so far."""
        return [d.key for changes in self.log for d in changes.deliveries if d.purpose == purpose]

    def events(self, case: str) -> list[str]:
        """The events of a case so far, in order."""
        return [t.event for changes in self.log for t in changes.transitions if t.case == case]

    def only(self) -> str:
        """The id of the only open case without a cause."""
        (case,) = [c.id for c in self.ledger.open_cases() if not c.parent]
        return case
