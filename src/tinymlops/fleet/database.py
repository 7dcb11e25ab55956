"""The database: how it is reached, how its tables come to be, and what a transaction is.

SQLite is in write-ahead mode with a full sync at every commit, so that what was acknowledged is still there after a
power cut. Every writing transaction takes its lock at once: one that began by reading could not be granted it later.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, cast

from sqlalchemy import Connection, Engine, Table, create_engine, event, inspect, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from tinymlops.errors import SetupError, StorageError, UsageError
from tinymlops.project import state_folder

NEWEST_SCHEMA = "0004"
"""Name of the last migration."""
MIGRATIONS = Path(__file__).with_name("migrations")
_BUSY_S = 30
_MIGRATION_LOCK = 0x54_4D_4C_4F  # any number that no other program takes
_READS = "reads"


def database_address() -> str:
    """``TINYMLOPS_DATABASE``, else SQLite in the folder of states."""
    return os.environ.get("TINYMLOPS_DATABASE") or f"sqlite:///{state_folder() / 'fleet.sqlite'}"


class Database:
    """A database with the fleet's tables.

    Args:
        address: ``sqlite:///path`` or ``postgresql://user:password@host/name``.

    Raises:
        UsageError: The address is none, or of a kind that is not supported.
        StorageError: It can't be opened.
    """

    def __init__(self, address: str) -> None:
        url = _checked(address)
        self.address = url.render_as_string(hide_password=True)
        self._engine = _engine(url)
        self._reader = self._engine.execution_options(**{_READS: True})

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is committed, durably, when the block ends without an error."""
        with self._in_our_words(), self._engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A view of one moment; writers do not wait for it."""
        with self._in_our_words(), self._reader.connect() as connection:
            yield connection

    def is_current(self) -> bool:
        """Whether the tables are those of this release."""
        with self.reading() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return False
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == NEWEST_SCHEMA

    def migrate(self) -> bool:
        """Make the tables, or bring them up to date; whether there was anything to do.

        Any number of processes may call this at once: one works, the others wait.

        Raises:
            SetupError: A newer release of this software was here.
            StorageError: The database can't be changed.
        """
        if self.is_current():
            return False
        with self.writing() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
            return _upgrade(connection)

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    @contextlib.contextmanager
    def _in_our_words(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            cause = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
            step = "check that it runs, that its disk has space and that TINYMLOPS_DATABASE is right; then try again"
            raise StorageError(f"the database {self.address} failed ({cause})", step) from error


class Insert(Protocol):
    """What both dialects' INSERT can do and SQLAlchemy's common one can't."""

    def on_conflict_do_nothing(self) -> Any:
        """Leave rows alone that are there."""

    def on_conflict_do_update(self, *, index_elements: Any, set_: Any, where: Any = None) -> Any:
        """Change rows that are there."""

    @property
    def excluded(self) -> Any:
        """The row that could not be inserted."""


def insert(connection: Connection, table: Table) -> Insert:
    """An INSERT that knows ``ON CONFLICT``."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return cast(Insert, dialect.insert(table))


def _checked(address: str) -> URL:
    try:
        url = make_url(address)
    except ArgumentError as error:
        raise _no_address(address) from error
    if url.get_backend_name() == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() != "sqlite" or url.database in {None, "", ":memory:"}:
        raise _no_address(url.render_as_string(hide_password=True))
    return url


def _no_address(address: str) -> UsageError:
    return UsageError(
        f"{address!r} is not the address of a database",
        "write sqlite:///path/of/fleet.sqlite or postgresql://user:password@host/name",
    )


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "postgresql":
        try:
            return create_engine(url, pool_pre_ping=True, pool_size=5, connect_args={"connect_timeout": 10})
        except (ImportError, NoSuchModuleError) as error:
            raise SetupError(
                "PostgreSQL needs the package psycopg", "install it with pip install 'tinymlops[gateway]'"
            ) from error
    path = Path(cast(str, url.database))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError as error:
        raise StorageError(f"{path} can't be written ({error.strerror})", "choose another --database") from error
    engine = create_engine(url, connect_args={"timeout": _BUSY_S, "check_same_thread": False})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver would begin transactions at times of its own choosing
    for setting in (f"busy_timeout={_BUSY_S * 1000}", "foreign_keys=ON", "synchronous=FULL"):
        connection.execute(f"PRAGMA {setting}")
    _use_write_ahead_log(connection)


def _use_write_ahead_log(connection: Any) -> None:
    """Switch the file over, which SQLite does not wait for: two processes that start at once meet here."""
    import sqlite3

    give_up = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.02)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    reads = connection.get_execution_options().get(_READS)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _upgrade(connection: Connection) -> bool:
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.util import CommandError

    before = MigrationContext.configure(connection).get_current_revision()
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise SetupError(
            f"the database has tables of version {before}, which this release does not know",
            "use the newer release of TinyMLOps that made them",
        ) from error
    return before != NEWEST_SCHEMA
