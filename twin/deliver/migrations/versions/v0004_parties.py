"""Who else a case concerns, beside the department in charge. Cases of before have none: their lists were by type."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "parties",
        sa.Column("department", sa.String, primary_key=True),
        sa.Column("case_id", sa.String, primary_key=True),
        sa.Column("parent", sa.String, nullable=False),
        sa.Column("open", sa.Boolean, nullable=False),
    )
    op.create_index("parties_list", "parties", ["department", "parent", "open", "case_id"])
    op.create_index("parties_case", "parties", ["case_id"])
