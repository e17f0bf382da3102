"""How long the case database keeps what: texts and addresses of messages, then whole cases. Times are city time.

A case goes only with everything that its history stands among: entries are taken from the oldest end of the chain, up
to the first that belongs to a case that stays, and the hash of the last one taken is kept as the chain's beginning.
"""

from __future__ import annotations

from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update

from twin.deliver.schema import CASES, DELIVERIES, META, PARTIES, SCORES, TRANSITIONS

AT_ONCE = 2000  # cases, or messages, in one transaction: the tick waits for no longer than that takes
BASE_N, BASE_HASH = "chain_base_n", "chain_base_hash"


def forget_messages(connection: Connection, before_ms: int) -> int:
    """Empty texts and addresses of settled messages whose case is over and was last touched before an instant.

    What remains says that a message went, when, by which channel. Messages about no case go by when they were sent.
    """
    over = select(CASES.c.id).where(CASES.c.open.is_(False), CASES.c.updated_ms < before_ms)
    about_none = and_(DELIVERIES.c.case_id == "", DELIVERIES.c.sent_at_ms < before_ms)
    some = (
        select(DELIVERIES.c.key)
        .where(DELIVERIES.c.state != "pending", DELIVERIES.c.payload != "{}")
        .where(or_(DELIVERIES.c.case_id.in_(over), about_none))
        .limit(AT_ONCE)
    )
    keys = list(connection.execute(some).scalars())
    for i in range(0, len(keys), 500):
        chosen = update(DELIVERIES).where(DELIVERIES.c.key.in_(keys[i : i + 500]))
        connection.execute(chosen.values(payload="{}", address="", detail=""))
    return len(keys)


def forget_cases(connection: Connection, before_ms: int) -> int:
    """Take out cases that are over and were last touched before an instant, oldest first; how many went."""
    upto = _upto(connection, before_ms)
    base = _base_n(connection)
    if upto <= base:
        return 0
    last = select(TRANSITIONS.c.hash).where(TRANSITIONS.c.n == upto)
    fingerprint = connection.execute(last).scalar_one()
    gone = select(TRANSITIONS.c.case_id).where(TRANSITIONS.c.n <= upto, TRANSITIONS.c.case_id != "").distinct()
    ids = list(connection.execute(gone).scalars())
    for i in range(0, len(ids), 500):
        some = ids[i : i + 500]
        for column in (DELIVERIES.c.case_id, SCORES.c.case_id, PARTIES.c.case_id, CASES.c.id):
            connection.execute(delete(column.table).where(column.in_(some)))
    connection.execute(delete(TRANSITIONS).where(TRANSITIONS.c.n <= upto))
    connection.execute(delete(META).where(META.c.name.in_((BASE_N, BASE_HASH))))
    connection.execute(insert(META), [{"name": BASE_N, "value": str(upto)}, {"name": BASE_HASH, "value": fingerprint}])
    return len(ids)


def _upto(connection: Connection, before_ms: int) -> int:
    """Number of the last entry that may go: everything up to it belongs to cases that are over and wholly before it."""
    stays = or_(
        and_(TRANSITIONS.c.case_id == "", TRANSITIONS.c.at_ms >= before_ms),
        and_(TRANSITIONS.c.case_id != "",
             TRANSITIONS.c.case_id.not_in(
                 select(CASES.c.id).where(CASES.c.open.is_(False), CASES.c.updated_ms < before_ms))),
    )  # fmt: skip
    first = connection.execute(select(func.min(TRANSITIONS.c.n)).where(stays)).scalar()
    newest = connection.execute(select(func.max(TRANSITIONS.c.n))).scalar() or 0
    upto = int(newest if first is None else first - 1)
    oldest = connection.execute(select(func.min(TRANSITIONS.c.n))).scalar()
    upto = min(upto, int(oldest or 0) + 20 * AT_ONCE)  # a bound on one transaction
    while upto:  # a case that reaches beyond the end stays whole
        beyond = select(TRANSITIONS.c.case_id).where(TRANSITIONS.c.n > upto, TRANSITIONS.c.case_id != "")
        cut = select(func.min(TRANSITIONS.c.n)).where(TRANSITIONS.c.n <= upto, TRANSITIONS.c.case_id.in_(beyond))
        straddles = connection.execute(cut).scalar()
        if straddles is None:
            return upto
        upto = int(straddles) - 1
    return 0


def _base_n(connection: Connection) -> int:
    told = connection.execute(select(META.c.value).where(META.c.name == BASE_N)).scalar()
    return int(told or 0)
