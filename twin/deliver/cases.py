"""The case database: each tick's changes in one transaction, the outbox among them. What is asked of it: lists.py."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, delete, func, insert, make_url, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from twin.deliver import chain, retention, scoring
from twin.deliver.lists import FIELDS, Lists, chunks
from twin.deliver.migrate import Backup, prepare, require
from twin.deliver.schema import CASES, DELIVERIES, META, PARTIES, SCORES, TRANSITIONS, tune
from twin.errors import TwinError
from twin.records import Case, Changes, Delivery, Settled, Transition
from twin.whistle.lifecycle import OPEN

EMPTY_TICKS = 30  # a tick without changes writes nothing, but for every 30th: `last_tick` then lags by so many at most


@dataclass(slots=True)
class _Head:
    """Where the database stands: last tick, end of the chain, end of the queue."""

    tick: int = 0
    n: int = 0
    hash: str = chain.GENESIS
    queue: int = 0


class Cases(Lists):
    """Cases, transitions and outbox. One writer (`record`, the ticking thread); reads come from any thread."""

    def __init__(
        self, target: str | Path, *, password: str = "", backup: Backup = "copy", backups: Path | None = None,
        reading: bool = False,
    ) -> None:  # fmt: skip
        """Open the database: a path is SQLite's file, anything with "://" a SQLAlchemy URL (`password` beside it).

        It is brought to this program's schema, after a backup (into `backups`) unless that is "none"; `reading`
        leaves it as it is, for programs that only look. Raises TwinError.
        """
        super().__init__(_engine(str(target), password, reading=reading))
        self.backup: Path | None = None
        self.differences = 0  # what a replay decided otherwise than what is recorded
        self._lock = threading.Lock()
        self._empty = 0
        self._unsure = False  # a commit broke off: what the database has must be read before the next
        try:
            if reading:
                require(self._engine)
            else:
                self.backup = prepare(self._engine, backup=backup, backups=backups)
            self._head = self._read_head()
        except BaseException:
            self._engine.dispose()
            raise

    def close(self) -> None:
        """Let go of every connection."""
        self._engine.dispose()

    @property
    def last_tick(self) -> int:
        """The last tick whose changes are here."""
        return self._head.tick

    def bind(self, journal: str) -> None:
        """Belong to one journal for ever: ticks are numbered by it. Raises TwinError where another one is recorded."""
        with self._engine.begin() as connection:
            known = connection.execute(select(META.c.value).where(META.c.name == "journal")).scalar()
            if known is None:
                connection.execute(insert(META), [{"name": "journal", "value": journal}])
            elif known != journal:
                raise TwinError(
                    f"the case database belongs to journal {known}, this data directory has {journal} (a new one, if "
                    "journal.db was lost): each server has a database of its own; restore both of the same time from a "
                    "backup, or give this server an empty database"
                )

    def note_tick(self) -> bool:
        """Have the last tick written down though it changed nothing, so that a checkpoint of it is never ahead of what
        the database says of itself. False where the database refuses just now."""
        with self._lock:
            if not self._empty:
                return True
            told = [{"name": "last_tick", "value": str(self._head.tick)}]
            try:
                with self._engine.begin() as connection:
                    self._upsert(connection, META, "name", told)
            except SQLAlchemyError:
                self._unsure = True
                return False
            self._empty = 0
            return True

    def record(self, n: int, changes: Changes) -> bool:
        """Write what tick `n` changed, once: False for a tick that is here already (its differences are counted)."""
        with self._lock:
            if self._unsure:
                self._head, self._unsure = self._read_head(), False
            if n <= self._head.tick:
                if changes.transitions:
                    self.differences += self._differences(n, changes.transitions)
                return False
            if not changes and self._empty < EMPTY_TICKS:
                self._empty += 1
                self._head.tick = n
                return True
            try:
                with self._engine.begin() as connection:
                    head = self._write(connection, n, changes)
            except BaseException:
                self._unsure = True
                raise
            self._head, self._empty = head, 0
            return True

    def _write(self, connection: Connection, n: int, changes: Changes) -> _Head:
        head = _Head(n, self._head.n, self._head.hash, self._head.queue)
        self._write_cases(connection, changes.cases)
        self._write_transitions(connection, n, changes.transitions, head)
        self._write_scores(connection, changes)
        self._write_deliveries(connection, n, changes.deliveries, head)
        for settled in changes.settled:
            self._settle(connection, settled)
        for key in changes.resend:
            head.queue += 1
            again = update(DELIVERIES).where(DELIVERIES.c.key == key, DELIVERIES.c.state == "dead")
            connection.execute(again.values(state="pending", queue=head.queue, detail=""))
        told = {"last_tick": head.tick, "chain_n": head.n, "chain_head": head.hash, "queue": head.queue}
        rows = [{"name": name, "value": str(value)} for name, value in told.items()]
        self._upsert(connection, META, "name", rows)
        return head

    def _upsert(self, connection: Connection, table: Any, key: str, rows: list[dict[str, Any]]) -> None:
        make = postgresql.insert if self._engine.dialect.name == "postgresql" else sqlite.insert
        statement = make(table)
        changed = {name: statement.excluded[name] for name in rows[0] if name != key}
        connection.execute(statement.on_conflict_do_update(index_elements=[key], set_=changed), rows)

    def _write_cases(self, connection: Connection, cases: Sequence[Case]) -> None:
        if not cases:
            return
        self._upsert(connection, CASES, "id", [_case_row(case) for case in cases])
        for some in chunks([case.id for case in cases]):
            connection.execute(delete(PARTIES).where(PARTIES.c.case_id.in_(some)))
        rows = [
            {"department": name, "case_id": case.id, "parent": case.parent, "open": case.state in OPEN}
            for case in cases
            for name in dict.fromkeys((*case.parties, *case.returned_by))
        ]
        if rows:
            connection.execute(insert(PARTIES), rows)

    def _write_transitions(self, connection: Connection, n: int, steps: Sequence[Transition], head: _Head) -> None:
        if not steps:
            return
        latest: dict[str, int] = {}
        for some in chunks(sorted({step.case for step in steps})):
            query = select(TRANSITIONS.c.case_id, func.max(TRANSITIONS.c.serial)).where(TRANSITIONS.c.case_id.in_(some))
            latest |= dict(connection.execute(query.group_by(TRANSITIONS.c.case_id)).all())
        rows = []
        for step in steps:
            serial = latest.get(step.case, 0) + 1
            if serial != step.serial:  # another version decided otherwise; the history goes on and keeps both
                self.differences += 1
            latest[step.case] = serial
            row = chain.row_of(step, serial)
            fingerprint = chain.digest(head.hash, row)
            head.n += 1
            rows.append(row | {"n": head.n, "tick": n, "prev": head.hash, "hash": fingerprint})
            head.hash = fingerprint
        connection.execute(insert(TRANSITIONS), rows)

    def _write_scores(self, connection: Connection, changes: Changes) -> None:
        standing = {case.id: case for case in changes.cases}
        touched = sorted(standing.keys() | {step.case for step in changes.transitions if step.case})
        lines: dict[str, dict[str, Any]] = {}
        for some in chunks(touched):
            for row in connection.execute(select(SCORES).where(SCORES.c.case_id.in_(some))).mappings():
                lines[row["case_id"]] = dict(row)
        for step in changes.transitions:
            if step.case:
                scoring.note(lines.setdefault(step.case, scoring.begin(step.case)), step)
        for case in standing.values():
            scoring.stand(lines.setdefault(case.id, scoring.begin(case.id)), case)
        # A step of a case that did not come with it (another version's) changes its line only where it has one.
        whole = [line for line in lines.values() if len(line) == len(scoring.COLUMNS)]
        if whole:
            self._upsert(connection, SCORES, "case_id", whole)

    def _write_deliveries(self, connection: Connection, n: int, deliveries: Sequence[Delivery], head: _Head) -> None:
        known: dict[str, str] = {}
        for some in chunks([delivery.key for delivery in deliveries]):
            query = select(DELIVERIES.c.key, DELIVERIES.c.payload).where(DELIVERIES.c.key.in_(some))
            known |= dict(connection.execute(query).all())
        rows = []
        for delivery in deliveries:
            payload, key = chain.canonical(delivery.payload), delivery.key
            if key in known:
                self.differences += 1
                if known[key] == payload:
                    continue
                key = f"{key}~{n}"  # another version used this key for another message: both are sent
            head.queue += 1
            rows.append(
                {
                    "key": key,
                    "queue": head.queue,
                    "case_id": delivery.case,
                    "channel": delivery.channel,
                    "address": chain.clean(delivery.address),
                    "purpose": delivery.purpose,
                    "payload": payload,
                    "state": "pending",
                    "attempts": 0,
                    "sent_at_ms": 0,
                    "detail": "",
                }
            )
        if rows:
            connection.execute(insert(DELIVERIES), rows)

    @staticmethod
    def _settle(connection: Connection, settled: Settled) -> None:
        waiting = update(DELIVERIES).where(DELIVERIES.c.key == settled.key, DELIVERIES.c.state == "pending")
        connection.execute(
            waiting.values(
                state="sent" if settled.ok else "dead",
                attempts=DELIVERIES.c.attempts + settled.attempts,
                sent_at_ms=settled.at_machine_ms,
                detail=chain.clean(settled.detail),
            )
        )

    def _differences(self, n: int, steps: Sequence[Transition]) -> int:
        """How many of a replayed tick's transitions are not exactly what was recorded for it, and the other way."""
        query = select(*(TRANSITIONS.c[name] for name in chain.FIELDS)).where(TRANSITIONS.c.tick == n)
        with self._engine.connect() as connection:
            recorded = {tuple(row) for row in connection.execute(query)}
        replayed = {tuple(chain.row_of(step, step.serial)[name] for name in chain.FIELDS) for step in steps}
        return len(recorded ^ replayed)

    def _read_head(self) -> _Head:
        with self._engine.connect() as connection:
            told = dict(connection.execute(select(META.c.name, META.c.value)).all())
        return _Head(
            int(told.get("last_tick", 0)),
            int(told.get("chain_n", 0)),
            told.get("chain_head", chain.GENESIS),
            int(told.get("queue", 0)),
        )

    def forget_messages(self, before_ms: int) -> int:
        """Retention: empty settled messages of cases that were over before an instant of city time; how many."""
        with self._lock, self._engine.begin() as connection:
            return retention.forget_messages(connection, before_ms)

    def forget_cases(self, before_ms: int) -> int:
        """Retention: take out cases that were over before an instant of city time; how many."""
        with self._lock, self._engine.begin() as connection:
            return retention.forget_cases(connection, before_ms)

    @property
    def head(self) -> tuple[int, str]:
        """Number and hash of the newest entry of the history."""
        with self._lock:
            return self._head.n, self._head.hash


def _engine(target: str, password: str, *, reading: bool = False) -> Engine:
    """The engine of a path or URL. Raises TwinError for a URL that none of our drivers speaks."""
    if "://" not in target:
        if reading and not Path(target).exists():
            raise TwinError(f"there is no case database {target}")
        engine = create_engine(f"sqlite:///{target}")
    else:
        try:
            url = make_url(target)
            if url.drivername == "postgresql":
                url = url.set(drivername="postgresql+psycopg")
            engine = create_engine(url.set(password=password) if password else url, pool_pre_ping=True)
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
            raise TwinError(
                f"the case database's url cannot be used ({error}); give postgresql://USER@HOST/DATABASE, or leave it "
                "empty for SQLite; PostgreSQL needs pip install 'citywhistle[postgresql]'"
            ) from error
    if engine.dialect.name == "sqlite":
        tune(engine, reading=reading)
    elif engine.dialect.name != "postgresql":
        raise TwinError(f"the case database can be SQLite or PostgreSQL, not {engine.dialect.name}")
    return engine


def _case_row(case: Case) -> dict[str, Any]:
    body = {name: getattr(case, name) for name in FIELDS}
    for name in ("lon", "lat"):
        body[name] = None if math.isnan(body[name]) else body[name]
    columns = ("id", "key", "type", "subject", "state", "severity", "department", "parent")
    times = ("opened_ms", "updated_ms", "deadline_ms")
    row = {name: body[name] for name in (*columns, *times)}
    return row | {"open": case.state in OPEN, "body": chain.canonical(body)}
