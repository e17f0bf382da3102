"""What the case database is asked: the desk's lists, a case with its history, and the sender's outbox. Reads alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Engine, Table, and_, func, or_, select

from twin.deliver import chain
from twin.deliver.schema import CASES, DELIVERIES, PARTIES, SCORES, TRANSITIONS
from twin.records import Case, Delivery, Transition

CHUNK = 500  # ids in one query

FIELDS = tuple(f.name for f in fields(Case))


@dataclass(frozen=True, slots=True)
class Queued:
    """A delivery that waits in the outbox, with its place in the queue."""

    queue: int
    delivery: Delivery


class Standing(NamedTuple):
    """An open case as the map needs it: whose trouble it is, and how bad."""

    id: str
    type: str
    subject: str
    state: str
    severity: int


@dataclass(frozen=True, slots=True)
class Attached:
    """A photo that the history names: entry, case, city time, its file's name and hash."""

    n: int
    case: str
    at_ms: int
    name: str
    sha256: str


class Lists:
    """Every question, of any thread, over one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def cases(
        self, *, open_only: bool = True, after: str = "", limit: int = 200, subject: str = "", parent: str = "",
        departments: Sequence[str] = (), types: Sequence[str] = (),
    ) -> list[Case]:  # fmt: skip
        """Cases, newest first; `after` is the last id of the page before. Without children, unless `parent` names
        whose, or `subject` the device or node that they are about. `departments`: only those that are with one of
        them, or of one of the `types` and with any.
        """
        if departments and not subject:
            return self._of_departments(departments, types, open_only, after, parent, _bound(limit))
        where: list[ColumnElement[bool]] = [CASES.c.subject == subject if subject else CASES.c.parent == parent]
        if open_only:
            where.append(CASES.c.open.is_(True))
        if after:
            where.append(CASES.c.id < after)
        if departments:
            joint = and_(CASES.c.type.in_(types), CASES.c.department != "")
            party = CASES.c.id.in_(select(PARTIES.c.case_id).where(PARTIES.c.department.in_(departments)))
            where.append(or_(CASES.c.department.in_(departments), joint, party))
        query = select(CASES.c.body).where(*where).order_by(CASES.c.id.desc()).limit(_bound(limit))
        return self._read_cases(query)

    def _of_departments(
        self, departments: Sequence[str], types: Sequence[str], open_only: bool, after: str, parent: str, limit: int
    ) -> list[Case]:
        """The newest of some departments: each one's newest by the index, then the newest of these."""
        names = list(dict.fromkeys(departments))
        which: list[tuple[Table, ColumnElement[str], ColumnElement[bool]]] = [
            *((CASES, CASES.c.id, CASES.c.department == name) for name in names),
            *(
                (CASES, CASES.c.id, and_(CASES.c.type == name, CASES.c.department != ""))
                for name in dict.fromkeys(types)
            ),
            *((PARTIES, PARTIES.c.case_id, PARTIES.c.department == name) for name in names),
        ]
        found: set[str] = set()
        with self._engine.connect() as connection:
            for table, case, one in which:
                for standing in (True,) if open_only else (True, False):
                    query = select(case).where(one, table.c.parent == parent, table.c.open.is_(standing))
                    query = query.where(case < after) if after else query
                    found |= set(connection.execute(query.order_by(case.desc()).limit(limit)).scalars())
        newest = sorted(found, reverse=True)[:limit]
        told = {case.id: case for some in chunks(newest) for case in self._read_cases(
            select(CASES.c.body).where(CASES.c.id.in_(some)))}  # fmt: skip
        return [told[case] for case in newest if case in told]

    def of_types(self, types: Sequence[str], limit: int = 100) -> list[Case]:
        """The newest cases of some types, open or over, under a cause or not."""
        found: list[Case] = []
        for name in dict.fromkeys(types):
            query = select(CASES.c.body).where(CASES.c.type == name).order_by(CASES.c.opened_ms.desc())
            found += self._read_cases(query.limit(_bound(limit)))
        return sorted(found, key=lambda one: one.id, reverse=True)[: _bound(limit)]

    def earlier(self, case: Case, subjects: Sequence[str], since_ms: int, limit: int = 20) -> list[Case]:
        """Cases of the same type on any of the subjects that were opened before this one, from `since_ms` on, newest
        first; cancelled ones (false whistles among them) are left out.
        """
        found: list[Case] = []
        for some in chunks(list(dict.fromkeys(subjects))):
            query = select(CASES.c.body).where(
                CASES.c.subject.in_(some), CASES.c.type == case.type, CASES.c.id < case.id,
                CASES.c.opened_ms >= since_ms, CASES.c.state != "cancelled",
            )  # fmt: skip
            found += self._read_cases(query.order_by(CASES.c.id.desc()).limit(_bound(limit)))
        return sorted(found, key=lambda one: one.id, reverse=True)[:limit]

    def standing(self) -> Iterator[Standing]:
        """Every open case, those under a cause too."""
        query = select(*(CASES.c[name] for name in Standing._fields)).where(CASES.c.open.is_(True))
        with self._engine.connect() as connection:
            for row in connection.execute(query):
                yield Standing(*row)

    def case(self, case: str) -> Case | None:
        """One case; None where there is none of that id."""
        found = self._read_cases(select(CASES.c.body).where(CASES.c.id == case))
        return found[0] if found else None

    def children(self, case: str, limit: int = 1000) -> list[Case]:
        """What is recorded under a case, newest first."""
        return self.cases(open_only=False, parent=case, limit=limit) if case else []

    def history(self, case: str, limit: int = 10_000) -> list[Transition]:
        """The transitions of a case in order."""
        query = select(TRANSITIONS).where(TRANSITIONS.c.case_id == case).order_by(TRANSITIONS.c.serial)
        with self._engine.connect() as connection:
            rows = connection.execute(query.limit(_bound(limit, 100_000))).mappings().all()
        return [
            Transition(
                r["case_id"], r["serial"], r["at_ms"], r["actor"], r["event"], r["before"], r["after"], r["reason"],
                json.loads(r["evidence"]),
            )
            for r in rows
        ]  # fmt: skip

    def deliveries(self, case: str, limit: int = 1000) -> list[dict[str, Any]]:
        """What was sent, is waiting or died for a case: key, channel, address, purpose, state, attempts, ..."""
        names = ("key", "channel", "address", "purpose", "state", "attempts", "sent_at_ms", "detail")
        query = select(*(DELIVERIES.c[name] for name in names)).where(DELIVERIES.c.case_id == case)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(DELIVERIES.c.queue).limit(_bound(limit))).mappings().all()
        return [dict(row) for row in rows]

    def dead_letters(self, limit: int) -> list[dict[str, Any]]:
        """Messages that were given up, newest first: case, key, channel, address, purpose, attempts, at_ms, detail."""
        names = ("key", "channel", "address", "purpose", "attempts", "detail")
        columns = (DELIVERIES.c.case_id.label("case"), DELIVERIES.c.sent_at_ms.label("at_ms"),
                   *(DELIVERIES.c[name] for name in names))  # fmt: skip
        query = select(*columns).where(DELIVERIES.c.state == "dead").order_by(DELIVERIES.c.queue.desc())
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query.limit(_bound(limit))).mappings()]

    def delivery(self, key: str) -> Delivery | None:
        """One delivery with what it said; None where there is none of that key."""
        with self._engine.connect() as connection:
            found = connection.execute(select(DELIVERIES).where(DELIVERIES.c.key == key)).mappings().first()
        if found is None:
            return None
        payload = json.loads(found["payload"])
        return Delivery(found["key"], found["case_id"], found["channel"], found["address"], found["purpose"], payload)

    def steps_by(self, case: str, actor: str) -> int:
        """How many steps of a case are recorded under a name."""
        query = select(func.count()).select_from(TRANSITIONS)
        with self._engine.connect() as connection:
            query = query.where(TRANSITIONS.c.case_id == case, TRANSITIONS.c.actor == actor)
            return int(connection.execute(query).scalar_one())

    def scores(self, from_ms: int, to_ms: int, columns: Sequence[str]) -> Sequence[Sequence[Any]]:
        """Those columns of every case's line of the score card that was opened within [from_ms, to_ms)."""
        query = select(*(SCORES.c[name] for name in columns))
        query = query.where(SCORES.c.opened_ms >= from_ms, SCORES.c.opened_ms < to_ms)
        with self._engine.connect() as connection:
            return connection.execute(query).all()

    def counts(self) -> dict[str, int]:
        """Figures for health and /metrics: open cases, and messages by state."""
        with self._engine.connect() as connection:
            standing = select(func.count()).select_from(CASES).where(CASES.c.open.is_(True), CASES.c.parent == "")
            told = {"open": int(connection.execute(standing).scalar_one()), "pending": 0, "sent": 0, "dead": 0}
            query = select(DELIVERIES.c.state, func.count()).group_by(DELIVERIES.c.state)
            return told | {state: int(count) for state, count in connection.execute(query)}

    def attached(self) -> list[Attached]:
        """Every photo of our own keeping that the history names."""
        query = select(TRANSITIONS.c.n, TRANSITIONS.c.case_id, TRANSITIONS.c.at_ms, TRANSITIONS.c.evidence)
        with self._engine.connect() as connection:
            rows = connection.execute(query.where(TRANSITIONS.c.event == "attach").order_by(TRANSITIONS.c.n)).all()
        told = [(n, case, at_ms, json.loads(evidence)) for n, case, at_ms, evidence in rows]
        return [
            Attached(n, case, at_ms, said["name"], said["sha256"])
            for n, case, at_ms, said in told
            if said.get("name") == f"photo-{str(said.get('sha256'))[:12]}.jpg"
        ]

    def verify(self, expected_head: str = "", heads: Mapping[int, str] | None = None) -> chain.Verdict:
        """Read the whole history and name its first flaw, if there is one. `heads`: entries whose hash is known."""
        with self._engine.connect() as connection:
            if connection.dialect.name != "sqlite":  # one snapshot for all pages, while others write
                connection.execution_options(isolation_level="REPEATABLE READ")
            return chain.verify(connection, expected_head, heads)

    # What the sender asks.

    def lanes(self) -> list[tuple[str, str]]:
        """Every (channel, address) with messages that wait, in the order of their oldest."""
        oldest = func.min(DELIVERIES.c.queue)
        query = select(DELIVERIES.c.channel, DELIVERIES.c.address).where(DELIVERIES.c.state == "pending")
        query = query.group_by(DELIVERIES.c.channel, DELIVERIES.c.address).order_by(oldest)
        with self._engine.connect() as connection:
            return [(channel, address) for channel, address in connection.execute(query)]

    def pending(self, channel: str, address: str | None, after: int, limit: int) -> list[Queued]:
        """Waiting messages of a channel (and address, unless None) behind a place in the queue, in order."""
        query = select(DELIVERIES).where(
            DELIVERIES.c.state == "pending", DELIVERIES.c.channel == channel, DELIVERIES.c.queue > after
        )
        if address is not None:
            query = query.where(DELIVERIES.c.address == address)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(DELIVERIES.c.queue).limit(_bound(limit))).mappings().all()
        return [
            Queued(
                r["queue"],
                Delivery(r["key"], r["case_id"], r["channel"], r["address"], r["purpose"], json.loads(r["payload"])),
            )
            for r in rows
        ]

    def _read_cases(self, query: Any) -> list[Case]:
        with self._engine.connect() as connection:
            return [_case_from(body) for (body,) in connection.execute(query)]


def _case_from(text: str) -> Case:
    body: Mapping[str, Any] = json.loads(text)
    told = {name: body[name] for name in FIELDS if name in body}
    told |= {name: tuple(told.get(name, ())) for name in ("parties", "returned_by")}
    for name in ("lon", "lat"):
        told[name] = float("nan") if told.get(name) is None else told[name]
    return Case(**told)


def _bound(limit: int, most: int = 10_000) -> int:
    return max(1, min(limit, most))


def chunks(names: Sequence[str]) -> Iterable[Sequence[str]]:
    return (names[i : i + CHUNK] for i in range(0, len(names), CHUNK))
