"""Alembic's entry: the connection comes from `tinymlops.fleet.database`, in a transaction."""

from alembic import context

from tinymlops.fleet.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
