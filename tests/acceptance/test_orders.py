"""Orders from the command line through server and broker to the real fleet, and its answers back: carried out, shown,
given up, and what is desired beside what is reported. City time runs four times as fast as the machine's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.town import Town, town, wait_for

POLE, TRUCK, CELL = "pole-0002", "truck-001", "cell-0001"
PATIENCE_S = 90.0


def order(place: Town, device: str, *told: str) -> dict[str, Any]:
    """An order given by command, as it stands when the command ends."""
    done = place.command("devices", "command", device, *told, "--wait", "60", "--json", "-c", str(place.config))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def desired(place: Town, device: str) -> dict[str, Any] | None:
    """What is desired of the lamp, beside what it reports; None where nothing is."""
    told = (place.get(f"/api/devices/{device}") or {}).get("desired", [])
    return next((one for one in told if one["quantity"] == "dimmingLevel"), None)


def reported(place: Town, device: str, quantity: str) -> float:
    """The newest value of a quantity; NaN where there is none."""
    values = {one["quantity"]: one["value"] for one in (place.get(f"/api/devices/{device}") or {}).get("values", [])}
    return float(values.get(quantity, float("nan")))


@pytest.mark.broker
@pytest.mark.acceptance
@pytest.mark.timeout(900)
def test_orders_go_out_are_carried_out_and_answered(tmp_path: Path) -> None:
    """A lamp is dimmed, a cab shows a text, a cell reports: done, in the device's words; desired and reported level of
    the lamp agree, its power follows and nobody whistles; with the fleet gone an order is sent three times and given
    up, and the difference stays on show, also after kill -9 of the server."""
    with town(tmp_path, speed=4.0) as place:
        place.start_server()
        place.start_fleet("--seed", "11", "--no-faults")
        wait_for(lambda: reported(place, POLE, "powerConsumption") > 20, "the lamp burns", PATIENCE_S)
        before = reported(place, POLE, "powerConsumption")
        done = order(place, POLE, "dim", "level=0.3", "minutes=120", "-r", "star night")
        assert (done["state"], done["detail"]) == ("done", "dim done"), done
        wait_for(lambda: reported(place, POLE, "dimmingLevel") == 0.3, "it reports its new level", PATIENCE_S)
        told = desired(place, POLE)
        assert told is not None
        assert (told["value"], told["differs"]) == (0.3, False), told
        assert reported(place, POLE, "powerConsumption") < 0.6 * before
        assert order(place, TRUCK, "text", "en=Stop here", "zh=请停车")["state"] == "done"
        journalled = _journalled(place, CELL)
        assert order(place, CELL, "report")["detail"] == "report done"
        wait_for(lambda: _journalled(place, CELL) > journalled, "the cell reports at once", PATIENCE_S)
        refused = place.command("devices", "command", POLE, "dim", "level=3", "-c", str(place.config))
        assert refused.returncode != 0
        assert "0..1" in refused.stderr
        assert place.get("/api/cases?open_only=false") == []

        assert place.stop("fleet") == 0
        lost = order(place, POLE, "dim", "level=1", "-r", "nobody is there")
        assert (lost["state"], lost["attempts"]) == ("timeout", 3), lost
        told = desired(place, POLE)
        assert told is not None
        assert (told["value"], told["reported"], told["differs"]) == (1.0, 0.3, True), told
        place.kill("server")
        place.start_server()
        assert desired(place, POLE) == told
        shown = place.command("devices", "desired", POLE, "-c", str(place.config))
        assert "differs" in shown.stdout, shown.stdout
        assert "timeout" in shown.stdout


def _journalled(place: Town, device: str) -> int:
    devices = (place.get("/api/accounting?limit=1000") or {"devices": []})["devices"]
    return next((int(one["journalled"]) for one in devices if one["device"] == device), 0)
