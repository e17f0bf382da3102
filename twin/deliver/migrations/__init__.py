"""alembic's scripts of the case database. A new one: docs/lifecycle.md, "The case database"."""
