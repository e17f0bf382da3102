"""A mark that a later judgement without one had taken off the score card stands there again."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    connection = op.get_bind()
    told = connection.execute(
        sa.text("SELECT t.case_id, t.evidence FROM transitions t JOIN scores s ON s.case_id = t.case_id "
                "WHERE t.event = 'evaluate' AND s.score = 0 ORDER BY t.case_id, t.serial")
    )  # fmt: skip
    marks = {case: float(mark) for case, evidence in told if (mark := json.loads(evidence).get("score"))}
    change = sa.text("UPDATE scores SET score = :mark WHERE case_id = :case")
    for case, mark in marks.items():
        connection.execute(change, {"mark": mark, "case": case})
