"""The hot part of the embedded store: DuckDB tables of the last hour or so, one wide table a kind and segment.

Rows and the number of their journal entry are one transaction. A table has a column for each quantity that occurred in
its segment (a missing value is NULL): measured, a wide row costs a quarter of one row a value, and columns that nobody
says would still be written to the log. A full segment is sealed into Parquet and its table dropped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from twin.errors import StoreBroken, StoreDown
from twin.records import Columns
from twin.store.shape import INTEGERS

SCHEMA = 2
NEVER = -(2**62)
TYPES = {
    "row": "INTEGER", "t": "BIGINT", "boot": "BIGINT", "seq": "BIGINT", "arrived": "BIGINT", "flags": "UTINYINT",
}  # fmt: skip
DTYPES = {"row": np.int32, "t": np.int64, "boot": np.int64, "seq": np.int64, "arrived": np.int64, "flags": np.uint8}


def _levels(cursor: duckdb.DuckDBPyConnection) -> None:
    """1 to 2: what is pruned is remembered by level, too; until then roll-ups were kept for ever."""
    cursor.execute("ALTER TABLE pruned ADD COLUMN level VARCHAR DEFAULT 'raw'")


# From schema n to n + 1. A backup of the file is made before the first step; see docs/store.md.
MIGRATIONS: dict[int, Callable[[duckdb.DuckDBPyConnection], None]] = {1: _levels}


@dataclass(frozen=True, slots=True)
class Segment:
    """One hot table. `open`: still appended to."""

    id: int
    kind: str
    open: bool

    @property
    def table(self) -> str:
        """Its name in DuckDB."""
        return f"hot_{self.id}"


@dataclass(frozen=True, slots=True)
class File:
    """One sealed file of the catalogue; start_ms and end_ms are the event times of its first and last reading."""

    name: str
    kind: str
    level: str  # "raw" | "rollup"
    span_ms: int  # length of the partition of event time that it belongs to
    start_ms: int
    end_ms: int
    rows: int
    bytes: int
    bucket_ms: int
    parts: tuple[str, ...] = ()  # of a roll-up: the raw files that it was made of


@dataclass(frozen=True, slots=True)
class View:
    """The catalogue at one moment: every reading is in exactly one of these. `floors`: by kind and level, what is
    pruned."""

    segments: tuple[Segment, ...]
    files: tuple[File, ...]
    floors: Mapping[tuple[str, str], int]

    def floor(self, kind: str, level: str = "raw") -> int:
        """Readings (or steps of roll-ups) of a kind older than this are pruned."""
        return self.floors.get((kind, level), NEVER)


class Hot:
    """The DuckDB file: hot tables, the catalogue of sealed files, the position. Raises StoreBroken, StoreDown."""

    def __init__(self, path: Path, *, journal: str, memory_bytes: int, threads: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        config: dict[str, str | bool | int | float | list[str]] = {
            "threads": threads,
            "memory_limit": f"{memory_bytes // 1_000_000}MB",
            "temp_directory": str(path.parent / "spill"),
            "preserve_insertion_order": False,
        }
        self._path = path
        self._journal = journal
        self.write_lock = threading.RLock()  # held by whoever changes tables or catalogue
        try:
            self._link = duckdb.connect(str(path), config=config)
        except duckdb.IOException as error:
            if "lock" in str(error):
                raise StoreDown(f"the store {path} is open in another process: {error}") from error
            raise StoreBroken(f"the store {path} cannot be opened: {error}; restore it from a backup") from error
        except duckdb.Error as error:
            raise StoreBroken(f"the store {path} cannot be opened: {error}; restore it from a backup") from error
        self.view = View((), (), {})
        try:
            self._prepare()
            self._refresh()
        except BaseException as error:
            self._link.close()
            if isinstance(error, StoreDown | duckdb.Error) and "No space" not in str(error):
                raise StoreBroken(
                    f"the store {path} cannot be read: {error.__cause__ or error}; restore it from a backup, or move "
                    "its folder away: the journal then fills in what it still holds"
                ) from error
            raise
        self._open: dict[str, tuple[Segment, set[str]]] = {}  # by kind: the segment appended to, its quantities

    def position(self) -> int:
        """The number of the last entry of the journal kept."""
        with self.cursor() as cursor:
            found = cursor.execute("SELECT position FROM position WHERE journal = ?", [self._journal]).fetchone()
        return int(found[0]) if found else 0

    def append(self, parts: Sequence[Columns], position: int) -> None:
        """Keep readings (one Columns a kind) and the position in one durable transaction."""
        with self.write_lock, self.cursor() as cursor:
            try:
                with transaction(cursor):
                    for columns in parts:
                        if len(columns):
                            self._insert(cursor, columns)
                    cursor.execute("UPDATE position SET position = ? WHERE journal = ?", [position, self._journal])
                if any(segment not in self.view.segments for segment, _ in self._open.values()):
                    self._refresh()
            except BaseException:
                self._open.clear()
                raise

    def rotate(self, least_rows: int) -> list[Segment]:
        """Stop appending to every table with at least `least_rows`; the closed segments, ready to be sealed."""
        with self.write_lock, self.cursor() as cursor:
            self._open.clear()
            with transaction(cursor):
                for segment in self._open_segments(cursor):
                    counted = cursor.execute(f"SELECT count(*) FROM {segment.table}").fetchone()  # noqa: S608
                    if counted and counted[0] >= least_rows:
                        cursor.execute("UPDATE segment SET open = false WHERE id = ?", [segment.id])
            self._refresh()
        return [segment for segment in self.view.segments if not segment.open]

    def exchange(self, sealed: Sequence[File], *, segment: Segment | None = None, gone: Sequence[File] = ()) -> None:
        """Put files into the catalogue for a segment, or for other files, that they replace: all at once."""
        with self.write_lock, self.cursor() as cursor:
            with transaction(cursor):
                for file in sealed:
                    values = [file.name, file.kind, file.level, file.span_ms, file.start_ms, file.end_ms]
                    values += [file.rows, file.bytes, file.bucket_ms, list(file.parts)]
                    cursor.execute(f"INSERT INTO sealed VALUES ({', '.join('?' * len(values))})", values)  # noqa: S608
                for file in gone:
                    cursor.execute("DELETE FROM sealed WHERE name = ?", [file.name])
                if segment is not None:
                    cursor.execute(f"DROP TABLE {segment.table}")
                    cursor.execute("DELETE FROM segment WHERE id = ?", [segment.id])
            self._refresh()

    def prune(self, before_ms: int, kind: str, level: str = "raw") -> None:
        """Remember that readings (or steps of roll-ups) of a kind older than `before_ms` are gone."""
        with self.write_lock, self.cursor() as cursor:
            floor = max(before_ms, self.view.floor(kind, level))
            with transaction(cursor):
                cursor.execute("DELETE FROM pruned WHERE kind = ? AND level = ?", [kind, level])
                cursor.execute("INSERT INTO pruned (kind, before_ms, level) VALUES (?, ?, ?)", [kind, floor, level])
            self._refresh()

    def count(self, view: View) -> int:
        """Rows in the hot tables of a view. Raises duckdb.CatalogException where one has been sealed since."""
        total = 0
        with self.cursor() as cursor:
            for segment in view.segments:
                found = cursor.execute(f"SELECT count(*) FROM {segment.table}").fetchone()  # noqa: S608
                total += int(found[0]) if found else 0
        return total

    def span(self, segment: Segment) -> tuple[int, int]:
        """Event times of the first and last reading of a segment; (0, NEVER) of an empty one."""
        with self.cursor() as cursor:
            found = cursor.execute(f"SELECT min(t), max(t) FROM {segment.table}").fetchone()  # noqa: S608
        return (int(found[0]), int(found[1])) if found and found[0] is not None else (0, NEVER)

    def last_row(self, segment: Segment) -> int:
        """The highest row that a segment holds; -1 of an empty one."""
        with self.cursor() as cursor:
            found = cursor.execute(f"SELECT max(row) FROM {segment.table}").fetchone()  # noqa: S608
        return int(found[0]) if found and found[0] is not None else -1

    def new_name(self) -> int:
        """A number that no file of this store has or had."""
        with self.write_lock, self.cursor() as cursor:
            found = cursor.execute("SELECT nextval('names')").fetchone()
        assert found is not None
        return int(found[0])

    def last_name(self) -> int:
        """The last number that `new_name` gave; 0 before the first."""
        with self.cursor() as cursor:
            found = cursor.execute("SELECT last_value FROM duckdb_sequences() WHERE sequence_name = 'names'").fetchone()
        return int(found[0]) if found and found[0] is not None else 0

    def read(
        self,
        segment: Segment,
        quantities: Sequence[str] | None,
        start_ms: int,
        end_ms: int,
        row: int | None = None,
        rows: tuple[int, int] | None = None,
    ) -> Columns:
        """The readings of a segment with t in [start_ms, end_ms), all, of one device, or of those whose row is within
        [rows[0], rows[1]); in no order.

        `quantities` None: all that it holds. Raises duckdb.CatalogException where the segment has been sealed.
        """
        first, last = rows if rows is not None else (row, row + 1) if row is not None else (None, None)
        where = "t >= ? AND t < ?" + (" AND row >= ? AND row < ?" if first is not None else "")
        given = [start_ms, end_ms] + ([first, last] if first is not None else [])
        with self.cursor() as cursor:
            here = self.quantities(segment, cursor)
            names = here if quantities is None else [name for name in quantities if name in here]
            chosen = ", ".join(quoted(name) for name in (*INTEGERS, *names))
            found = cursor.execute(f"SELECT {chosen} FROM {segment.table} WHERE {where}", given).fetchnumpy()  # noqa: S608
        integers = {name: np.asarray(found.pop(name), DTYPES[name]) for name in INTEGERS}
        values = {name: _floats(found.pop(name)) for name in names}  # one after the other: a chunk is large
        return Columns(segment.kind, values=values, **integers)

    def newest(self, segment: Segment) -> Iterator[Columns]:
        """By quantity: the newest value of each device."""
        with self.cursor() as cursor:
            for name in self.quantities(segment, cursor):
                q = quoted(name)
                found = cursor.execute(
                    f"SELECT row, max(t) AS t, arg_max({q}, row(t, boot, seq)) AS v"  # noqa: S608
                    f" FROM {segment.table} WHERE {q} IS NOT NULL GROUP BY row"
                ).fetchnumpy()
                if len(found["row"]):
                    none = np.zeros(len(found["row"]), np.int64)
                    row, t = np.asarray(found["row"], np.int32), np.asarray(found["t"], np.int64)
                    values = {name: _floats(found["v"])}
                    yield Columns(segment.kind, row, t, none, none, none, none.astype(np.uint8), values)

    def quantities(self, segment: Segment, cursor: duckdb.DuckDBPyConnection) -> list[str]:
        """The quantities that a segment has columns for."""
        rows = cursor.execute("SELECT name FROM pragma_table_info(?)", [segment.table]).fetchall()
        if not rows:
            raise duckdb.CatalogException(f"{segment.table} is gone")
        return [name for (name,) in rows if name not in TYPES]

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of one's own, for one thread."""
        return self._link.cursor()

    def copy_to(self, path: Path) -> None:
        """Copy tables, catalogue and position into a new file. Raises StoreDown where the disk refuses."""
        with self.write_lock, self.cursor() as cursor:
            found = cursor.execute("SELECT current_database()").fetchone()
            assert found is not None
            try:
                cursor.execute(f"ATTACH '{str(path).replace(chr(39), chr(39) * 2)}' AS backup_copy")
                try:
                    cursor.execute(f"COPY FROM DATABASE {quoted(found[0])} TO backup_copy")
                finally:
                    cursor.execute("DETACH backup_copy")
            except duckdb.IOException as error:
                raise StoreDown(f"the embedded store cannot be copied to {path}: {error}") from error

    def close(self) -> None:
        """Write the log into the file and close it."""
        with self.write_lock:
            self._link.close()

    def _insert(self, cursor: duckdb.DuckDBPyConnection, columns: Columns) -> None:
        segment, here = self._segment(cursor, columns)
        for name in columns.values:
            if name not in here:
                cursor.execute(f"ALTER TABLE {segment.table} ADD COLUMN {quoted(name)} DOUBLE")
                here.add(name)
        names = [*INTEGERS, *columns.values]
        given = {f"c{i}": _column(columns, name) for i, name in enumerate(names)}
        cursor.register("given", given)
        try:
            into, chosen = ", ".join(map(quoted, names)), ", ".join(given)
            cursor.execute(f"INSERT INTO {segment.table} ({into}) SELECT {chosen} FROM given")  # noqa: S608
        finally:
            cursor.unregister("given")

    def _refresh(self) -> None:
        with self.write_lock, self.cursor() as cursor:
            segments = cursor.execute("SELECT id, kind, open FROM segment ORDER BY id").fetchall()
            files = cursor.execute(
                "SELECT name, kind, level, span_ms, start_ms, end_ms, n, bytes, bucket_ms, parts FROM sealed"
                " ORDER BY kind, start_ms, name"
            ).fetchall()
            pruned = cursor.execute("SELECT kind, level, before_ms FROM pruned").fetchall()
            floors = {(kind, level): before_ms for kind, level, before_ms in pruned}
        told = [(*row[:9], tuple(row[9])) for row in files]
        self.view = View(tuple(Segment(*row) for row in segments), tuple(File(*values) for values in told), floors)

    def _segment(self, cursor: duckdb.DuckDBPyConnection, columns: Columns) -> tuple[Segment, set[str]]:
        known = self._open.get(columns.kind)
        if known is None:
            segment = next((s for s in self._open_segments(cursor) if s.kind == columns.kind), None)
            if segment is None:
                segment = self._new_segment(cursor, columns)
            known = self._open[columns.kind] = (segment, set(self.quantities(segment, cursor)))
        return known

    def _open_segments(self, cursor: duckdb.DuckDBPyConnection) -> list[Segment]:
        return [Segment(*row) for row in cursor.execute("SELECT id, kind, open FROM segment WHERE open").fetchall()]

    def _new_segment(self, cursor: duckdb.DuckDBPyConnection, columns: Columns) -> Segment:
        found = cursor.execute("SELECT nextval('segments')").fetchone()
        assert found is not None
        segment = Segment(int(found[0]), columns.kind, True)
        kinds = {**TYPES, **dict.fromkeys(columns.values, "DOUBLE")}
        fields = ", ".join(f"{quoted(name)} {kind}" for name, kind in kinds.items())
        cursor.execute(f"CREATE TABLE {segment.table} ({fields})")
        cursor.execute("INSERT INTO segment VALUES (?, ?, true)", [segment.id, segment.kind])
        return segment

    def _prepare(self) -> None:
        with self.cursor() as cursor:
            tables = cursor.execute("SELECT table_name FROM duckdb_tables() WHERE table_name = 'schema'").fetchall()
            if not tables:
                _create(cursor)
            row = cursor.execute("SELECT version FROM schema").fetchone()
            version = int(row[0]) if row else 0
        if version > SCHEMA:
            raise StoreBroken(f"{self._path} has store schema {version}, this version writes {SCHEMA}: run the newer")
        if version < SCHEMA:
            self._migrate(version)
        with self.cursor() as cursor, transaction(cursor):
            if not cursor.execute("SELECT 1 FROM position WHERE journal = ?", [self._journal]).fetchone():
                cursor.execute("INSERT INTO position VALUES (?, 0)", [self._journal])

    def _migrate(self, version: int) -> None:
        with self.cursor() as cursor:
            cursor.execute("CHECKPOINT")
        copy = self._path.with_name(f"{self._path.name}.schema{version}.backup")
        copy.write_bytes(self._path.read_bytes())
        with self.cursor() as cursor, transaction(cursor):
            for step in range(version, SCHEMA):
                MIGRATIONS[step](cursor)
            cursor.execute("UPDATE schema SET version = ?", [SCHEMA])


def _create(cursor: duckdb.DuckDBPyConnection) -> None:
    with transaction(cursor):
        cursor.execute("CREATE TABLE schema (version INTEGER)")
        cursor.execute("INSERT INTO schema VALUES (?)", [SCHEMA])
        cursor.execute("CREATE TABLE position (journal VARCHAR, position BIGINT)")
        cursor.execute("CREATE SEQUENCE segments")
        cursor.execute("CREATE SEQUENCE names")
        cursor.execute("CREATE TABLE segment (id BIGINT, kind VARCHAR, open BOOLEAN)")
        cursor.execute("CREATE TABLE pruned (kind VARCHAR, before_ms BIGINT, level VARCHAR DEFAULT 'raw')")
        cursor.execute(
            "CREATE TABLE sealed (name VARCHAR, kind VARCHAR, level VARCHAR, span_ms BIGINT, start_ms BIGINT,"
            " end_ms BIGINT, n BIGINT, bytes BIGINT, bucket_ms BIGINT, parts VARCHAR[])"
        )


@contextmanager
def transaction(cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """One durable transaction. Raises StoreDown where the disk refuses; nothing was kept then."""
    cursor.execute("BEGIN")
    try:
        yield
        cursor.execute("COMMIT")
    except BaseException as error:
        try:
            cursor.execute("ROLLBACK")
        except duckdb.Error:  # the failed COMMIT has rolled back already
            cursor.close()
        if isinstance(error, duckdb.IOException | duckdb.OutOfMemoryException):
            raise StoreDown(f"the embedded store cannot write: {error}") from error
        raise


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _column(columns: Columns, name: str) -> np.ndarray[Any, Any]:
    found = getattr(columns, name) if name in INTEGERS else columns.values[name]
    return np.ascontiguousarray(found)


def _floats(found: Any) -> np.ndarray[Any, Any]:
    if isinstance(found, np.ma.MaskedArray):
        return np.asarray(found.filled(np.nan), np.float64)
    return np.asarray(found, np.float64)
