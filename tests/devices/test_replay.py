"""Replaying: pace, shift, loop, limit on a manual clock; the command against a real broker."""

from __future__ import annotations

import itertools
import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from typer.testing import CliRunner

from devices.clock import ManualClock
from devices.command import app
from devices.log import read_log
from devices.mapping import Mapping, parse_mapping
from devices.replay import Pace, Played, play, shift_days
from tests.broker import TestBroker
from tests.devices.server import Server

HOUR = 3_600_000
MAPPING = """\
kind = "pole"
[file]
members = "*.csv"
[device]
id = "p-{station}"
[time]
columns = "when"
zone = "Asia/Shanghai"
[columns.pm]
quantity = "pm25"
unit = "ug/m3"
"""


class Waiting(threading.Event):
    """A stop event that never stops: waiting advances the manual clock instead."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        self.clock.city_ms += round((timeout or 0.0) * 1000 * self.clock.speed)
        return False


def mapping() -> Mapping:
    return parse_mapping(MAPPING, "m.toml")


def write_day(path: Path, days: int = 1) -> Path:
    """Hourly rows of two stations from 2016-11-07 00:00 in Shanghai."""
    lines = [f"2016-11-{7 + h // 24:02} {h % 24:02}:00,{s},{h}\n" for h in range(24 * days) for s in "AB"]
    path.write_text("when,station,pm\n" + "".join(lines))
    return path


FIRST = int(datetime(2016, 11, 6, 16, tzinfo=UTC).timestamp() * 1000)


def replay(path: Path, pace: Pace, now_ms: int) -> tuple[list[tuple[int, str, int, float]], Played]:
    """(city time, device, event time, value) of everything that was said."""
    clock = ManualClock(now_ms)
    said: list[tuple[int, str, int, float]] = []

    def say(device: str, t_ms: int, values: dict[str, float]) -> bool:
        said.append((clock.now_ms(), device, t_ms, values["pm25"]))
        return True

    played = play(path, mapping(), pace, clock, say, Waiting(clock))
    return said, played


def test_its_own_time_is_kept_and_paced(tmp_path: Path) -> None:
    """At 60 times the speed an hour of the recording passes in a minute; event times stay as recorded."""
    said, played = replay(write_day(tmp_path / "a.csv"), Pace(speed=60), 5_000)
    assert len(said) == played.sent == 48
    assert [t for _, _, t, _ in said[::2]] == [FIRST + h * HOUR for h in range(24)]
    assert [now for now, *_ in said[::2]] == [5_000 + h * 60_000 for h in range(24)]


def test_shifted_to_now_keeps_the_hour_of_day(tmp_path: Path) -> None:
    """Every row comes when the city's clock shows the hour that the recording's clock showed, today's past left out."""
    helsinki = ZoneInfo("Europe/Helsinki")
    now = datetime(2026, 11, 20, 22, 5, tzinfo=helsinki)
    now_ms = int(now.timestamp() * 1000)
    said, played = replay(write_day(tmp_path / "a.csv", 2), Pace(shift=True, zone=helsinki), now_ms)
    hours = [datetime.fromtimestamp(t / 1000, helsinki).hour for _, _, t, _ in said]
    assert hours == [int(value) % 24 for *_, value in said]
    # The newest past row of each station comes at once, then each at its very time.
    assert [(at - now_ms, value) for at, _, _, value in said[:2]] == [(0, 22.0), (0, 22.0)]
    assert all(at == t for at, _, t, _ in said[2:])
    assert said[2][3] == 23.0
    assert played.before == 2 * 22
    assert len(said) == 2 * (48 - 22)


def test_shifted_and_faster_is_compressed_from_now(tmp_path: Path) -> None:
    """Faster than city time, event times cannot keep their distance: they start now and are squeezed."""
    now_ms = int(datetime(2026, 11, 20, 14, 5, tzinfo=UTC).timestamp() * 1000)
    said, _ = replay(write_day(tmp_path / "a.csv", 2), Pace(speed=120, shift=True), now_ms)
    assert said[0][2] <= now_ms
    later = [t for at, d, t, _ in said[2:] if d == "p-A"]
    assert {b - a for a, b in itertools.pairwise(later)} == {30_000}
    assert all(t <= at + 1 for at, _, t, _ in said)


def test_as_fast_as_possible_and_shifted_ends_before_now(tmp_path: Path) -> None:
    """A backfill never says anything from the future."""
    now_ms = int(datetime(2026, 11, 20, 14, 5, tzinfo=UTC).timestamp() * 1000)
    said, _ = replay(write_day(tmp_path / "a.csv", 3), Pace(speed=None, shift=True), now_ms)
    assert len(said) == 3 * 48
    assert now_ms - 24 * HOUR < max(t for _, _, t, _ in said) <= now_ms
    assert {at for at, *_ in said} == {now_ms}


def test_a_loop_goes_on_in_time_and_the_limit_ends_it(tmp_path: Path) -> None:
    """The second round follows the first by whole days, and never goes back."""
    said, played = replay(write_day(tmp_path / "a.csv"), Pace(speed=600, loop=True, limit=100), 0)
    assert played.sent == 100
    times = [t for _, device, t, _ in said if device == "p-A"]
    assert times == sorted(times)
    assert times[24] == FIRST + 24 * HOUR
    assert played.rounds == 3


def test_shifts_are_whole_local_days_across_a_clock_change() -> None:
    """Summer time in one place and none in the other: the wall clock stays."""
    helsinki, shanghai = ZoneInfo("Europe/Helsinki"), ZoneInfo("Asia/Shanghai")
    first = int(datetime(2016, 11, 7, 9, 30, tzinfo=shanghai).timestamp() * 1000)
    for month in (1, 7):
        now = datetime(2026, month, 15, 12, tzinfo=helsinki)
        moved = first + shift_days(first, int(now.timestamp() * 1000), shanghai, helsinki)
        local = datetime.fromtimestamp(moved / 1000, helsinki)
        assert (local.hour, local.minute, local.day) == (9, 30, 15)


@pytest.mark.broker
def test_the_command_publishes_what_it_counts(broker: TestBroker, tmp_path: Path) -> None:
    """Rows read, readings published, the server's view and the sender's log agree; junk is told, never sent."""
    path = write_day(tmp_path / "a.csv")
    path.write_text(path.read_text() + "2016-11-08 00:00,A,-200\n2016-11-08 00:00,B,x\n")
    (tmp_path / "m.toml").write_text(MAPPING.replace('unit = "ug/m3"', 'unit = "ug/m3"\njunk = [-200]'))
    server = Server(broker.host, broker.port, mark_at_once=True)
    result = CliRunner().invoke(app, [
        "replay", str(path), "--map", str(tmp_path / "m.toml"), "--as-fast-as-possible", "--broker", broker.address,
        "--state", str(tmp_path / "state"), "--json",
    ])  # fmt: skip
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout.splitlines()[-1])
    assert (told["rows"], told["sent"], told["published"], told["covered"], told["buffered"]) == (50, 48, 48, 48, 0)
    assert {(j["mark"], j["why"]) for j in told["junk"]} == {
        ("-200", "a code, not a measurement"),
        ("x", "not a number"),
    }
    log = read_log(tmp_path / "state" / "recording.sent.jsonl")
    assert {d: sum(s.count for s in boots.values()) for d, boots in log.items()} == {"p-A": 24, "p-B": 24}
    assert len(server.heard) == 48
    assert all(isinstance(one["pm25"], int | float) and one["pm25"] >= 0 for one in server.of("telemetry"))
    server.close()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.csv", "--map", "beijing_air"], "no such file"),
        ([".", "--map", "nonsense"], "shipped are beijing_air"),
        ([".", "--map", "beijing_air", "--shift", "tomorrow"], "--shift tomorrow"),
        ([".", "--map", "beijing_air", "--speed", "-1"], "--speed -1"),
        ([".", "--map", "beijing_air", "--start", "noon"], "--start noon"),
        ([".", "--map", "beijing_air", "--zone", "Mars"], "no time zone"),
        ([".", "--map", "beijing_air"], "no file in it fits"),
    ],
)
def test_wrong_options_end_with_a_readable_line(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback: one line that says what is wrong, exit code 2."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["replay", *arguments])
    assert result.exit_code == 2
    assert says in result.stderr
    assert "Traceback" not in result.output


def test_a_dry_run_needs_no_broker_and_explains_the_junk() -> None:
    """The shipped extract's table names columns, marks, counts and reasons."""
    root = Path(__file__).parents[2]
    path = root / "devices" / "recordings" / "beijing_air.csv.gz"
    result = CliRunner().invoke(app, ["replay", str(path), "--map", "beijing_air", "--dry-run"], env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    assert "8064 rows of 6 devices" in result.stdout
    assert "missing" in result.stdout


def test_kinds_are_listed_for_people_and_scripts() -> None:
    """Every kind with its quantities, as tables and as JSON; an unknown one names the known."""
    assert "leakageCurrent" in CliRunner().invoke(app, ["kinds", "pole"], env={"COLUMNS": "120"}).stdout
    told = json.loads(CliRunner().invoke(app, ["kinds", "--json"]).stdout)
    assert {one["kind"] for one in told} == {"pole", "cell", "truck", "feeder", "gateway"}
    wrong = CliRunner().invoke(app, ["kinds", "lamp"])
    assert wrong.exit_code == 2
    assert "pole" in wrong.stderr
