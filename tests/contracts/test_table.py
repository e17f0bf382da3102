"""The city's table, row by row: each evidence just under and just over its threshold, with its dwell, through the
public tick; and that kind, area and hour may change it while it runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest

from tests.contracts.test_detectors import CLEAN, DAY_MS, NAMES
from tests.twin.tick.town import NIGHT_MS, Day, said, town_files
from twin.city import City, Registry
from twin.records import Edit, Finding


@dataclass(frozen=True)
class Row:
    """One row: `over` is said after `hold_s` and not before; `under` never is; back to clean ends it in `clear_s`.

    `warm`: rounds in which the usual is learnt, with `noise` (one sigma).
    """

    type: str
    kind: str
    under: Mapping[str, float]
    over: Mapping[str, float]
    hold_s: float = 0.0
    every_s: float = 30.0
    clear_s: float = 600.0
    start_ms: int = NIGHT_MS
    clean: Mapping[str, float] = field(default_factory=dict)
    warm: int = 5
    flaps: bool = False  # ends at once and begins anew: the case's own patience covers it
    noise: Mapping[str, float] = field(default_factory=dict)


TABLE = (
    Row("lamp_out", "pole", {"powerConsumption": 22.0}, {"powerConsumption": 18.0}, 60),
    Row("day_burner", "pole", {"powerConsumption": 49.0}, {"powerConsumption": 51.0}, 900, start_ms=DAY_MS,
        clean={"powerConsumption": 1.0}),
    Row("leakage", "pole", {"leakageCurrent": 0.029}, {"leakageCurrent": 0.031}, 30),
    Row("leakage_warn", "pole", {"leakageCurrent": 0.0095}, {"leakageCurrent": 0.0105}, 60),
    Row("supply_lost", "pole", {"supplyPresent": 1.0}, {"supplyPresent": 0.0}, 32, 5.0, flaps=True),
    Row("door_open", "pole", {"doorOpen": 0.0}, {"doorOpen": 1.0}, 300),
    Row("tilt", "pole", {"tilt": 2.9}, {"tilt": 3.1}, 600),
    Row("tilt_emergency", "pole", {"tilt": 9.9}, {"tilt": 10.1}, 30),
    Row("charger_fault", "pole", {"chargerState": 1.0}, {"chargerState": 3.0}, 600),
    Row("charger_occupied", "pole", {"chargerState": 1.0}, {"chargerState": 2.0}, 3600, 60.0),
    Row("night_noise", "pole", {"LAeq": 64.0}, {"LAeq": 67.0}, 600, 60.0, 2400.0, clean={"LAeq": 44.0}, warm=300,
        noise={"LAeq": 1.0}),
    Row("dust", "pole", {"pm10": 290.0}, {"pm10": 310.0}, 900, 60.0, 5400.0, clean={"pm10": 60.0}),
    Row("cell_down", "cell", {"alarmState": 3.0}, {"alarmState": 4.0}, 30),
    Row("backhaul_down", "cell", {"backhaulUp": 1.0}, {"backhaulUp": 0.0}, 15, 5.0, flaps=True),
    Row("congestion", "cell", {"prbLoadDown": 84.0}, {"prbLoadDown": 86.0}, 1800, 60.0, 4600.0),
    Row("access_failures", "cell", {"rrcSuccess": 95.5}, {"rrcSuccess": 91.0}, 900, 60.0),
    Row("coverage_loss", "cell", {"txPower": 28.1}, {"txPower": 27.9}, 900, 60.0),
    Row("cell_overheated", "cell", {"temperature": 74.0}, {"temperature": 76.0}, 600, 60.0),
    Row("interference", "cell", {"sinr": 11.5}, {"sinr": 8.5}, 1800, 60.0, warm=400, noise={"sinr": 0.3, "rsrp": 0.5}),
    Row("no_permit", "truck", {"grossWeight": 14_900.0}, {"grossWeight": 15_100.0}, 10, 5.0,
        start_ms=NIGHT_MS + 8000 * 86_400_000),
    Row("outside_hours", "truck", {"grossWeight": 14_900.0}, {"grossWeight": 15_100.0}, 10, 5.0, start_ms=DAY_MS),
    Row("overload", "truck", {"grossWeight": 30_900.0}, {"grossWeight": 31_100.0}, 20, 5.0),
    Row("speeding", "truck", {"speed": 59.0}, {"speed": 61.0}, 10, 5.0),
    Row("cover_open", "truck", {"grossWeight": 28_000.0, "coverClosed": 0.0, "speed": 19.0},
        {"grossWeight": 28_000.0, "coverClosed": 0.0, "speed": 21.0}, 10, 5.0),
    Row("off_route", "truck", {"grossWeight": 28_000.0, "latitude": 0.0005},
        {"grossWeight": 28_000.0, "latitude": 0.0006}, 60, 5.0),
    Row("terminal_tampering", "truck", {"antennaOk": 1.0}, {"antennaOk": 0.0}, 5, 5.0),
)  # fmt: skip


class Played:
    """One row's town, with only device 0 out of the usual."""

    def __init__(self, row: Row, rules: object = None) -> None:
        self.row = row
        self.rng = np.random.default_rng(11)
        self.day = Day(City(town_files(trucks=2), Registry()), row.start_ms - 1000)
        if rules is not None:
            self.day.tick([Edit("rules", json.dumps(rules))])

    def rounds(self, seconds: float, fault: Mapping[str, float] | None = None) -> list[Finding]:
        """What is found of device 0 while it says `fault` for so long."""
        row, day = self.row, self.day
        before = len(day.found)
        for _ in range(max(1, int(seconds / row.every_s))):
            day.now += int(row.every_s * 1000)
            columns = []
            for i, name in enumerate(NAMES[row.kind]):
                values = {**CLEAN[row.kind], **row.clean}
                values |= {q: values[q] + width * self.rng.normal() for q, width in row.noise.items()}
                values |= (fault or {}) if i == 0 else {}
                columns.append(said(day.city, row.kind, name, day.now, arrived=day.now, **values))
            day.tick(columns)
        subject = NAMES[row.kind][0]
        return [f for f in day.found[before:] if f.type == row.type and f.subject == subject]


@pytest.mark.parametrize("row", TABLE, ids=[row.type for row in TABLE])
def test_a_row_of_the_table(row: Row) -> None:
    """Under the threshold nothing; over it nothing before its dwell, one finding after, complete; a flapping one is
    no second; clean again it ends."""
    played = Played(row)
    assert played.rounds(row.warm * row.every_s) == []
    assert played.rounds(row.hold_s + 10 * row.every_s, row.under) == []
    played.rounds(row.clear_s)  # what stood under the threshold is over: a block that mixes both is neither
    if row.hold_s > 2 * row.every_s:
        assert played.rounds(row.hold_s - 2 * row.every_s, row.over) == []
    (told,) = played.rounds(2 * row.hold_s + 12 * row.every_s, row.over)
    assert told.active
    assert told.severity in (1, 2, 3, 4)
    assert told.en
    assert any("\u4e00" <= letter <= "\u9fff" for letter in told.zh)
    assert told.evidence["duration_s"] >= min(row.hold_s - 2 * row.every_s, 0)
    assert told.at_ms - told.since_ms >= 1000 * min(row.hold_s - row.every_s, 0)
    after = []
    for _ in range(2):
        after += played.rounds(row.every_s)
        after += played.rounds(row.every_s, row.over)
    after += played.rounds(row.clear_s + 12 * row.every_s)
    turns = [f.active for f in after]
    assert turns[-1:] == [False]
    assert row.flaps or turns == [False]


def test_area_and_hour_change_a_row_while_it_runs() -> None:
    """A stricter limit for one street by night is in force from its tick on, there and then only."""
    row = next(row for row in TABLE if row.type == "tilt")
    strict = {"tilt": {"where": [{"areas": ["010101-1"], "hours": [22, 6], "limit": 1.5, "hold_s": 60}]}}
    played = Played(row)
    assert played.rounds(1200, {"tilt": 2.0}) == []
    played.day.tick([Edit("rules", json.dumps(strict))])
    (told,) = played.rounds(300, {"tilt": 2.0})
    assert told.high == 1.5
    elsewhere = Played(row, {"tilt": {"where": [{"areas": ["999999"], "limit": 1.5, "hold_s": 60}]}})
    assert elsewhere.rounds(1200, {"tilt": 2.0}) == []
    by_day = Played(Row(**{**row.__dict__, "start_ms": DAY_MS}), strict)
    assert by_day.rounds(1200, {"tilt": 2.0}) == []
    off = Played(row, {"tilt": {"where": [{"kinds": ["pole"], "hours": [0, 24], "enabled": False}]}})
    assert off.rounds(1200, {"tilt": 5.0}) == []
