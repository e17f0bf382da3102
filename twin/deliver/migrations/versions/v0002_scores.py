"""One line a case for the score card, filled from the history that is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

MANY = 1000
TIMES = ("dispatched_ms", "accepted_ms", "handled_ms", "verified_ms", "closed_ms", "done_ms")


def upgrade() -> None:
    texts = [sa.Column(name, sa.String, nullable=False) for name in ("type", "subject", "department", "parent")]
    scores = op.create_table(
        "scores",
        sa.Column("case_id", sa.String, primary_key=True),
        sa.Column("opened_ms", sa.BigInteger, nullable=False),
        *texts,
        sa.Column("severity", sa.Integer, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("deadline_ms", sa.BigInteger, nullable=False),
        *[sa.Column(name, sa.BigInteger, nullable=False) for name in TIMES],
        *[sa.Column(name, sa.Integer, nullable=False) for name in ("reopened", "returned", "escalated")],
        *[sa.Column(name, sa.String, nullable=False) for name in ("cancelled_by", "verdict")],
        sa.Column("score", sa.Float, nullable=False),
        sa.Column("judge", sa.String, nullable=False),
    )
    op.create_index("scores_opened", "scores", ["opened_ms"])
    connection = op.get_bind()
    lines: list[dict[str, Any]] = []
    for line in _lines(connection):
        lines.append(line)
        if len(lines) == MANY:
            connection.execute(scores.insert(), lines)
            lines = []
    if lines:
        connection.execute(scores.insert(), lines)
    # A program from before alembic reads its version here, and refuses what it does not know.
    connection.execute(sa.text("DELETE FROM meta WHERE name = 'version'"))
    connection.execute(sa.text("INSERT INTO meta (name, value) VALUES ('version', '2')"))


def _lines(connection: sa.Connection) -> Iterator[dict[str, Any]]:
    """Every case's line, by the steps that are recorded for it."""
    cases = connection.execute(sa.text("SELECT id, body FROM cases ORDER BY id")).all()
    bodies = {case: json.loads(body) for case, body in cases}
    steps = connection.execute(
        sa.text('SELECT case_id, at_ms, actor, event, evidence FROM transitions '
                "WHERE case_id <> '' ORDER BY case_id, serial")
    )  # fmt: skip
    for case, some in groupby(steps, key=lambda step: step[0]):
        body = bodies.get(case)
        if body is None:
            continue
        line = _begin(case, body)
        for _, at_ms, actor, event, evidence in some:
            _note(line, int(at_ms), actor, event, json.loads(evidence))
        yield line


def _begin(case: str, body: dict[str, Any]) -> dict[str, Any]:
    line: dict[str, Any] = {"case_id": case} | dict.fromkeys((*TIMES, "reopened", "returned", "escalated"), 0)
    line |= {name: body[name] for name in ("opened_ms", "type", "subject", "severity", "state")}
    line |= {"department": body.get("department", ""), "parent": body.get("parent", "")}
    line |= {"deadline_ms": body.get("deadline_ms", 0)}
    return line | {"cancelled_by": "", "verdict": "", "score": 0.0, "judge": ""}


def _note(line: dict[str, Any], at_ms: int, actor: str, event: str, evidence: dict[str, Any]) -> None:
    """The rules of `twin.deliver.scoring` as they were at this revision."""
    if event in ("dispatch", "transfer"):
        line["dispatched_ms"] = line["dispatched_ms"] or at_ms
        line["department"] = evidence.get("department") or line["department"]
    elif event in ("accept", "handle", "verify"):
        name = {"accept": "accepted_ms", "handle": "handled_ms", "verify": "verified_ms"}[event]
        line[name] = line[name] or at_ms
    elif event in ("close", "cancel"):
        line["closed_ms"] = at_ms
    elif event == "evaluate":
        line["verdict"], line["score"] = str(evidence.get("verdict", "")), float(evidence.get("score") or 0)
        line["judge"] = "operator"
    if event in ("handle", "verify", "close"):
        line["done_ms"] = line["done_ms"] or at_ms
    if event in ("redo", "reopen", "return"):
        line["done_ms"] = 0
    if event in ("reopen", "return", "escalate"):
        line[{"reopen": "reopened", "return": "returned", "escalate": "escalated"}[event]] += 1
    if event == "reopen":
        line["closed_ms"], line["cancelled_by"] = 0, ""
    if event == "cancel":
        line["cancelled_by"] = "system" if actor == "system" else "person"
