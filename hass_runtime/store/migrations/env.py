"""Alembic's entry: runs the migrations over the connection that `store/migrate.py` hands it."""

from __future__ import annotations

from alembic import context

from hass_runtime.store.migrate import VERSION_TABLE
from hass_runtime.store.models import Base

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
