"""Tables of the case database, its version, and the way from one version to the next (backup first)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    event,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.engine.interfaces import DBAPIConnection

from twin.errors import TwinError

VERSION = 1

METADATA = MetaData()

CASES = Table(
    "cases",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("key", String(200), nullable=False),
    Column("type", String(64), nullable=False),
    Column("subject", String(128), nullable=False),
    Column("state", String(16), nullable=False),
    Column("open", Boolean, nullable=False),
    Column("severity", Integer, nullable=False),
    Column("department", String(64), nullable=False),
    Column("parent", String(32), nullable=False),
    Column("opened_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("deadline_ms", BigInteger, nullable=False),
    Column("body", Text, nullable=False),  # the whole case as JSON
    Index("cases_open", "open", "parent", "id"),
    Index("cases_parent", "parent", "id"),
    Index("cases_subject", "subject", "id"),
)

TRANSITIONS = Table(
    "transitions",
    METADATA,
    Column("n", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("tick", BigInteger, nullable=False),
    Column("case_id", String(32), nullable=False),  # '' for what concerns no case (mutes)
    Column("serial", Integer, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("event", String(16), nullable=False),
    Column("before", String(16), nullable=False),
    Column("after", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", Text, nullable=False),  # canonical JSON
    Column("prev", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    UniqueConstraint("case_id", "serial"),
    Index("transitions_tick", "tick"),
    Index("transitions_hash", "hash"),
)

DELIVERIES = Table(
    "deliveries",
    METADATA,
    Column("key", String(200), primary_key=True),
    Column("queue", BigInteger, nullable=False),  # order of sending
    Column("case_id", String(32), nullable=False),
    Column("channel", String(32), nullable=False),
    Column("address", Text, nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("payload", Text, nullable=False),
    Column("state", String(8), nullable=False),  # pending | sent | dead
    Column("attempts", Integer, nullable=False),
    Column("sent_at_ms", BigInteger, nullable=False),  # machine time of the final outcome; 0 before
    Column("detail", Text, nullable=False),
    Index("deliveries_state", "state", "channel", "queue"),
    Index("deliveries_case", "case_id", "queue"),
)

META = Table(
    "meta", METADATA, Column("name", String(32), primary_key=True), Column("value", String(200), nullable=False)
)

# From version i+1 to i+2: a function of the connection. Version 1 is the first.
MIGRATIONS: list[Callable[[Connection], None]] = []


def tune(engine: Engine) -> None:
    """SQLite: write-ahead log, every commit on the disk before it returns (NORMAL lost rows in power cuts)."""

    @event.listens_for(engine, "connect")
    def pragmas(connection: DBAPIConnection, _record: object) -> None:
        connection.isolation_level = None  # transactions are ours, so that changes of tables are in them too
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")


def prepare(engine: Engine, migrations: Sequence[Callable[[Connection], None]] | None = None) -> Path | None:
    """Create the tables, or bring an older database to this version. Returns the backup's path if one was made.

    A migration is one transaction after a backup beside the database (SQLite; a server's database is backed up by
    its own means, see docs/lifecycle.md). Raises TwinError for a database of a newer program.
    """
    steps = MIGRATIONS if migrations is None else migrations
    newest = 1 + len(steps)
    if not inspect(engine).has_table("meta"):
        with engine.begin() as connection:
            METADATA.create_all(connection)
            connection.execute(insert(META), [{"name": "version", "value": str(newest)}])
        return None
    with engine.connect() as connection:
        version = int(connection.execute(select(META.c.value).where(META.c.name == "version")).scalar_one())
    if version > newest:
        raise TwinError(f"the case database has version {version}, this program knows {newest}: use the newer program")
    if version == newest:
        return None
    backup = _back_up(engine, version)
    with engine.begin() as connection:
        for step in steps[version - 1 :]:
            step(connection)
        connection.execute(update(META).where(META.c.name == "version").values(value=str(newest)))
    return backup


def _back_up(engine: Engine, version: int) -> Path | None:
    """A whole copy of a SQLite database beside it; None for other databases and for one in memory."""
    file = engine.url.database
    if engine.dialect.name != "sqlite" or not file or file == ":memory:":
        return None
    backup = Path(f"{file}.v{version}.bak")
    backup.unlink(missing_ok=True)
    raw = engine.raw_connection()  # outside of any transaction, as VACUUM wants it
    try:
        raw.cursor().execute("VACUUM INTO ?", (str(backup),))
    finally:
        raw.close()
    return backup
