"""Tables of the case database as they stand today; how older ones become these is in `migrate` and `migrations`."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    event,
)
from sqlalchemy.engine.interfaces import DBAPIConnection

METADATA = MetaData()

CASES = Table(
    "cases",
    METADATA,
    Column("id", String, primary_key=True),
    Column("key", String, nullable=False),
    Column("type", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("state", String, nullable=False),
    Column("open", Boolean, nullable=False),
    Column("severity", Integer, nullable=False),
    Column("department", String, nullable=False),
    Column("parent", String, nullable=False),
    Column("opened_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("deadline_ms", BigInteger, nullable=False),
    Column("body", Text, nullable=False),  # the whole case as JSON
    Index("cases_open", "open", "parent", "id"),
    Index("cases_parent", "parent", "id"),
    Index("cases_subject", "subject", "id"),
    Index("cases_department", "department", "parent", "open", "id"),
    Index("cases_type", "type", "parent", "open", "id"),
)

# Departments besides the one in charge that a case concerns, for the lists of their people.
PARTIES = Table(
    "parties",
    METADATA,
    Column("department", String, primary_key=True),
    Column("case_id", String, primary_key=True),
    Column("parent", String, nullable=False),
    Column("open", Boolean, nullable=False),
    Index("parties_list", "department", "parent", "open", "case_id"),
    Index("parties_case", "case_id"),
)

TRANSITIONS = Table(
    "transitions",
    METADATA,
    Column("n", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("tick", BigInteger, nullable=False),
    Column("case_id", String, nullable=False),  # '' for what concerns no case (mutes)
    Column("serial", Integer, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor", String, nullable=False),
    Column("event", String, nullable=False),
    Column("before", String, nullable=False),
    Column("after", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", Text, nullable=False),  # canonical JSON
    Column("prev", String, nullable=False),
    Column("hash", String, nullable=False),
    UniqueConstraint("case_id", "serial"),
    Index("transitions_tick", "tick"),
    Index("transitions_hash", "hash"),
)

DELIVERIES = Table(
    "deliveries",
    METADATA,
    Column("key", String, primary_key=True),
    Column("queue", BigInteger, nullable=False),  # order of sending
    Column("case_id", String, nullable=False),
    Column("channel", String, nullable=False),
    Column("address", Text, nullable=False),
    Column("purpose", String, nullable=False),
    Column("payload", Text, nullable=False),
    Column("state", String, nullable=False),  # pending | sent | dead
    Column("attempts", Integer, nullable=False),
    Column("sent_at_ms", BigInteger, nullable=False),  # machine time of the final outcome; 0 before
    Column("detail", Text, nullable=False),
    Index("deliveries_state", "state", "channel", "queue"),
    Index("deliveries_case", "case_id", "queue"),
)

META = Table("meta", METADATA, Column("name", String, primary_key=True), Column("value", String, nullable=False))

# One line a case, kept beside its transitions, so that the score card of any period is one read of an index.
# Times are city time in ms, 0 = not (yet); each stage has the time that it was first reached, `closed_ms` the last.
SCORES = Table(
    "scores",
    METADATA,
    Column("case_id", String, primary_key=True),
    Column("opened_ms", BigInteger, nullable=False),
    Column("type", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("department", String, nullable=False),  # the last one that it was given to; '' = never sent
    Column("parent", String, nullable=False),
    Column("severity", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("deadline_ms", BigInteger, nullable=False),  # in force, or in force when it was done; 0 = none
    Column("dispatched_ms", BigInteger, nullable=False),
    Column("accepted_ms", BigInteger, nullable=False),
    Column("handled_ms", BigInteger, nullable=False),
    Column("verified_ms", BigInteger, nullable=False),
    Column("closed_ms", BigInteger, nullable=False),
    Column("done_ms", BigInteger, nullable=False),  # handled, verified or closed, and not taken back since
    Column("reopened", Integer, nullable=False),
    Column("returned", Integer, nullable=False),
    Column("escalated", Integer, nullable=False),
    Column("cancelled_by", String, nullable=False),  # '' | "system" | "person"
    Column("verdict", String, nullable=False),  # '' | "useful" | "false"
    Column("score", Float, nullable=False),  # 1..5, 0 = none given
    Column("judge", String, nullable=False),  # '' | "citizen" | "unit" | "operator"
    Index("scores_opened", "opened_ms"),
)


def tune(engine: Engine, *, reading: bool = False) -> None:
    """SQLite: write-ahead log, every commit on the disk before it returns (NORMAL lost rows in power cuts).

    `reading`: nothing can be written.
    """
    own = ("query_only=ON",) if reading else ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")

    @event.listens_for(engine, "connect")
    def pragmas(connection: DBAPIConnection, _record: object) -> None:
        connection.isolation_level = None  # transactions are ours, so that changes of tables are in them too
        cursor = connection.cursor()
        for pragma in ("busy_timeout=30000", *own):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")
