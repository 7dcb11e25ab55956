"""Steps from one form of the tables to the next; Alembic runs them inside the caller's transaction."""
