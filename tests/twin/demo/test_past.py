"""The demo's past as it is journalled: what is to be made of it stands in its last edit."""

from __future__ import annotations

from collections.abc import Sequence

from devices.cities.load import load_city
from devices.fleet.fleet import Fleet
from tests.twin.tick.town import NIGHT_MS, Tally
from twin.city import City, Registry
from twin.demo.past import KINDS, journalled
from twin.records import Body, Edit, Entry, Tick
from twin.tick import World, tick

HOURS = 2


def test_how_rarely_the_past_was_told_does_not_count_in_the_life_after_it() -> None:
    """Its last hour and a half has a word every five minutes: no usual gap is left of that when the city is shown,
    and none is learnt from the pause between the two."""
    files = load_city("helsinki")
    world = World(City(files, Registry()), Tally())
    waiting: list[Body] = []
    edits = []

    class Sink:
        def append(self, bodies: Sequence[Body]) -> None:
            for body in bodies:
                waiting.append(body)
                if isinstance(body, Edit):
                    edits.append((body.what, body.text))
                if isinstance(body, Tick):
                    tick(world, [Entry(n, one) for n, one in enumerate(waiting, 1)], body.now_ms)
                    waiting.clear()

    fleet = Fleet(files, 5, NIGHT_MS - HOURS * 3_600_000, kinds=KINDS)
    count, _ = journalled(Sink(), fleet, files, NIGHT_MS, lambda _share: None)
    assert count > 1000
    assert edits == [("learning", "true"), ("learning", '"sparse"')]
    for kind in KINDS:
        model = world.models[kind]
        assert model.gaps_from_ms > int(model.arrays["t"].max()) > 0
        assert not (model.arrays["gap"] > 0).any()
