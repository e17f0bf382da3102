"""Exports hold what the store holds, and read in other programs."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.contracts.readings import HOUR_MS, T0, batch, rows
from twin.store.embedded import EmbeddedStore
from twin.store.export import export


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_an_export_holds_every_reading_once(form: str, tmp_path: Path) -> None:
    """Hot and sealed readings of a span are written once, in order, with empty cells where nothing was said."""
    store = EmbeddedStore(tmp_path / "store", rows(), seal_every_s=None)
    store.append(1, batch([(1, T0 + 10, 1, {"voltage": 1.5}), (0, T0 + 20, 1, {"pm25": 0.1})]))
    store.seal()
    store.append(2, batch([(0, T0 + 2 * HOUR_MS, 2, {"voltage": 2.5}), (0, T0 + 9 * HOUR_MS, 3, {"voltage": 9.0})]))
    path = tmp_path / f"out.{form}"
    shares: list[float] = []
    assert export(store, rows(), "pole", T0, T0 + 9 * HOUR_MS, path, progress=shares.append) == 3
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    if form == "csv":
        told = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        assert [(r["device"], r["voltage"], r["pm25"], r["seq"]) for r in told] == [
            ("pole-0", "", "0.1", "1"), ("pole-1", "1.5", "", "1"), ("pole-0", "2.5", "", "2"),
        ]  # fmt: skip
        assert told[1]["t"] == "2023-11-14T00:00:00.010Z"
    else:
        table = pq.read_table(path)
        assert table.column("device").to_pylist() == ["pole-0", "pole-1", "pole-0"]
        assert table.column("voltage").to_pylist() == [None, 1.5, 2.5]
    assert list(tmp_path.glob("*.new")) == []
    store.close()


def test_an_export_of_nothing_is_an_empty_table(tmp_path: Path) -> None:
    """A kind without readings gives a file with a head and no rows."""
    store = EmbeddedStore(tmp_path / "store", rows(), seal_every_s=None)
    assert export(store, rows(), "cell", 0, T0, tmp_path / "out.csv") == 0
    assert (tmp_path / "out.csv").read_text().startswith("device,t,arrived")
    store.close()
