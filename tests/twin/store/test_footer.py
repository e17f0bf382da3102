"""Footers of some row groups: Arrow answers from them as from the whole one, and what is damaged is named."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.contracts.readings import T0
from tests.twin.store.files import one_file
from twin.errors import StoreBroken
from twin.store.footer import SHAPES, Footer
from twin.store.shelf import Reader

BOUNDED = ("row", "t")
ENCODINGS: Mapping[str, Mapping[str, Any]] = {
    "dictionary": {"use_dictionary": True},
    "delta": {"use_dictionary": False, "column_encoding": {"row": "DELTA_BINARY_PACKED", "t": "DELTA_BINARY_PACKED"}},
    "split": {"use_dictionary": False, "column_encoding": {"t": "BYTE_STREAM_SPLIT", "x": "BYTE_STREAM_SPLIT"}},
    "indexed": {"write_page_index": True, "write_page_checksum": True},
    "first version": {"version": "1.0", "data_page_version": "1.0", "compression": "none"},
    "small pages": {"data_page_size": 64, "write_batch_size": 8, "dictionary_pagesize_limit": 64},
}


def a_table(rows: int) -> Any:
    """Readings with numbers, texts of many lengths, and columns that are here and there or all null."""
    rng = np.random.default_rng(rows)
    row = np.sort(rng.integers(0, 50, rows)).astype(np.int32)
    some = rng.random(rows) < 0.3
    some[: rows // 2] = True
    return pa.table(
        {
            "name": pa.array(["x" * int(n) for n in rng.integers(0, 300, rows)], pa.string()),
            "row": pa.array(row),
            "t": pa.array(T0 - 5 + rng.integers(-(10**9), 10**9, rows)),
            "x": pa.array(rng.normal(0, 1, rows), mask=some),
            "none": pa.nulls(rows, pa.float64()),
        }
    )


def opened(path: Path) -> Footer:
    """Its footer, gone through."""
    return Footer(pa.memory_map(str(path)), BOUNDED)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("groups", [0, 1, 14, 15, 16, 200])
def test_some_row_groups_read_as_from_the_whole_footer(tmp_path: Path, groups: int, encoding: str) -> None:
    """Rows, bounds and every value, nulls too, for lists of row groups in Thrift's short and long form."""
    table, path = a_table(7 * groups), tmp_path / "a.parquet"
    with pq.ParquetWriter(path, table.schema, **ENCODINGS[encoding]) as writer:
        if groups:
            writer.write_table(table, row_group_size=7)
    whole = pq.ParquetFile(path)
    meta, footer = whole.metadata, opened(path)
    assert meta.num_row_groups == groups
    assert footer.lengths == [meta.row_group(g).num_rows for g in range(groups)]
    for name, bounds in zip(BOUNDED, footer.bounds, strict=True):
        told = [meta.row_group(g).column(table.schema.get_field_index(name)).statistics for g in range(groups)]
        assert bounds.tolist() == [[each.min, each.max] for each in told]
    everything = footer.file(range(groups))
    assert everything.metadata.equals(meta)
    assert everything.schema_arrow.equals(whole.schema_arrow, check_metadata=True)
    rng = random.Random(groups)
    for count in {0, 1, 15, groups} & set(range(groups + 1)):
        chosen = sorted(rng.sample(range(groups), count))
        assert footer.file(chosen).read_row_groups(range(count)).equals(whole.read_row_groups(chosen))


def test_row_groups_of_more_shapes_than_are_remembered(tmp_path: Path) -> None:
    """Texts of other lengths in the statistics of each row group: each is understood."""
    path, count = tmp_path / "a.parquet", 4 * SHAPES
    table = pa.table(
        {"row": pa.array(range(count), pa.int32()), "t": range(count), "text": [str(10**n) for n in range(count)]}
    )
    pq.write_table(table, path, row_group_size=1, write_statistics=True)
    footer = opened(path)
    assert footer.bounds[0].tolist() == [[n, n] for n in range(count)]
    assert footer.file([count - 1, 3]).read().column("t").to_pylist() == [count - 1, 3]


def test_damaged_footers_are_named_and_nothing_worse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut anywhere, or any byte of the footer another: the file opens or is StoreBroken."""
    path, broken = tmp_path / "a.parquet", tmp_path / "b.parquet"
    one_file(path, 3, 2, monkeypatch)
    raw = path.read_bytes()
    footer = 8 + int.from_bytes(raw[-8:-4], "little")
    rng = random.Random(5)
    for _ in range(400):
        at = len(raw) - rng.randrange(footer) - 1
        broken.write_bytes(raw[:at] + rng.randbytes(1) + raw[at + 1 :])
        try:
            Reader(broken)
        except StoreBroken as error:
            assert error.file == "b.parquet"  # noqa: PT017
        broken.write_bytes(raw[:at])
        with pytest.raises(StoreBroken):
            Reader(broken)
    for nonsense in (b"", b"PAR1", b"\x19" * 3000 + (3000).to_bytes(4, "little") + b"PAR1"):
        broken.write_bytes(nonsense)
        with pytest.raises(StoreBroken):
            Reader(broken)


def test_a_file_without_bounds_is_broken(tmp_path: Path) -> None:
    """Row groups that do not tell their devices and times cannot be found: said as of a damaged file."""
    pq.write_table(a_table(50), tmp_path / "a.parquet", write_statistics=False)
    with pytest.raises(StoreBroken, match="bounds"):
        Reader(tmp_path / "a.parquet")
