"""Reading sealed files: many open ones take little memory, and no answer depends on how much is read at once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_array_equal

from tests.contracts.readings import T0
from tests.twin.store.files import BUCKET_MS, one_file
from twin.store import shelf as shelves
from twin.store.footer import Decoded, Footer
from twin.store.shape import join, last_known
from twin.store.shelf import Reader, Shelf

MEMORY = """
import sys
from pathlib import Path
from twin.store.shelf import Shelf

def anonymous():
    with open("/proc/self/smaps_rollup") as told:
        return next(int(line.split()[1]) for line in told if line.startswith("Anonymous:")) << 10

shelf, before = Shelf(Path(sys.argv[1])), 0
for name in sorted(path.name for path in shelf.folder.iterdir()):
    reader = shelf.reader(name)
    low, high = reader.span()
    for row in range(2):
        assert len(reader.read(["q1"], low, high + 1, row)) == 5000
    before = before or anonymous()
print(anonymous() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_many_open_files_take_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """60 more open files of 100 row groups and 27 columns, all asked: what Arrow keeps of whole footers is 130 MB."""
    (folder := tmp_path / "sealed").mkdir()
    one_file(folder / "pole-000.parquet", 100, 20, monkeypatch)
    for i in range(1, 61):
        shutil.copyfile(folder / "pole-000.parquet", folder / f"pole-{i:03d}.parquet")
    grown = int(subprocess.check_output([sys.executable, "-c", MEMORY, str(folder)]))
    assert grown < 40 << 20


def test_what_is_asked_again_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question's row groups stay decoded up to a bound, and go with their file."""
    names = [f"pole-{i}.parquet" for i in range(4)]
    one_file(tmp_path / names[0], 20, 3, monkeypatch)
    for name in names[1:]:
        shutil.copyfile(tmp_path / names[0], tmp_path / name)
    decoded: list[int] = []
    file = Footer.file

    def counted(footer: Footer, groups: Sequence[int]) -> Any:
        decoded.append(len(groups))
        return file(footer, groups)

    monkeypatch.setattr(Footer, "file", counted)
    bound = 2 * 10 * 21  # two files' row groups and head
    shelf = Shelf(tmp_path)
    shelf.decoded = Decoded(bound)
    for name in names:
        reader = shelf.reader(name)
        for quantity in ("q0", "q1", "q0"):
            assert len(reader.read([quantity], *all_of(reader), 3)) == 1000
        assert 0 < shelf.decoded.held <= bound
    assert decoded == [0, 20] * 4
    reader.read(["q2"], *all_of(reader), 3)
    assert len(decoded) == 8
    shelf.drop(names)
    assert shelf.decoded.held == 0
    assert len(reader.read(["q2"], *all_of(reader), 3)) == 1000  # who still has it can read on
    assert shelf.decoded.held == 0


def test_the_row_groups_asked_for_last_stay_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two of three have room, the one that was not asked for again goes."""
    one_file(tmp_path / "pole.parquet", 3, 1, monkeypatch)
    footer, decoded = Reader(tmp_path / "pole.parquet")._footer, Decoded(2 * 8 * 2)
    first, second, _ = (decoded.file(footer, [group]) for group in (0, 1, 0))
    decoded.file(footer, [2])
    assert decoded.file(footer, [0]) is first
    assert decoded.file(footer, [1]) is not second


def test_a_shelf_closes_what_was_used_least_recently(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond its limit a reader goes with all that was decoded for it."""
    for i in range(3):
        one_file(tmp_path / f"pole-{i}.parquet", 2, 1, monkeypatch)
    shelf = Shelf(tmp_path, limit=2)
    first = shelf.reader("pole-0.parquet")
    first.read(["q0"], *all_of(first), 3)
    held = shelf.decoded.held
    assert held > 0
    second = shelf.reader("pole-1.parquet")
    second.read(["q0"], *all_of(second), 3)
    shelf.reader("pole-2.parquet")
    assert shelf.decoded.held == held
    assert shelf.reader("pole-1.parquet") is second
    assert shelf.reader("pole-0.parquet") is not first


@pytest.mark.parametrize("rows", [1, 150, 700, 10**9])
def test_no_answer_depends_on_how_much_is_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """One device, all of them, the last word of each: as Arrow reads the whole file, for lots of any size."""
    path, names = tmp_path / "pole.parquet", ["q0", "q1", "q4"]
    one_file(path, 6, 5, monkeypatch, group_rows=70)
    table = pq.read_table(path)
    monkeypatch.setattr(shelves, "LOT_ROWS", rows)
    monkeypatch.setattr(shelves, "AT_ONCE", rows)
    reader = Reader(path)
    start, end = T0 + 20_000, T0 + 5 * BUCKET_MS - 10_000
    inside = (table.column("t").to_numpy() >= start) & (table.column("t").to_numpy() < end)
    of_three = inside & (table.column("row").to_numpy() == 3)
    for which, columns in (
        (inside, reader.read(names, start, end)),
        (inside, join(list(reader.pieces(names, start, end, (0, 10))))),
        (of_three, reader.read(names, start, end, 3)),
    ):
        for name in ("row", "t", "boot", "seq"):
            assert_array_equal(getattr(columns, name), table.column(name).to_numpy()[which])
        for name in names:
            assert_array_equal(columns.values[name], table.column(f"q.{name}").to_numpy()[which])
    plain = reader.read_plain(["row", "t", "seq"], start, end, 3)
    assert_array_equal(plain["seq"], table.column("seq").to_numpy()[of_three])
    told, said = last_known(reader.newest(start, end)), last_known(reader.read(list(reader.scales), start, end))
    assert_array_equal(told.row, said.row)
    assert_array_equal(told.t, said.t)
    for name, values in said.values.items():
        assert_array_equal(told.values[name], values)


def all_of(reader: Reader) -> tuple[int, int]:
    """From its first reading to behind its last."""
    first, last = reader.span()
    return first, last + 1


def test_questions_at_once_do_not_forget_what_another_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one has learned of some row groups is dropped by another while the first reads the rest: it answers."""
    one_file(tmp_path / "pole.parquet", 6, 1, monkeypatch)
    reader = Reader(tmp_path / "pole.parquet")
    assert len(reader.read(["q0"], T0, T0 + 3 * BUCKET_MS, 3)) == 150
    table = Reader._table

    def meanwhile(self: Reader, *given: Any, **options: Any) -> Any:
        monkeypatch.setattr(Reader, "_table", table)
        monkeypatch.setattr(shelves, "KNOWN_GROUPS", 1)
        assert len(self.read(["q0"], T0 + 5 * BUCKET_MS, T0 + 6 * BUCKET_MS, 3)) == 50
        return table(self, *given, **options)

    monkeypatch.setattr(Reader, "_table", meanwhile)
    assert len(reader.read(["q0"], T0, T0 + 5 * BUCKET_MS, 3)) == 250
