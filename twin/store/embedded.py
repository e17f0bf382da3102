"""The embedded store: DuckDB for the last hour, sealed Parquet for the rest, nothing to install, nothing to run.

Law of the room: a reading is at every moment in exactly one hot table or one sealed file, and the catalogue (in DuckDB)
says which; files are written and synced before the catalogue names them and deleted after it forgets them. Sealing,
compaction and roll-ups (twin/store/seal.py) hold appends back only for the change of catalogue.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import numpy as np

from devices.kinds import KINDS
from twin.errors import StoreBroken
from twin.records import F64, I64, Batch, Columns
from twin.store import shape
from twin.store.hot import NEVER, File, Hot, View
from twin.store.protocol import Buckets, Rows, Snapshot, look_back_ms, no_readings
from twin.store.rollup import STEP_MS, read_rollup
from twin.store.seal import Sealer
from twin.store.shelf import Reader, Shelf
from twin.store.skipped import SKIPPED

LOG = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class EmbeddedStore:
    """The store in `folder`, for this process alone. Raises StoreBroken, StoreDown."""

    name = "embedded"

    def __init__(
        self,
        folder: Path,
        rows: Rows,
        *,
        journal: str = "",
        memory_bytes: int = 64 << 20,
        threads: int = 2,
        seal_every_s: float | None = 3600.0,
        seal_rows: int = 2_000_000,
    ) -> None:
        """Open or make it. `journal`: id of the journal that feeds it; `seal_every_s` None: only `seal()` seals."""
        folder.mkdir(parents=True, exist_ok=True)
        self.journal = journal
        self._hot = Hot(folder / "hot.duckdb", journal=journal, memory_bytes=memory_bytes, threads=threads)
        self._shelf = Shelf(folder / "sealed")
        self._rows = rows
        self._newest: dict[str, shape.Newest] = {}
        self._newest_lock = threading.Lock()
        self._sealer = Sealer(self._hot, self._shelf, rows)
        try:
            self._sealer.tidy()
        except BaseException:
            self._hot.close()
            raise
        for file in self._hot.view.files:
            path = self._shelf.folder / file.name
            if not path.is_file() or path.stat().st_size != file.bytes:
                self._lose(file.name, "it is gone" if not path.is_file() else "it is not as long as it was written")
        self._position = self._hot.position()
        if seal_every_s is not None:
            self._sealer.start(seal_every_s, seal_rows)

    def append(self, n: int, batch: Batch) -> None:
        """Keep the readings of journal entry `n`, once."""
        self.append_many([(n, batch)])

    def append_many(self, entries: Sequence[tuple[int, Batch]]) -> None:
        """Keep several entries in one transaction with the position."""
        fresh = [(n, batch) for n, batch in entries if n > self._position]
        if not fresh:
            return
        kinds: dict[str, list[Columns]] = {}
        for _, batch in fresh:
            for columns in batch.columns:
                kinds.setdefault(columns.kind, []).append(columns)
        parts = [shape.join(columns) for columns in kinds.values()]
        self._hot.append(parts, fresh[-1][0])
        self._position = fresh[-1][0]
        with self._newest_lock:
            for columns in parts:
                if columns.kind in self._newest:
                    self._newest[columns.kind].learn(columns)
        self._sealer.note(sum(map(len, parts)))

    def position(self) -> int:
        """The last entry kept; it is as durable as its rows."""
        return self._position

    def range(self, kind: str, row: int, quantity: str, start_ms: int, end_ms: int) -> tuple[I64, F64]:
        """Event times and values of one device, in the order (t, boot, seq)."""

        def look(view: View, *, whole: bool = False) -> tuple[I64, F64]:
            parts = self._parts(view, kind, [quantity], start_ms, end_ms, row, whole=whole)
            parts = [shape.take(part, ~np.isnan(part.values[quantity])) for part in parts if quantity in part.values]
            if not parts:
                return no_readings()
            found = shape.join(parts)
            if not bool((found.t[1:] > found.t[:-1]).all()):
                found = shape.take(found, shape.order(found))
                if not whole and bool((found.t[1:] == found.t[:-1]).any()):
                    return look(view, whole=True)  # equal times stand in the order of boot and seq
            return found.t, found.values[quantity]

        return self._steady(look)

    def downsample(self, kind: str, row: int, quantity: str, start_ms: int, end_ms: int, bucket_ms: int) -> Buckets:
        """The series in steps; from roll-ups where steps and range allow it, else from readings."""
        aligned = bucket_ms % STEP_MS == 0 and start_ms % STEP_MS == 0 and end_ms % STEP_MS == 0

        def look(view: View) -> Buckets:
            low = max(start_ms, view.floor(kind, "rollup"))
            rollups = [f for f in _within(view, kind, "rollup", low, end_ms) if aligned]
            covered = {name for rollup in rollups for name in rollup.parts}
            steps = []
            for part in self._parts(view, kind, [quantity], start_ms, end_ms, row, covered, whole=False):
                if quantity in part.values:
                    there = ~np.isnan(part.values[quantity])
                    steps.append(shape.downsample(part.t[there], part.values[quantity][there], bucket_ms))
            for rollup in rollups:
                told = read_rollup(self._shelf.reader(rollup.name), row, quantity, low, end_ms)
                steps.append(shape.coarser(told, bucket_ms))
            return shape.merge(steps) if steps else shape.downsample(*no_readings(), bucket_ms)

        return self._steady(look)

    def latest(self, kind: str) -> Snapshot:
        """The newest values of every device, from memory; the first call for a kind reads the hot tables."""
        with self._newest_lock:
            if kind not in self._newest:
                with self._hot.write_lock:  # no append may slip in between reading and learning
                    self._newest[kind] = self._steady(lambda view: self._learn(view, kind))
            return self._newest[kind].told()

    def snapshot(self, kind: str, t_ms: int, within_ms: int | None = None) -> Snapshot:
        """Every device as it was known at `t_ms`."""
        start = t_ms + 1 - look_back_ms(kind, within_ms)

        def look(view: View) -> Snapshot:
            parts = self._parts(view, kind, None, start, t_ms + 1, None, newest=True)
            return shape.last_known(shape.join(parts) if parts else shape.empty(kind))

        return self._steady(look)

    def prune(self, before_ms: int, kind: str | None = None) -> None:
        """Forget readings at once for queries; files go when all that they hold is older. Roll-ups stay."""
        view = self._hot.view
        kinds = {kind} if kind is not None else {s.kind for s in view.segments} | {f.kind for f in view.files}
        for each in sorted(kinds):
            self._prune(before_ms, each, "raw")
            with self._newest_lock:
                if each in self._newest:
                    self._newest[each].forget(before_ms)

    def prune_rollups(self, before_ms: int) -> None:
        """Forget steps of roll-ups at once for queries; files go when all that they hold is older."""
        for kind in sorted({f.kind for f in self._hot.view.files if f.level == "rollup"}):
            self._prune(before_ms, kind, "rollup")

    def _prune(self, before_ms: int, kind: str, level: str) -> None:
        self._hot.prune(before_ms, kind, level)
        gone = [f for f in self._hot.view.files if (f.kind, f.level) == (kind, level) and f.end_ms < before_ms]
        if gone:
            self._hot.exchange([], gone=gone)
            self._shelf.drop(f.name for f in gone)

    def export(self, kind: str, start_ms: int, end_ms: int) -> list[Columns]:
        """All readings of a kind in a span, source by source, whole but unsorted: for export and back-testing."""
        return self._steady(lambda view: self._parts(view, kind, None, start_ms, end_ms, None))

    def span(self, kind: str) -> tuple[int, int]:
        """Event times of the first and the last reading of a kind; (0, -1) where there is none."""

        def look(view: View) -> tuple[int, int]:
            spans = [(f.start_ms, f.end_ms) for f in view.files if (f.kind, f.level) == (kind, "raw")]
            spans += [self._hot.span(s) for s in view.segments if s.kind == kind]
            spans = [(max(start, view.floor(kind)), end) for start, end in spans if end >= view.floor(kind)]
            return (min(s for s, _ in spans), max(e for _, e in spans)) if spans else (0, -1)

        return self._steady(look)

    def quantities(self, kind: str) -> list[str]:
        """Every quantity of a kind that was ever kept, in the order of the kind's table where it has one."""

        def look(view: View) -> list[str]:
            files = [f for f in view.files if (f.kind, f.level) == (kind, "raw")]
            found = {name for file in files for name in self._shelf.reader(file.name).scales}
            with self._hot.cursor() as cursor:
                for segment in view.segments:
                    if segment.kind == kind:
                        found.update(self._hot.quantities(segment, cursor))
            known = [q.name for q in KINDS[kind].quantities] if kind in KINDS else []
            return [name for name in known if name in found] + sorted(found.difference(known))

        return self._steady(look)

    @property
    def unreadable(self) -> list[str]:
        """Sealed files that are gone or damaged; what they held is left out of every answer."""
        return sorted(self._sealer.lost & {file.name for file in self._hot.view.files})

    def seal(self, *, compact: bool = True) -> None:
        """Seal everything now; compact and roll up the days that are over."""
        self._sealer.work(least_rows=1, compact=compact)

    def copy_to(self, folder: Path) -> dict[str, int]:
        """Copy everything into an empty folder, as of one moment; sizes in bytes by name. Appends wait for it.

        Sealed files become links where the disk can, for they never change. Raises StoreDown, OSError.
        """
        (folder / "sealed").mkdir()
        with self._hot.write_lock:
            self._hot.copy_to(folder / "hot.duckdb")
            for file in self._hot.view.files:
                source, target = self._shelf.folder / file.name, folder / "sealed" / file.name
                try:
                    target.hardlink_to(source)
                except OSError:
                    shutil.copyfile(source, target)
            if (note := self._shelf.folder.parent / SKIPPED).is_file():
                shutil.copyfile(note, folder / SKIPPED)
        return {str(p.relative_to(folder)): p.stat().st_size for p in sorted(folder.rglob("*")) if p.is_file()}

    def info(self) -> Mapping[str, Any]:
        """For people."""
        files = self._hot.view.files
        return {
            "backend": self.name,
            "duckdb": duckdb.__version__,
            "position": self._position,
            "files": len(files),
            "sealed_rows": sum(f.rows for f in files if f.level == "raw"),
            "sealed_bytes": sum(f.bytes for f in files if f.level == "raw"),
            "rollup_bytes": sum(f.bytes for f in files if f.level == "rollup"),
            "hot_rows": self._steady(self._hot.count),
            "sealing_error": self._sealer.error,
            "unreadable": self.unreadable,
            "cannot_keep": [],
        }

    def close(self) -> None:
        """Stop sealing and close the file."""
        self._sealer.stop()
        self._shelf.close()
        self._hot.close()

    def _parts(
        self,
        view: View,
        kind: str,
        quantities: Sequence[str] | None,
        start_ms: int,
        end_ms: int,
        row: int | None,
        covered: Collection[str] = (),
        *,
        whole: bool = True,
        newest: bool = False,
    ) -> list[Columns]:
        """Readings from every source that may hold some; quantities None: all; `covered` names files to leave out.

        Without `whole` sealed files may leave out what orders equal times; with `newest` all but the last readings.
        """
        start_ms = max(start_ms, view.floor(kind))
        hot = [segment for segment in view.segments if segment.kind == kind]
        found = [self._hot.read(segment, quantities, start_ms, end_ms, row) for segment in hot]
        files = _within(view, kind, "raw", start_ms, end_ms)

        def read(reader: Reader) -> Columns:
            names = quantities if quantities is not None else list(reader.scales)
            return reader.read(names, start_ms, end_ms, row, whole=whole, threads=len(files) == 1)

        alone = len(files) == 1 and not any(map(len, found))
        files = [file for file in files if file.name not in covered]
        if newest:
            for file in files:
                reader = self._shelf.reader(file.name)
                found.append(reader.newest(max(start_ms, file.start_ms), end_ms, whole=not alone))
        elif row is not None:
            found += self._shelf.each([file.name for file in files], read)
        else:
            found += [read(self._shelf.reader(file.name)) for file in files]
        return [part for part in found if len(part)]

    def _learn(self, view: View, kind: str) -> shape.Newest:
        # Hot tables hold who spoke in the last hour; the end of the newest sealed file adds who spoke before.
        newest = shape.Newest.start(kind)
        files = [f for f in view.files if (f.kind, f.level) == (kind, "raw")]
        for file in sorted(files, key=lambda f: f.end_ms)[-1:]:
            reader = self._shelf.reader(file.name)
            newest.learn(reader.read(list(reader.scales), file.end_ms - 10 * look_back_ms(kind, None), -NEVER))
        for segment in view.segments:
            if segment.kind == kind:
                for columns in self._hot.newest(segment):
                    newest.learn(columns)
        newest.forget(view.floor(kind))
        return newest

    def _steady(self, look: Callable[[View], Answer]) -> Answer:
        """Ask again where a table or file was replaced by its successor between catalogue and reading."""
        tries = 0
        while True:
            view = self._hot.view
            if lost := self._sealer.lost:
                view = replace(view, files=tuple(file for file in view.files if file.name not in lost))
            tries += 1
            try:
                return look(view)
            except duckdb.CatalogException:
                if tries > 8:
                    raise
            except FileNotFoundError as error:
                if tries > 8:
                    self._lose(Path(error.filename).name, "it is gone")
            except StoreBroken as error:
                if not error.file or error.file in self._sealer.lost:
                    raise
                self._lose(error.file, str(error))
            with self._hot.write_lock:
                pass  # the exchange that took a file or table away ends with a new view

    def _lose(self, name: str, why: str) -> None:
        """A sealed file cannot be read: say so once, and answer without it."""
        self._sealer.lost.add(name)
        LOG.error("the sealed file %s cannot be read, its readings are missing in charts and exports: %s; restore it "
                  "from a backup into %s and start again", name, why, self._shelf.folder)  # fmt: skip


def _within(view: View, kind: str, level: str, start_ms: int, end_ms: int) -> list[File]:
    return [
        f for f in view.files if (f.kind, f.level) == (kind, level) and f.start_ms < end_ms and f.end_ms >= start_ms
    ]
