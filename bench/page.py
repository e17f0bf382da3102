"""How well the page shows a full city without a GPU: frames, main thread, hover, first picture (docs/page.md).

A city of 76,000 devices (51,000 cells, 15,000 poles, 10,000 trucks), made up here and served by the real web from a
process of its own; headless Chromium in software at 1920x1080; a scripted camera while every truck moves. Frames are
those drawn: a frame counts when the map drew into it. Then the same over a full city at work: real broker, server and
fleet on the same cores. Run: python -m bench.page [--seconds 10] [--devices 76000] [--only quiet|beside]
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import itertools
import json
import math
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.report import RESULTS, Bar, report

CHROMIUM = os.environ.get("CITYWHISTLE_CHROMIUM") or shutil.which("chromium") or "chromium"
ARGS = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
EAST_M, NORTH_M = 33_000.0, 27_000.0  # 891 km2
BEAT_S = 1.0
SETTLE_S = 60.0  # in which every connection is made
NOTE = "running.json"  # where a server says how it is opened

# Runs the camera for `ms` along `path` (t in 0..1 -> x, y, zoom); gives the times between frames and of drawing.
DRIVE = """
async ([ms, path]) => {
  const { map } = window.citywhistle.seen;
  const { camera } = map;
  const home = { x: camera.x, y: camera.y, zoom: camera.zoom };
  const ways = {
    pan: (t) => ({ x: 0.00006 * Math.sin(6.283 * t), y: 0.00003 * Math.sin(12.566 * t), zoom: 12 }),
    near: (t) => ({ x: 0.00001 * Math.sin(6.283 * t), y: 0.000006 * Math.sin(12.566 * t), zoom: 15.5 }),
    fly: (t) => ({ x: 0.00001 * t, y: 0, zoom: 11.5 + 4 * Math.sin(Math.PI * t) }),
    still: () => null,
  };
  const drawn = [];
  const spent = [];
  const draw = map.frame.bind(map);
  map.frame = (now) => {
    const before = performance.now();
    draw(now);
    spent.push(performance.now() - before);
    drawn.push(now);
  };
  const begin = performance.now();
  await new Promise((done) => {
    const step = (now) => {
      const t = (now - begin) / ms;
      const to = ways[path](t);
      if (to) {
        Object.assign(camera, to);
        map.movedAt = now;
        map.refresh(true);
      }
      if (t < 1) requestAnimationFrame(step);
      else done();
    };
    requestAnimationFrame(step);
  });
  map.frame = draw;
  Object.assign(camera, home);
  map.refresh(true);
  return { drawn, spent };
}
"""

HOVER = """
() => {
  const { map } = window.citywhistle.seen;
  const times = [];
  for (let i = 0; i < 200; i++) {
    const before = performance.now();
    map.hit(Math.random() * 1400, Math.random() * 900);
    times.push(performance.now() - before);
  }
  return times;
}
"""

APPLY = """
() => {
  const { fleet } = window.citywhistle.seen;
  const trucks = [...Array(fleet.n).keys()].filter((i) => fleet.kinds[fleet.kind[i]] === 'truck');
  const n = trucks.length;
  const times = [];
  for (let k = 0; k < 20; k++) {
    const moved = { version: 1, city_ms: 0, index: Uint32Array.from(trucks), state: new Uint8Array(n),
      dlon: Float32Array.from(trucks, (i) => fleet.x[i] * 360 + 1e-4), dlat: new Float32Array(n).map(() => Math.random() * 0.1) };
    const before = performance.now();
    fleet.apply(moved, performance.now(), true);
    times.push(performance.now() - before);
  }
  return times;
}
"""  # noqa: E501


def serve_city(devices: int, basemap: str) -> None:
    """Serve a made-up full city until SIGTERM: the child's part. Prints the address to open."""
    from dashboards.serve import serve
    from tests.dashboards.fake_desk import CENTRE, FakeDesk
    from twin.query.desk import Row

    rng = random.Random(7)
    lon_m = 111_320 * math.cos(math.radians(CENTRE[1]))

    def row(device: str, kind: str) -> Row:
        east, north = rng.uniform(-0.5, 0.5) * EAST_M, rng.uniform(-0.5, 0.5) * NORTH_M
        return Row(device, kind, CENTRE[0] + east / lon_m, CENTRE[1] + north / 111_320, "simulated", 0)

    share = devices / 76_000
    parts = (("cell", 51_000), ("pole", 15_000), ("truck", 10_000))
    rows = [row(f"{kind}-{i:05d}", kind) for kind, n in parts for i in range(int(n * share))]
    half_lon, half_lat = EAST_M / lon_m / 2, NORTH_M / 111_320 / 2
    bounds = (CENTRE[0] - half_lon, CENTRE[1] - half_lat, CENTRE[0] + half_lon, CENTRE[1] + half_lat)
    desk = FakeDesk(rows=rows, bounds=bounds, basemap=basemap, live=True)
    trucks = [i for i, one in enumerate(rows) if one.kind == "truck"]
    ways = {i: rng.uniform(0, 2 * math.pi) for i in trucks}
    from dataclasses import replace

    def drive(group: int) -> None:
        """A fifth of the trucks report each second, 50 metres on."""
        with desk.lock:
            desk.version += 1
            for i in trucks[group::5]:
                one = desk.rows[i]
                lon = one.lon + 50 * math.sin(ways[i]) / lon_m
                desk.rows[i] = replace(one, lon=lon, lat=one.lat + 50 * math.cos(ways[i]) / 111_320)
                desk.changed[i] = desk.version

    for i in range(40):
        desk.whistle((0, 1, 2, 5)[i % 4])
    running = serve(desk, beat_s=BEAT_S)
    print(running.open_url(), flush=True)
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stop.append(number))
    second = 0
    while not stop:
        time.sleep(BEAT_S)
        drive(second % 5)
        second += 1
    running.stop()


def full_basemap(directory: Path) -> str:
    """The shipped base map repeated over the whole area: centre density everywhere, thinned to stay loadable."""
    import devices.cities

    shipped = Path(devices.cities.__file__).parent / "helsinki" / "basemap.geojson.gz"
    told = json.loads(gzip.decompress(shipped.read_bytes()))
    roads = [
        f
        for f in told["features"]
        if f["properties"].get("layer") != "place" and f["properties"].get("minzoom", 0) <= 13
    ]
    features = []
    for column in range(-8, 9):
        for line in range(-6, 7):
            features += [shifted(f, column * 0.0182 * 1.9, line * 0.015 * 1.3) for f in roads]
    path = directory / "basemap.geojson.gz"
    path.write_bytes(gzip.compress(json.dumps({"type": "FeatureCollection", "features": features}).encode(), 1))
    return str(path)


def shifted(told: dict[str, Any], east: float, north: float) -> dict[str, Any]:
    """A GeoJSON feature, moved by degrees."""

    def move(part: Any) -> Any:
        if isinstance(part[0], int | float):
            return [round(part[0] + east, 6), round(part[1] + north, 6)]
        return [move(one) for one in part]

    geometry = told["geometry"]
    return {**told, "geometry": {**geometry, "coordinates": move(geometry["coordinates"])}}


@contextlib.contextmanager
def city(devices: int) -> Iterator[str]:
    """The full city in a process of its own; gives the address to open."""
    with tempfile.TemporaryDirectory() as directory:
        basemap = full_basemap(Path(directory))
        code = f"from bench.page import serve_city; serve_city({devices}, {basemap!r})"
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        try:
            assert child.stdout is not None
            yield child.stdout.readline().strip()
        finally:
            child.terminate()
            child.wait(20)


def rates(drawn: list[float]) -> list[float]:
    """Frames a second in each whole second of the run."""
    first = drawn[0]
    seconds = [0] * int((drawn[-1] - first) // 1000)
    for at in drawn:
        if (slot := int((at - first) // 1000)) < len(seconds):
            seconds[slot] += 1
    return [float(n) for n in seconds]


def low(values: list[float], part: float) -> float:
    """The value below which that part of the values lies."""
    return sorted(values)[int(part * (len(values) - 1))]


def drive(page: Any, seconds: float) -> dict[str, dict[str, Any]]:
    """Drive the camera along every path, warm; what was seen of each."""
    seen: dict[str, dict[str, Any]] = {}
    for path in ("pan", "near", "fly", "still"):
        page.evaluate(DRIVE, [2000, path])  # warm
        got = page.evaluate(DRIVE, [seconds * 1000, path])
        gaps = [b - a for a, b in itertools.pairwise(got["drawn"])]
        instant = [1000 / gap for gap in gaps if gap > 0]
        seen[path] = {
            "fps": rates(got["drawn"]), "frame_ms_p95": round(low(gaps, 0.95), 1),
            "main_ms_p50": round(low(got["spent"], 0.5), 2), "main_ms_p95": round(low(got["spent"], 0.95), 2),
            "fps_p5_of_frames": round(low(instant, 0.05), 1),
        }  # fmt: skip
    return seen


@contextlib.contextmanager
def opened(url: str) -> Iterator[tuple[Any, float]]:
    """The page at an address, drawn, and how long that took."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        page = browser.new_page(viewport={"width": 1920, "height": 1080})
        began = time.monotonic()
        page.goto(url)
        page.wait_for_function("() => window.citywhistle?.seen.map.frames > 0", timeout=60_000)
        yield page, time.monotonic() - began
        browser.close()


def measure(devices: int, seconds: float) -> tuple[dict[str, Bar], dict[str, Any]]:
    """Open the page, drive it, read its times."""
    bars: dict[str, Bar] = {}
    with city(devices) as url, opened(url) as (page, took_s):
        bars["devices_on_screen_s"] = Bar(took_s, 2.0, "s", "lower")
        page.wait_for_timeout(12_000)  # base map read, first tiles drawn, every truck on its way
        seen = drive(page, seconds)
        for path in ("pan", "near", "fly"):
            bars[f"{path}_median_fps"] = Bar(statistics.median(seen[path]["fps"]), 58, "1/s")
            bars[f"{path}_p5_fps"] = Bar(low(seen[path]["fps"], 0.05), 50, "1/s")
        bars["hover_ms"] = Bar(low(page.evaluate(HOVER), 0.95), 2, "ms", "lower")
        bars["trucks_applied_ms"] = Bar(low(page.evaluate(APPLY), 0.95), 5, "ms", "lower")
    return bars, seen


def beside(devices: int, seconds: float, seed: int) -> tuple[dict[str, Bar], dict[str, Any], list[str]]:
    """The same page over the full city at work: real broker, server and fleet on the same cores (bench/livecity.py)."""
    from rich.console import Console

    from bench.livecity import BEGINS, SPEED
    from twin.demo.scene import Scene
    from twin.demo.stage import Stage, Wishes
    from twin.survey.synth import Plan, synthesise

    with tempfile.TemporaryDirectory() as scratch:
        full, root = Path(scratch) / "full", Path(scratch) / "city"
        synthesise(Plan(devices=devices, area_km2=EAST_M * NORTH_M / 1e6, seed=seed), full)
        root.mkdir()
        wishes = Wishes(city=str(full), seed=seed, port=0, speed=SPEED, begins=BEGINS, recording=False, history=False)
        scene = Scene(root)
        stage = Stage(scene, wishes, Console(stderr=True, quiet=True))
        try:
            stage.start()
            time.sleep(SETTLE_S)
            url = json.loads((scene.data / NOTE).read_text(encoding="utf-8"))["open"]
            with opened(url) as (page, took_s):
                page.wait_for_timeout(12_000)
                stage.watch_all()
                before, began = stage.cpu_s(), time.monotonic()
                readings = stage.ask("/api/accounting")["total"]["received"]
                seen = drive(page, seconds)
                took = time.monotonic() - began
                stage.watch_all()
                share = {name: (at - before[name]) / took for name, at in stage.cpu_s().items()}
                readings = (stage.ask("/api/accounting")["total"]["received"] - readings) / took
        finally:
            stage.stop()
    bars = {f"beside_{path}_p5_fps": Bar(low(seen[path]["fps"], 0.05), 25, "1/s") for path in ("pan", "near", "fly")}
    cores = ", ".join(f"{name} {part:.2f}" for name, part in share.items())
    note = f"beside: {readings:.0f} readings/s while the camera moved; of a core: {cores}; on screen in {took_s:.1f} s"
    return bars, seen, [note, json.dumps(seen)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--devices", type=int, default=76_000)
    parser.add_argument("--seed", type=int, default=7, help="of the full city at work; the quiet one is fixed")
    parser.add_argument("--only", choices=("quiet", "beside"), help="one of the two; the other keeps its last figures")
    chosen = parser.parse_args()
    bars: dict[str, Bar] = {}
    notes: list[str] = []
    if chosen.only != "beside":
        bars, seen = measure(chosen.devices, chosen.seconds)
        load = os.getloadavg()[0]
        notes += [f"{chosen.devices} devices, 1920x1080, software rendering, load average {load:.1f}", json.dumps(seen)]
    if chosen.only != "quiet":
        more, _, told = beside(chosen.devices, chosen.seconds, chosen.seed)
        bars, notes = bars | more, notes + told
    kept, said = kept_figures(chosen.only)
    report("page", kept | bars, {}, notes=[*said, *notes])


def kept_figures(only: str | None) -> tuple[dict[str, Bar], list[str]]:
    """The figures and notes of the part that is not measured now, as they were recorded."""
    path = RESULTS / "page.json"
    if only is None or not path.is_file():
        return {}, []
    told = json.loads(path.read_text(encoding="utf-8"))
    mine = {name: one for name, one in told["bars"].items() if name.startswith("beside_") == (only == "quiet")}
    bars = {name: Bar(math.nan if one["value"] is None else one["value"], one["goal"], one["unit"], one["better"])
            for name, one in mine.items()}  # fmt: skip
    split = next((i for i, note in enumerate(told["notes"]) if note.startswith("beside:")), len(told["notes"]))
    return bars, told["notes"][split:] if only == "quiet" else told["notes"][:split]


if __name__ == "__main__":
    main()
