"""A register over a small town that ticks at once: the real one, without journal file, broker or server."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

from devices.places import CityFiles
from tests.twin.tick.town import NIGHT_MS, Tally, town_files
from twin.app.history import History
from twin.app.register import CityRegister
from twin.app.strangers import Strangers
from twin.city import City, Registry
from twin.records import Body, Entry
from twin.tick import World, tick


class TickingRegister(CityRegister):
    """Journalled changes are ticked when the heart would be nudged."""


def running_register(files: CityFiles | None = None, path: Path = Path(":memory:")) -> TickingRegister:
    """A register, its history in memory."""
    # The town's own route ends far from its sites: fine for detectors, not for who judges a city.
    files = files or replace(town_files(), routes={"route-1": ((0.05, 0.05), (0.09, 0.05))})
    city = City(files, Registry())
    city.registry.drain()
    world, history = World(city, Tally()), History(path, files, NIGHT_MS)
    entries: list[Entry] = []
    provided: list[int] = []

    def journal(bodies: Sequence[Body], _renewed: Sequence[tuple[str, int]]) -> Future[int]:
        for body in bodies:
            entries.append(Entry(len(entries) + 1, body))
        done: Future[int] = Future()
        done.set_result(len(entries))
        return done

    def nudge() -> None:
        n = len(entries)
        ticked = tick(world, entries[register.done :], NIGHT_MS + 1000 * n, n + 1)
        register.done = n
        history.record(ticked.moves)
        register.ticked(n + 1)

    def provide(now: CityFiles) -> list[str]:
        provided.append(len(now.devices))
        return [f"{len(now.devices)} devices provided for"]

    register = TickingRegister(city, history, Strangers(), journal, nudge, provide, lambda: NIGHT_MS)
    register.done = 0
    register.world = world
    register.provided = provided
    return register
