"""The world's bytes: read piece by piece, refused where damaged, and those of an older version taken over."""

from __future__ import annotations

import io
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.twin.tick.test_tick import hours_of, run
from tests.twin.tick.town import Tally, town
from twin.errors import CheckpointBroken
from twin.model.packed import visits, widths
from twin.tick import World, checkpoint
from twin.tick.checkpoint import decode, encode, read

MB = 1 << 20


def lived(ticks: int) -> World:
    """A town that was busy for so long."""
    world = World(town(), Tally())
    run(world, hours_of(world.city, 3, ticks), lambda columns: [columns])
    return world


def test_a_large_tree_is_in_memory_once(tmp_path: Path) -> None:
    """Reading takes what the arrays take and hardly more, and the world goes on with those very arrays."""
    path = tmp_path / "tree"
    path.write_bytes(encode({"a": {str(i): np.arange(MB, dtype=np.int64) + i for i in range(4)}, "n": 7}))
    tracemalloc.start()
    try:
        with path.open("rb", buffering=0) as file:
            tree = read(file, path.stat().st_size)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert tree["n"] == 7
    assert [int(tree["a"][str(i)][-1]) for i in range(4)] == [MB - 1 + i for i in range(4)]
    assert peak < 4 * 8 * MB + 3 * MB
    told = decode(lived(40).dump())
    world = World.revived(told, town(), Tally())
    cell = told["models"]["cell"]
    model = world.models["cell"]
    for name in ("season", "season_width", "season_visits", "level"):
        assert model.expectation[name] is cell[f"channel.{name}"]
    assert model.forecast.a["base"] is cell["forecast.slot.base"]


def _version_1(tree: dict[str, Any]) -> None:
    """What version 1 kept in figures of four bytes (visits: of two)."""
    for model in tree["models"].values():
        model["channel.season_width"] = widths(model["channel.season_width"])
        model["channel.season_visits"] = visits(model["channel.season_visits"]).astype(np.float16)
        if "forecast.yesterday.unit" in model:
            codes, unit = model["forecast.yesterday.values"], model.pop("forecast.yesterday.unit")[:, None]
            model["forecast.yesterday.values"] = np.where(codes == 0, np.nan, (codes - 1.0) * unit).astype(np.float32)
    for kind in tree["detectors"]["behaviour"]["kinds"].values():
        kind["scaled"] = {name: array.astype(np.float32) for name, array in kind["scaled"].items()}


def test_one_of_version_1_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures that were kept exactly become codes, and the world goes on as the one that wrote them."""
    world = lived(120)
    tree = world.snapshot()
    _version_1(tree)
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "VERSION", 1)
        data = encode(tree)
    assert b'{"version":1,' in data[:64]
    again = World.load(data, town(), Tally())
    assert int(np.count_nonzero(again.models["cell"].expectation["season_width"])) > 50
    assert int(np.count_nonzero(again.models["pole"].forecast.yesterday.values)) > 50
    stream = hours_of(world.city, 3, 200)[120:]
    assert run(again, stream, lambda columns: [columns]) == run(world, stream, lambda columns: [columns])
    assert again.dump() == world.dump()


def test_damage_is_refused() -> None:
    """Whatever byte is changed or cut off: refused in our words, and no head makes us ask for more memory than there
    are bytes."""
    data = encode({"a": np.arange(40, dtype=np.float32), "b": {"c": [1, "x"]}, "d": np.zeros((0, 3))})
    assert decode(data)["b"] == {"c": [1, "x"]}
    for at in range(len(data)):
        for bad in (data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], data[:at]):
            with pytest.raises(CheckpointBroken):
                decode(bad)
    with pytest.raises(CheckpointBroken, match="cut short"):
        read(io.BytesIO(data[:-20]), len(data))
    head = b'{"version":1,"tree":{"d":{"a":{"a":"<f8","s":[1000000,1000000]}}}}'
    with pytest.raises(CheckpointBroken, match="cut short"):
        decode(checkpoint.MAGIC + struct.pack("<Q", len(head)) + head + bytes(100))
