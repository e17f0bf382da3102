"""Sealing: hot tables become sealed files hourly, files of a day that is over become few, and the day is rolled up.

Off the appending thread; only the exchange in the catalogue holds appends back.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence

import duckdb

from twin.errors import StoreBroken, TwinError
from twin.records import Columns
from twin.store import shape
from twin.store.hot import File, Hot, Segment
from twin.store.protocol import DAY_MS, Rows
from twin.store.rollup import STEP_MS, write_rollup
from twin.store.sealed import Inexact, bucket_for, sync_folder, write_file
from twin.store.shelf import Shelf

LOG = logging.getLogger(__name__)

SPANS_MS = (DAY_MS, 28 * DAY_MS, 10**15)
MAX_PARTS = 40  # more days than this in one segment (a recording at full speed) go into longer partitions
MAX_FILE_ROWS = 16_000_000
MERGE_LEAST = 4
PIECE_ROWS = 25_000  # of a hot table in memory at once; fewer cost more scans


class Sealer:
    """The sealing thread of one embedded store, and its work. `error`: why the last round failed, or ''."""

    def __init__(self, hot: Hot, shelf: Shelf, rows: Rows) -> None:
        self._hot = hot
        self._shelf = shelf
        self._rows = rows
        self._scales: dict[tuple[str, str], int | None] = {}
        self._pending = 0
        self._seal_rows = 0
        self._wake = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._work_lock = threading.Lock()
        self.error = ""
        self.lost: set[str] = set()  # files that cannot be read: left out of all work
        shelf.folder.mkdir(parents=True, exist_ok=True)

    def start(self, every_s: float, rows: int) -> None:
        """Work every `every_s` seconds, and sooner when `rows` more have come."""
        self._seal_rows = rows
        self._thread = threading.Thread(target=self._run, args=(every_s,), name="store-seal", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the file that it is writing."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join()

    def note(self, rows: int) -> None:
        """Tell that rows were appended."""
        with self._wake:
            self._pending += rows
            if self._seal_rows and self._pending >= self._seal_rows:
                self._wake.notify_all()

    def tidy(self) -> None:
        """Delete files that the catalogue does not name: a crash left them between writing and naming.

        Files that are newer than the catalogue are no such thing: it was lost or is an older copy, and what they hold
        is nowhere else. Raises StoreBroken where it was lost; beside an older one they are put aside, which is said.
        """
        known = {file.name for file in self._hot.view.files}
        unknown = [path for path in self._shelf.folder.iterdir() if path.name not in known and path.is_file()]
        last = self._hot.last_name()
        newer = [path for path in unknown if path.suffix == ".parquet" and _number(path.name) > last]
        if newer and not self._hot.view.files and not last:
            raise StoreBroken(
                f"{self._shelf.folder.parent}: the catalogue (hot.duckdb) is gone, and {len(newer)} sealed files are "
                "there: restore the store from a backup (citywhistle store restore), or move this folder away to begin "
                "a new one"
            )
        for path in newer:
            (aside := self._shelf.folder.parent / "stray").mkdir(exist_ok=True)
            path.replace(aside / path.name)
            LOG.warning("%s is newer than the store's catalogue, an older copy: it lies in %s now", path.name, aside)
        for path in unknown:
            path.unlink(missing_ok=True)

    def work(self, least_rows: int, *, compact: bool = True) -> None:
        """One round: seal what is large enough, then compact and roll up days that are over."""
        with self._work_lock:
            for segment in self._hot.rotate(least_rows):
                self._seal(segment)
            if compact:
                self._compact()

    def _run(self, every_s: float) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._stopping or self._pending >= self._seal_rows, every_s)
                if self._stopping:
                    return
                self._pending = 0
            try:
                self.work(least_rows=1)
                self.error = ""
            except (TwinError, duckdb.Error, OSError) as error:
                self.error = str(error)  # shown by info(); the hot tables still hold everything

    def _seal(self, segment: Segment) -> None:
        with self._hot.cursor() as cursor:
            names = self._hot.quantities(segment, cursor)
            days: list[tuple[int, int, int, int]] = cursor.execute(
                f"SELECT t // {DAY_MS}, count(*), min(t), max(t) FROM {segment.table} GROUP BY 1 ORDER BY 1"  # noqa: S608
            ).fetchall()
        last = self._hot.last_row(segment)
        span = next(s for s in SPANS_MS if len({day * DAY_MS // s for day, *_ in days}) <= MAX_PARTS)
        parts: dict[int, list[tuple[int, int, int, int]]] = {}
        for day in days:
            parts.setdefault(day[0] * DAY_MS // span, []).append(day)
        made: list[File] = []
        for part in parts.values():
            count, start, end = sum(d[1] for d in part), min(d[2] for d in part), max(d[3] for d in part)
            bucket = bucket_for(count, end - start + 1)
            with self._hot.cursor() as cursor:
                found = cursor.execute(
                    f"SELECT DISTINCT t // {bucket} AS b FROM {segment.table} WHERE t BETWEEN ? AND ? ORDER BY b",  # noqa: S608
                    [start, end],
                ).fetchall()
            buckets = [b for (b,) in found]

            wide = _wide(last, count, len(buckets))

            def chunks(
                buckets: Sequence[int] = buckets, bucket: int = bucket, start: int = start, end: int = end,
                wide: int = wide,
            ) -> Iterator[Columns]:  # fmt: skip
                for b in buckets:
                    low, high, row = max(start, b * bucket), min(end + 1, (b + 1) * bucket), 0
                    while row <= last:
                        yield self._hot.read(segment, names, low, high, rows=(row, row + wide))
                        row += wide

            made.append(self._write(segment.kind, span, names, bucket, chunks))
        self._publish(made)
        self._hot.exchange(made, segment=segment)

    def _write(
        self, kind: str, span: int, names: Sequence[str], bucket: int, chunks: Callable[[], Iterator[Columns]]
    ) -> File:
        """One sealed file; written anew where the decimal places learned so far do not hold for it."""
        while True:
            name = f"{kind}-{self._hot.new_name():08d}.parquet"
            scales = {q: self._scales.get((kind, q), 0) for q in names}
            try:
                written = write_file(
                    self._shelf.folder / name, kind, chunks(), scales, bucket, lambda row: self._rows.device(kind, row)
                )
            except Inexact as error:
                self._scales |= {(kind, name): places for name, places in error.places.items()}
                continue
            size = (written.start_ms, written.end_ms, written.rows, written.bytes)
            return File(name, kind, "raw", span, *size, bucket_ms=bucket)

    def _compact(self) -> None:
        files = [file for file in self._hot.view.files if file.name not in self.lost]
        covered = {part for file in files if file.level == "rollup" for part in file.parts}
        newest = {kind: max(f.end_ms for f in files if f.kind == kind) for kind in {f.kind for f in files}}
        partitions: dict[tuple[str, int, int], list[File]] = {}
        for file in files:
            over = file.start_ms // file.span_ms < newest[file.kind] // file.span_ms
            if file.level == "raw" and over and file.name not in covered:
                partitions.setdefault((file.kind, file.span_ms, file.start_ms // file.span_ms), []).append(file)
        rolled = {(f.kind, f.span_ms, f.start_ms // f.span_ms) for f in files if f.level == "rollup"}
        for key, members in partitions.items():
            left = members
            while few := mergeable(left):
                left = [f for f in left if f not in few] + [self._merge(few)]
            if key not in rolled or len(left) >= MERGE_LEAST:
                self._roll_up(left)

    def _merge(self, files: Sequence[File]) -> File:
        readers = [self._shelf.reader(file.name) for file in files]
        names = list(dict.fromkeys(name for reader in readers for name in reader.scales))
        start, end = min(f.start_ms for f in files), max(f.end_ms for f in files)
        bucket = bucket_for(sum(f.rows for f in files), end - start + 1)
        for reader in readers:
            for quantity, places in reader.scales.items():
                known = self._scales.get((files[0].kind, quantity), 0)
                both = None if known is None or places is None else max(known, places)
                self._scales[files[0].kind, quantity] = both

        buckets = sorted({b for reader in readers for b in reader.buckets(bucket)})
        last = max(reader.last_row for reader in readers)
        wide = _wide(last, sum(f.rows for f in files), len(buckets))

        def chunks() -> Iterator[Columns]:
            for b in buckets:
                for row in range(0, last + 1, wide):
                    parts = [
                        part
                        for reader in readers
                        for part in reader.pieces(names, b * bucket, (b + 1) * bucket, (row, row + wide))
                    ]
                    if parts:
                        yield shape.join(parts)

        made = self._write(files[0].kind, files[0].span_ms, names, bucket, chunks)
        self._publish([made])
        self._hot.exchange([made], gone=files)
        self._shelf.drop(file.name for file in files)
        return made

    def _roll_up(self, files: Sequence[File]) -> None:
        kind = files[0].kind
        name = f"{kind}-{self._hot.new_name():08d}.rollup.parquet"
        path = self._shelf.folder / name
        aside = path.with_name(name + ".new")
        rows = write_rollup(aside, [self._shelf.reader(file.name) for file in files], self._hot.view.floor(kind))
        with aside.open("rb") as done:
            os.fsync(done.fileno())
        aside.replace(path)
        sync_folder(self._shelf.folder)
        start, end = min(f.start_ms for f in files), max(f.end_ms for f in files)
        parts = tuple(file.name for file in files)
        size = path.stat().st_size
        made = File(name, kind, "rollup", files[0].span_ms, start, end, rows, size, STEP_MS, parts)
        self._hot.exchange([made])

    def _publish(self, files: Sequence[File]) -> None:
        if files:
            sync_folder(self._shelf.folder)


def _wide(last: int, count: int, buckets: int) -> int:
    """How many rows of 0..last are some PIECE_ROWS readings in a bucket, where `count` are spread evenly."""
    return last // max(1, round(count / max(1, buckets) / PIECE_ROWS)) + 1


def _number(name: str) -> int:
    """The number in a file's name (kind-00000042.parquet); 0 in a name that is not ours."""
    digits = name.partition(".")[0].rpartition("-")[2]
    return int(digits) if digits.isdecimal() else 0


def mergeable(files: Sequence[File]) -> list[File]:
    """The files worth merging into one: at least MERGE_LEAST, and at most MAX_FILE_ROWS rows.

    A day's large file is not written again for the sake of a few late rows: none is much larger than the others.
    """
    chosen: list[File] = []
    total = 0
    for file in sorted(files, key=lambda f: (f.rows, f.name)):
        if total + file.rows > MAX_FILE_ROWS or (len(chosen) >= MERGE_LEAST and file.rows > 8 * total):
            break
        chosen.append(file)
        total += file.rows
    return chosen if len(chosen) >= MERGE_LEAST else []
