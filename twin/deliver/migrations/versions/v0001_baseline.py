"""The first schema: cases, transitions, deliveries, meta."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.String, nullable=False) for name in names]


def _long(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]


def upgrade() -> None:
    op.create_table(
        "cases",
        sa.Column("id", sa.String, primary_key=True),
        *_text("key", "type", "subject", "state"),
        sa.Column("open", sa.Boolean, nullable=False),
        sa.Column("severity", sa.Integer, nullable=False),
        *_text("department", "parent"),
        *_long("opened_ms", "updated_ms", "deadline_ms"),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("cases_open", "cases", ["open", "parent", "id"])
    op.create_index("cases_parent", "cases", ["parent", "id"])
    op.create_index("cases_subject", "cases", ["subject", "id"])
    op.create_table(
        "transitions",
        sa.Column("n", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("tick", sa.BigInteger, nullable=False),
        *_text("case_id"),
        sa.Column("serial", sa.Integer, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        *_text("actor", "event", "before", "after"),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        *_text("prev", "hash"),
        sa.UniqueConstraint("case_id", "serial"),
    )
    op.create_index("transitions_tick", "transitions", ["tick"])
    op.create_index("transitions_hash", "transitions", ["hash"])
    op.create_table(
        "deliveries",
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("queue", sa.BigInteger, nullable=False),
        *_text("case_id", "channel"),
        sa.Column("address", sa.Text, nullable=False),
        *_text("purpose"),
        sa.Column("payload", sa.Text, nullable=False),
        *_text("state"),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("sent_at_ms", sa.BigInteger, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_index("deliveries_state", "deliveries", ["state", "channel", "queue"])
    op.create_index("deliveries_case", "deliveries", ["case_id", "queue"])
    op.create_table("meta", sa.Column("name", sa.String, primary_key=True), *_text("value"))
