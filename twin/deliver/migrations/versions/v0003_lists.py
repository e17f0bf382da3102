"""Indexes for the lists of a department: its own cases, and those of the types that it joins in."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_index("cases_department", "cases", ["department", "parent", "open", "id"])
    op.create_index("cases_type", "cases", ["type", "parent", "open", "id"])
