"""What every store promises, run over every entry of STORES with real servers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests import servers
from tests.contracts.readings import HOUR_MS, T0, batch, rows
from twin.settings import StoreSettings
from twin.store import STORES, Store, open_store
from twin.store.influxsetup import initialise
from twin.store.protocol import Rows

# (backend, sealed): the embedded store is also tested with everything sealed before each question.
VARIANTS = [(name, False) for name in STORES] + [("embedded", True)]


class Bench:
    """One store under test: opened, opened again as after a restart, and made to show what it was given."""

    def __init__(self, settings: StoreSettings, folder: Path, *, sealed: bool, settle: Callable[[], None]) -> None:
        self.settings = settings
        self.folder = folder
        self.rows: Rows = rows()
        self._sealed = sealed
        self._settle = settle
        self.store: Store = self.open()

    def open(self) -> Store:
        """Open (again)."""
        self.store = open_store(self.settings, self.folder, self.rows, "j1")
        return self.store

    def settle(self) -> None:
        """Wait until what was appended can be asked for."""
        if self._sealed:
            self.store.seal()  # type: ignore[attr-defined]
        self._settle()


@pytest.fixture(scope="session")
def influx_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """One InfluxDB for all tests, set up by `initialise`; a bucket a test. (url, file of the operator's token)."""
    folder = tmp_path_factory.mktemp("influxdb")
    server = servers.influxdb(folder)
    server.start()
    setup = {"username": "test", "password": servers.PASSWORD, "org": "city", "bucket": "first", "token": "operator"}
    httpx.post(f"{server.url}/api/v2/setup", json=setup).raise_for_status()
    yield server.url, folder
    server.stop()


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """An empty store of each backend."""
    name, sealed = request.param
    settle: Callable[[], None] = lambda: None  # noqa: E731
    settings = StoreSettings(kind=name)
    server = None
    if name == "influxdb":
        url, _ = request.getfixturevalue("influx_url")
        bucket = request.node.name
        token = initialise(url, "city", bucket, token="operator")
        (tmp_path / "token").write_text(token)
        settings = StoreSettings(kind=name, url=url, org="city", bucket=bucket, token_file=str(tmp_path / "token"))
    elif name == "victoriametrics":
        server = servers.victoriametrics(tmp_path_factory.mktemp("victoria"))
        server.start()
        url = server.url
        settings = StoreSettings(kind=name, url=url)
        settle = lambda: httpx.get(f"{url}/internal/force_flush", timeout=30).raise_for_status() and None  # noqa: E731
    opened = Bench(settings, tmp_path / "store", sealed=sealed, settle=settle)
    yield opened
    opened.store.close()
    if server is not None:
        server.stop()


every = pytest.mark.parametrize("bench", VARIANTS, indirect=True, ids=lambda v: f"{v[0]}{'-sealed' if v[1] else ''}")
exact = pytest.mark.parametrize(
    "bench",
    [v for v in VARIANTS if v[0] != "victoriametrics"],
    indirect=True,
    ids=lambda v: f"{v[0]}{'-sealed' if v[1] else ''}",
)


@every
def test_a_new_store_is_empty(bench: Bench) -> None:
    """Nothing was appended: position 0, no values, no devices, and no error."""
    assert bench.store.position() == 0
    t, v = bench.store.range("pole", 0, "voltage", 0, T0 + HOUR_MS)
    assert len(t) == len(v) == 0
    assert len(bench.store.downsample("pole", 0, "voltage", T0, T0 + HOUR_MS, 300_000).t) == 0
    assert len(bench.store.latest("pole").row) == 0
    assert len(bench.store.snapshot("pole", T0).row) == 0


@every
def test_values_come_back_in_order_and_in_range(bench: Bench) -> None:
    """A device's values come back by event time, the range's end is left out, and missing ones are absent."""
    bench.store.append(1, batch([(2, T0 + 3000, 3, {"voltage": 3.5}), (2, T0 + 1000, 1, {"voltage": 1.5})]))
    bench.store.append(2, batch([(2, T0 + 2000, 2, {"pm25": 7.0}), (1, T0 + 2000, 2, {"voltage": 99.0})]))
    bench.settle()
    t, v = bench.store.range("pole", 2, "voltage", T0, T0 + 10_000)
    assert_array_equal(t, [T0 + 1000, T0 + 3000])
    assert_array_equal(v, [1.5, 3.5])
    t, v = bench.store.range("pole", 2, "voltage", T0 + 1000, T0 + 3000)
    assert_array_equal(t, [T0 + 1000])
    t, v = bench.store.range("pole", 2, "pm25", T0, T0 + 10_000)
    assert_array_equal(v, [7.0])
    assert len(bench.store.range("pole", 2, "never said", T0, T0 + 10_000)[0]) == 0


@exact
def test_equal_milliseconds_of_one_device_stay_two(bench: Bench) -> None:
    """Two readings of one device in one millisecond with different seq are both kept, also from two entries."""
    bench.store.append(1, batch([(0, T0, 1, {"voltage": 1.0}), (0, T0, 2, {"voltage": 2.0})]))
    bench.store.append(2, batch([(0, T0, 3, {"voltage": 3.0})]))
    bench.settle()
    t, v = bench.store.range("pole", 0, "voltage", T0, T0 + 1)
    assert_array_equal(t, [T0] * 3)
    assert_array_equal(v, [1.0, 2.0, 3.0])


@exact
def test_senders_that_do_not_count_lose_nothing(bench: Bench) -> None:
    """Readings without boot and seq in one millisecond stay apart, and a replay of them doubles nothing."""
    lot = batch([(0, T0, -1, {"voltage": 1.0}), (0, T0, -1, {"voltage": 2.0}), (0, T0 + 1, -1, {"voltage": 3.0})])
    bench.store.append(1, lot)
    bench.store.append(1, lot)
    bench.settle()
    assert_array_equal(np.sort(bench.store.range("pole", 0, "voltage", T0, T0 + 2)[1]), [1.0, 2.0, 3.0])


@every
def test_one_millisecond_of_two_devices_stays_two(bench: Bench) -> None:
    """Values of two devices in the same millisecond do not meet."""
    bench.store.append(1, batch([(0, T0, 1, {"voltage": 1.0}), (1, T0, 1, {"voltage": 2.0})]))
    bench.settle()
    assert_array_equal(bench.store.range("pole", 0, "voltage", T0, T0 + 1)[1], [1.0])
    assert_array_equal(bench.store.range("pole", 1, "voltage", T0, T0 + 1)[1], [2.0])


@every
def test_appending_an_entry_again_changes_nothing(bench: Bench) -> None:
    """An entry replayed in the same life and after a restart is there once."""
    lot = batch([(0, T0 + i * 1000, i, {"voltage": float(i)}) for i in range(50)])
    bench.store.append(1, lot)
    bench.store.append(1, lot)
    bench.store.close()
    bench.open().append_many([(1, lot), (2, batch([(0, T0 + 60_000, 60, {"voltage": 60.0})]))])
    bench.settle()
    _t, v = bench.store.range("pole", 0, "voltage", T0, T0 + HOUR_MS)
    assert_array_equal(v, [*map(float, range(50)), 60.0])
    assert bench.store.downsample("pole", 0, "voltage", T0, T0 + 600_000, 600_000).count.tolist() == [51]


@exact
def test_the_position_survives_and_belongs_to_one_journal(bench: Bench) -> None:
    """The position is there after a restart; fed from another journal the store begins at 0."""
    bench.store.append_many([(3, batch([(0, T0, 1, {"voltage": 1.0})])), (9, batch([]))])
    assert bench.store.position() == 9
    bench.store.close()
    assert bench.open().position() == 9
    bench.store.close()
    bench.store = open_store(bench.settings, bench.folder, bench.rows, "another journal")
    assert bench.store.position() == 0


@exact
def test_float64_is_kept_to_the_last_bit(bench: Bench) -> None:
    """Awkward numbers come back exactly; a value that is missing is absent, not zero."""
    awkward = [0.1, 1 / 3, 1e-300, 1.7976931348623157e308, 123456789.123456, -40.0, 5e-324, 0.0, 2.5, 1e15 + 0.3]
    bench.store.append(1, batch([(0, T0 + i, i, {"voltage": x}) for i, x in enumerate([*awkward, float("nan")])]))
    bench.settle()
    _, v = bench.store.range("pole", 0, "voltage", T0, T0 + 100)
    assert v.tobytes() == np.array(awkward).tobytes()


@every
def test_decimals_come_back_as_sent(bench: Bench) -> None:
    """Numbers of few decimals, as devices send them, come back exactly from every backend."""
    told = [round(20 + i / 10, 1) for i in range(300)]
    bench.store.append(1, batch([(0, T0 + i * 1000, i, {"voltage": x}) for i, x in enumerate(told)]))
    bench.settle()
    assert_array_equal(bench.store.range("pole", 0, "voltage", T0, T0 + HOUR_MS)[1], told)


@every
def test_late_rows_find_their_place(bench: Bench) -> None:
    """Readings a day late stand where their event time says."""
    bench.store.append(1, batch([(0, T0 + 5000, 5, {"voltage": 5.0}), (0, T0 + 24 * HOUR_MS, 9, {"voltage": 9.0})]))
    bench.settle()
    bench.store.append(2, batch([(0, T0 + 1000, 1, {"voltage": 1.0})]))
    bench.settle()
    t, v = bench.store.range("pole", 0, "voltage", T0, T0 + 48 * HOUR_MS)
    assert_array_equal(t, [T0 + 1000, T0 + 5000, T0 + 24 * HOUR_MS])
    assert_array_equal(v, [1.0, 5.0, 9.0])


@every
def test_steps_are_right(bench: Bench) -> None:
    """Mean, min, max and count by aligned steps equal those reckoned here; empty steps are left out."""
    told = [(i * 7_000, float((i * 37) % 101)) for i in range(400) if i % 50 < 30]
    bench.store.append(1, batch([(3, T0 + at, i, {"voltage": v}) for i, (at, v) in enumerate(told)]))
    bench.settle()
    found = bench.store.downsample("pole", 3, "voltage", T0, T0 + HOUR_MS, 60_000)
    steps: dict[int, list[float]] = {}
    for at, v in told:
        steps.setdefault(T0 + at // 60_000 * 60_000, []).append(v)
    assert_array_equal(found.t, sorted(steps))
    assert_allclose(found.mean, [np.mean(steps[t]) for t in sorted(steps)], rtol=1e-12)
    assert_array_equal(found.min, [min(steps[t]) for t in sorted(steps)])
    assert_array_equal(found.max, [max(steps[t]) for t in sorted(steps)])
    assert_array_equal(found.count, [len(steps[t]) for t in sorted(steps)])


@every
def test_steps_count_no_value_outside_the_range(bench: Bench) -> None:
    """A range that begins and ends inside steps counts only what lies in it."""
    bench.store.append(1, batch([(0, T0 + i * 1000, i, {"voltage": float(i)}) for i in range(120)]))
    bench.settle()
    found = bench.store.downsample("pole", 0, "voltage", T0 + 30_000, T0 + 90_000, 60_000)
    assert_array_equal(found.t, [T0, T0 + 60_000])
    assert_array_equal(found.count, [30, 30])
    assert_array_equal(found.min, [30.0, 60.0])
    assert_array_equal(found.max, [59.0, 89.0])


@every
def test_latest_and_snapshot_tell_the_last_known(bench: Bench) -> None:
    """Each quantity's newest value, at the end and at a time T between; who said nothing by then is not there."""
    bench.store.append(1, batch([
        (0, T0, 1, {"voltage": 1.0, "pm25": 10.0}), (0, T0 + 2000, 2, {"voltage": 2.0}),
        (4, T0 + 1000, 1, {"voltage": 4.0}), (7, T0 + 9000, 1, {"voltage": 7.0}),
    ]))  # fmt: skip
    bench.store.append(2, batch([(0, T0 + 3000, 3, {"voltage": 3.0})]))
    bench.settle()
    then = bench.store.snapshot("pole", T0 + 2999)
    assert_array_equal(then.row, [0, 4])
    assert_array_equal(then.t, [T0 + 2000, T0 + 1000])
    assert_array_equal(then.values["voltage"], [2.0, 4.0])
    assert_array_equal(then.values["pm25"], [10.0, np.nan])
    assert_array_equal(bench.store.snapshot("pole", T0 + 3000).values["voltage"], [3.0, 4.0])
    assert_array_equal(bench.store.snapshot("pole", T0 + 2999, within_ms=2000).row, [0, 4])
    assert_array_equal(bench.store.snapshot("pole", T0 + 2999, within_ms=1000).row, [0])
    now = bench.store.latest("pole")
    assert_array_equal(now.row, [0, 4, 7])
    assert_array_equal(now.values["voltage"], [3.0, 4.0, 7.0])
    assert now.values["pm25"][0] == 10.0


@every
def test_latest_after_a_restart(bench: Bench) -> None:
    """The last known values are there after the store was opened again."""
    bench.store.append(1, batch([(0, T0, 1, {"voltage": 1.0, "pm25": 8.0}), (5, T0 + 1, 1, {"voltage": 5.0})]))
    bench.settle()
    bench.store.close()
    now = bench.open().latest("pole")
    assert_array_equal(now.row, [0, 5])
    assert_array_equal(now.values["voltage"], [1.0, 5.0])


@exact
def test_pruning_forgets_the_old_alone(bench: Bench) -> None:
    """Readings before the limit go, of one kind or of all; those at it and after stay."""
    lot = [(0, T0 + i * 1000, i, {"voltage": float(i)}) for i in range(10)]
    bench.store.append(1, batch(lot))
    bench.store.append(2, batch(lot, kind="cell"))
    bench.settle()
    bench.store.prune(T0 + 4000, "pole")
    assert_array_equal(bench.store.range("pole", 0, "voltage", 0, T0 + HOUR_MS)[1], [4.0, 5.0, 6.0, 7.0, 8.0, 9.0])
    assert len(bench.store.range("cell", 0, "voltage", 0, T0 + HOUR_MS)[1]) == 10
    bench.store.prune(T0 + HOUR_MS)
    assert len(bench.store.range("pole", 0, "voltage", 0, T0 + HOUR_MS)[1]) == 0
    assert len(bench.store.range("cell", 0, "voltage", 0, T0 + HOUR_MS)[1]) == 0
    assert bench.store.position() == 2


@every
def test_odd_device_names_are_kept_apart(bench: Bench) -> None:
    """Every letter that a topic allows in a device id survives the backend's own syntax."""
    odd = {90: "a.b:c_d-e", 91: "A.B:c_d-e", 92: "0" * 64}
    bench.rows.add(("pole", row, device) for row, device in odd.items())
    bench.store.append(1, batch([(row, T0, 1, {"voltage": float(row)}) for row in odd]))
    bench.settle()
    for row in odd:
        assert_array_equal(bench.store.range("pole", row, "voltage", T0, T0 + 1)[1], [float(row)])
    assert_array_equal(bench.store.snapshot("pole", T0 + 1).row, sorted(odd))


@every
def test_info_says_what_it_is(bench: Bench) -> None:
    """`info` names the backend, the position and what cannot be kept."""
    told = bench.store.info()
    assert told["backend"] == bench.settings.kind
    assert isinstance(told["cannot_keep"], list)


@exact
def test_kill_9_in_the_middle_doubles_and_loses_nothing(bench: Bench, tmp_path: Path) -> None:
    """A process killed while it appends leaves a store that, fed again from its position, holds each reading once."""
    bench.store.close()
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.contracts.appender", str(bench.folder), *_told(bench.settings)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    with child:
        for line in child.stdout:
            if int(line) >= 12:
                child.kill()
                break
        acknowledged = max([12, *map(int, child.stdout.read().split())])
    store = bench.open()
    assert store.position() >= acknowledged
    from tests.contracts.appender import entry

    end = acknowledged + 20
    store.append_many([(n, entry(n)) for n in range(max(1, store.position() - 5), end + 1)])
    bench.settle()
    found = bench.store.downsample("pole", 0, "voltage", T0, T0 + end * 1000 + 1000, 10**9)
    assert found.count.sum() == end
    _, v = bench.store.range("pole", 7, "voltage", T0, T0 + 10**9)
    assert_array_equal(v, np.arange(1, end + 1, dtype=float))


def _told(settings: StoreSettings) -> list[str]:
    return [settings.kind, settings.url, settings.org, settings.bucket, settings.token_file]
