"""alembic's environment: works on the connection that `twin.deliver.migrate` gives, inside its transaction."""

from __future__ import annotations

from alembic import context

from twin.deliver.schema import METADATA

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("run migrations by starting the server; new ones are written as docs/lifecycle.md says")
context.configure(connection=connection, target_metadata=METADATA, render_as_batch=True)
context.run_migrations()
