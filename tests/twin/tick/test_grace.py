"""A start whistles nobody for what was missed: grace until each device could be heard; what still fires is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.twin.tick.town import Day, said, town, town_files
from twin.records import Delivery, Link
from twin.tick import Ticked, World
from twin.whistle.hours import ALWAYS
from twin.whistle.ledger import Ledger
from twin.whistle.places import CityPlaces
from twin.whistle.policy import Policy

POLES = [f"pole-{i}" for i in range(12)]
GRACE_S = 150  # five readings of a pole
NIGHT_S = 8 * 3600


class Server(Day):
    """A world with the ledger of whistles; what is sent is kept. `restart` is a stop, a checkpoint and a start."""

    def __init__(self) -> None:
        self.sent: list[Delivery] = []
        super().__init__(town())
        self.world = World(self.city, self._ledger())
        self.tick([Link("drained")])

    @staticmethod
    def _ledger() -> Ledger:
        return Ledger(CityPlaces.of(town_files()), Policy(calendar=ALWAYS))

    def tick(self, bodies: Sequence[Any] = ()) -> Ticked:
        ticked = super().tick(bodies)
        self.sent += ticked.changes.deliveries
        return ticked

    def restart(self, away_s: float) -> None:
        """As the server does it: the link is journalled as down before the first mark."""
        self.world = World.load(self.world.dump(), self.city, self._ledger())
        self.now += round(away_s * 1000)
        self.tick([Link("down")])
        self.now += 1000
        self.tick([Link("up")])

    def talk(self, poles: list[str]) -> Any:
        """These poles and the gateways report every half minute."""

        def columns(now: int) -> list[Any]:
            if now // 1000 % 30:
                return []
            told = [said(self.city, "pole", poles, now, voltage=230.0)] if poles else []
            return [*told, said(self.city, "gateway", ["gw-1", "gw-2"], now)]

        return columns

    def dispatched(self) -> set[str]:
        """Subjects of the cases that were sent."""
        cases = {case.id: case.subject for case in self.world.ledger.open_cases()}  # type: ignore[attr-defined]
        return {cases[one.case] for one in self.sent if one.purpose == "dispatch"}


def test_overdue_devices_and_a_backlog_whistle_nobody_before_the_grace_has_passed() -> None:
    """One pole was about to be overdue when we stopped, one stays away after the night; the others' backlog of the
    night comes in before the link is drained. Nothing is opened nor sent while the grace lasts; the two that still
    are silent when it has passed are sent, nobody else, and once.
    """
    server = Server()
    server.every(1, 600, server.talk(POLES))
    server.every(1, GRACE_S - 30, server.talk(POLES[1:]))
    assert server.sent == []
    server.restart(NIGHT_S)
    for hours in range(8, 0, -1):
        server.now += 1000
        server.tick([said(server.city, "pole", POLES[2:], server.now - hours * 3_600_000, server.now, voltage=230.0)])
    server.tick([Link("drained")])
    server.every(1, GRACE_S - 10, server.talk(POLES[2:]))
    assert (server.found, server.sent) == ([], [])
    server.every(1, 120, server.talk(POLES[2:]))
    assert server.dispatched() == {"pole-0", "pole-1"}
    server.restart(60)
    server.tick([Link("drained")])
    server.every(1, 300, server.talk(POLES[2:]))
    assert len([one for one in server.sent if one.purpose == "dispatch"]) == 2
    assert server.keys() == ["device_silent:pole-0", "device_silent:pole-1"]
