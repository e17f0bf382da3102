"""Weekends: channels that differ on them learn so, others pay nothing for it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.twin.tick.town import DAY, HOUR, said, town
from twin.model import KindState, advance
from twin.model.weekly import Weekly

MONDAY_MS = 1_717_372_800_000  # 2024-06-03 00:00 UTC
WEEKS = 6
CELLS = [f"cell-{i}" for i in range(6)]


def due(cell: int, hour: int) -> float:
    """Load at an hour since the Monday: of the first three cells half on Saturdays, little on Sundays."""
    day = (hour // 24) % 7
    busy = 30.0 + 20.0 * np.sin(2 * np.pi * (hour % 24 - 6) / 24)
    share = {5: 0.5, 6: 0.2}.get(day, 1.0) if cell < 3 else 1.0
    return float(busy * share)


@pytest.fixture(scope="module")
def learnt() -> KindState:
    """Six weeks of six cells, a word an hour."""
    city, rng = town(), np.random.default_rng(8)
    state = KindState("cell", 6)
    for hour in range(WEEKS * 168):
        x = [due(cell, hour) + rng.normal(0, 1.5) for cell in range(6)]
        now = MONDAY_MS + hour * HOUR
        for _ in advance(state, [said(city, "cell", CELLS, now, seq=hour, prbLoadDown=x)], city):
            pass
    return state


def test_who_gains_has_a_table_and_who_does_not_has_none(learnt: KindState) -> None:
    """By slot: the three cells with another weekend, and only they."""
    model = learnt.expectation
    slots = model.table[model.quantities["prbLoadDown"], :6]
    assert (model.weekly.place[slots] >= 0).tolist() == [True] * 3 + [False] * 3


@pytest.mark.parametrize("cell", [0, 4])
def test_the_weekend_is_expected(learnt: KindState, cell: int) -> None:
    """Noon of the next Wednesday, Saturday and Sunday, by expectation and by the forecast of a day before."""
    city, model = town(), learnt.expectation
    slot = model.table[model.quantities["prbLoadDown"], cell : cell + 1]
    for day in (2, 5, 6):
        hour = WEEKS * 168 + day * 24 + 12
        t = np.array([MONDAY_MS + hour * HOUR])
        expected = float(model.at(slot, city.week_hour(t))[0][0])
        near = 5.0 + 0.3 * abs(due(cell, hour) - due(cell, hour - 24 * day))
        assert expected == pytest.approx(due(cell, hour), abs=near), day
        middle, bands = learnt.forecast.ahead(int(slot[0]), int(t[0]) - DAY, city.week_hour(t), np.array([24.0]))
        assert bands[0, 0] < due(cell, hour) < bands[0, 3]
        assert middle[0] == pytest.approx(due(cell, hour), abs=near)


def test_a_restart_keeps_the_tables_and_an_older_checkpoint_begins_anew(learnt: KindState) -> None:
    """The same expectation to the last bit after dump and load; without the tables none of them is left."""
    told = learnt.dump()
    again = KindState("cell", 6)
    again.load(told, again.quantities)
    slots, hour = np.arange(learnt.expectation.slots, dtype=np.int32), np.full(learnt.expectation.slots, 5 * 24 + 12.0)
    assert (again.expectation.at(slots, hour)[0] == learnt.expectation.at(slots, hour)[0]).all()
    older = KindState("cell", 6)
    older.load({n: a for n, a in told.items() if "weekly" not in n}, older.quantities)
    assert (older.expectation.weekly.place < 0).all()
    assert len(older.expectation.weekly.values) == 0


def test_noise_hardly_gains_tables() -> None:
    """Of a hundred channels of plain noise none, of a hundred of noise that lasts a few get a table in ten weeks."""
    rng, weekly = np.random.default_rng(4), Weekly()
    slots = np.arange(200, dtype=np.int32)
    weekly.ensure(200)
    off = np.zeros(200)
    for hour in range(10 * 168):
        off = np.where(slots < 100, 0.0, 0.9) * off + rng.normal(0, 1.0, 200) * np.where(slots < 100, 1.25, 0.55)
        full = np.full(200, float(hour % 168))
        weekly.watch(slots, full, np.ones(200), off, np.ones(200), np.full(200, hour / 24.0))
    assert (weekly.place[:100] < 0).all()
    assert (weekly.place[100:] >= 0).sum() <= 8
