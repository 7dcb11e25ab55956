"""The fleet's record in SQLite."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.support.fleet_contract import FleetContract, enrolled
from tinymlops.errors import SetupError, StorageError, UsageError
from tinymlops.fleet import database_address, open_fleet
from tinymlops.fleet.database import Database


class TestSQLite(FleetContract):
    @pytest.fixture
    def address(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'fleet.sqlite'}"


def test_what_is_acknowledged_is_on_the_disk(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'fleet.sqlite'}")
    with database.reading() as connection:
        pragma = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        }
    assert pragma == {"journal_mode": "wal", "synchronous": 2}
    database.close()


def test_only_its_owner_can_read_the_file(tmp_path: Path) -> None:
    file = tmp_path / "below" / "fleet.sqlite"
    open_fleet(f"sqlite:///{file}").close()
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "address", ["", "sqlite://", "sqlite:///:memory:", "mysql://u:secret@h/d", "fleet.sqlite", "://"]
)
def test_an_address_that_is_none_is_said_without_its_password(address: str) -> None:
    with pytest.raises(UsageError, match="not the address of a database") as raised:
        open_fleet(address)
    assert "secret" not in str(raised.value)


def test_a_file_that_is_no_database_is_said_in_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "fleet.sqlite"
    file.write_bytes(b"this is something else " * 100)
    with pytest.raises(StorageError, match="not a database"):
        open_fleet(f"sqlite:///{file}")


def test_a_folder_that_cannot_be_written_is_said_in_one_sentence() -> None:
    with pytest.raises(StorageError, match="can't be written"):
        open_fleet("sqlite:////proc/nowhere/fleet.sqlite")


def test_a_database_that_nobody_answers_at_names_no_password() -> None:
    with pytest.raises(StorageError) as raised:
        open_fleet("postgresql://user:secret@127.0.0.1:1/fleet")
    assert "secret" not in str(raised.value)


def test_without_psycopg_postgresql_is_refused_with_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(SetupError, match="psycopg"):
        open_fleet("postgresql://user@127.0.0.1:1/fleet")


def test_the_address_comes_from_the_environment_or_the_state_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TINYMLOPS_DATABASE", raising=False)
    monkeypatch.setenv("TINYMLOPS_STATE", str(tmp_path))
    assert database_address() == f"sqlite:///{tmp_path}/fleet.sqlite"
    monkeypatch.setenv("TINYMLOPS_DATABASE", "postgresql://host/name")
    assert database_address() == "postgresql://host/name"


def test_a_check_says_whether_the_database_answers(tmp_path: Path) -> None:
    file = tmp_path / "fleet.sqlite"
    with open_fleet(f"sqlite:///{file}") as fleet:
        fleet.check()
        assert fleet.address.endswith("fleet.sqlite")
        enrolled(fleet)
        with sqlite3.connect(file) as other:
            other.execute("PRAGMA foreign_keys=OFF")
            other.execute("DROP TABLE devices")
        other.close()
        with pytest.raises(StorageError, match="no such table"):
            fleet.devices()
