"""The simulated fleet obeys: a dimmed lamp draws less until its time, a report comes at once, nonsense is refused."""

from __future__ import annotations

from pathlib import Path

from devices.cities.load import load_city
from devices.fleet.fleet import Fleet
from devices.fleet.run import obey
from devices.records import Command
from tests.devices.small_city import write_small_city

NIGHT_MS = 1_768_500_000_000  # 2026-01-15 18:00 UTC, 02:00 in Shanghai: dark


def test_a_dimmed_lamp_draws_less_and_comes_back(tmp_path: Path) -> None:
    """Level and power follow the order at once, for its minutes; the others burn as before."""
    fleet = Fleet(load_city(write_small_city(tmp_path / "town")), 1, NIGHT_MS, kinds=("pole",))
    answer = obey(fleet)

    def latest(until_ms: int) -> dict[str, dict[str, float]]:
        return {said.device: said.values for said in fleet.until(until_ms)}

    before = latest(NIGHT_MS + 60_000)["pole-0001"]
    assert before["powerState"] == 1.0
    assert answer(Command("o-1", "pole-0001", "dim", {"level": 0.1, "minutes": 5.0})) == (True, "dim done")
    at_once = latest(NIGHT_MS + 60_100)
    assert list(at_once) == ["pole-0001"], "it reports without waiting for its turn"
    assert at_once["pole-0001"]["dimmingLevel"] == 0.1
    later = latest(NIGHT_MS + 200_000)
    assert later["pole-0001"]["powerConsumption"] < 0.4 * before["powerConsumption"]
    assert later["pole-0002"]["dimmingLevel"] != 0.1
    after = latest(NIGHT_MS + 460_000)["pole-0001"]
    assert after["dimmingLevel"] == before["dimmingLevel"]


def test_what_it_cannot_do_is_refused(tmp_path: Path) -> None:
    """Wrong arguments and strangers are answered with no; a whistle's text is shown."""
    fleet = Fleet(load_city(write_small_city(tmp_path / "town")), 1, NIGHT_MS)
    answer = obey(fleet)
    for device, action, arguments in (("pole-0001", "dim", {"level": 7.0}), ("nobody", "report", {})):
        said = answer(Command("o", device, action, arguments))
        assert said is not None
        assert not said[0]
    assert answer(Command("o", "pole-0001", "lamp", {"case": "CW-1"})) == (True, "lamp shown")
    assert answer(Command("o", "truck-001", "text", {"zh": "停车", "case": "CW-1"})) == (True, "text done")
