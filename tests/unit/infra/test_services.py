"""Secrets, lock files and rules of the Compose file: what can be told without an engine."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[3]
COMPOSE = ROOT / "infra/compose.yaml"
BEFORE_THE_FIRST_START = {"volumes", "prefect-tables", "mlflow-tables", "fleet-tables", "repository", "deployments"}
PUBLISHED = {"gateway", "prefect", "mlflow"}


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"services_{name}", ROOT / f"infra/services/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pins(lock: str) -> dict[str, set[str]]:
    """Each pinned package with its digests."""
    text = (ROOT / f"requirements/{lock}.txt").read_text()
    blocks = re.findall(r"^([\w.-]+==[^\s;]+)[^\n]*\n((?:[ \t]+[^\n]*\n)*)", text, re.MULTILINE)
    return {name: set(re.findall(r"sha256:[0-9a-f]{64}", rest)) for name, rest in blocks}


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def test_secrets_are_made_once_and_for_nobody_else(tmp_path: Path) -> None:
    prepare = load("prepare").prepare

    variables = prepare(tmp_path / "compose")
    made = {path.name: path.read_bytes() for path in (tmp_path / "compose/secrets").iterdir()}

    assert prepare(tmp_path / "compose") == variables
    assert {path.name: path.read_bytes() for path in (tmp_path / "compose/secrets").iterdir()} == made
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in (tmp_path / "compose/secrets").iterdir())
    assert (tmp_path / "compose/secrets").stat().st_mode & 0o777 == 0o700
    assert not any(content.strip() in " ".join(variables.values()).encode() for content in made.values())


def test_another_password_reaches_all_that_is_made_of_it(tmp_path: Path) -> None:
    prepare = load("prepare").prepare
    prepare(tmp_path)
    (tmp_path / "secrets/postgresql_fleet").unlink()
    (tmp_path / "secrets/s3_worker").unlink()

    prepare(tmp_path)

    password = (tmp_path / "secrets/postgresql_fleet").read_text().strip()
    assert f":{password}@" in (tmp_path / "secrets/fleet_database").read_text()
    users = json.loads((tmp_path / "secrets/s3_identities").read_text())["identities"]
    key = (tmp_path / "secrets/s3_worker").read_text().strip()
    assert [one["name"] for one in users if one["credentials"][0]["secretKey"] == key] == ["worker"]


def test_every_secret_of_the_compose_file_is_made(tmp_path: Path) -> None:
    load("prepare").prepare(tmp_path)

    named = {entry["file"].rpartition("/")[2] for entry in yaml.safe_load(COMPOSE.read_text())["secrets"].values()}

    assert named <= {path.name for path in (tmp_path / "secrets").iterdir()}


def test_the_gateway_can_change_nothing_that_is_signed_and_read_nothing_that_is_private() -> None:
    rights = load("prepare").BUCKETS_OF["gateway"]

    assert "repository" not in rights
    assert not any("private" in right for right in rights)


@pytest.mark.parametrize("part", ["gateway", "server", "worker"])
def test_the_images_lock_files_are_parts_of_the_whole_one(part: str) -> None:
    whole, own = pins("all"), pins(part)

    assert own
    assert {name: digests for name, digests in own.items() if whole.get(name) != digests} == {}


def test_the_gateways_image_has_neither_tensorflow_nor_mlflow_nor_prefect() -> None:
    names = {name.partition("==")[0] for name in pins("gateway")}

    assert not names & {"tensorflow", "tf-keras", "mlflow", "prefect", "evidently", "docker"}


@pytest.mark.parametrize("part", ["gateway", "server", "worker"])
def test_every_direct_dependency_of_an_image_is_locked(part: str) -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {
        "gateway": ("gateway", "mqtt"),
        "server": ("gateway", "mqtt", "server", "drift"),
        "worker": ("gateway", "mqtt", "server", "drift", "train", "microcontroller"),
    }[part]
    wanted = [*project["dependencies"], *(one for extra in extras for one in project["optional-dependencies"][extra])]
    names = {re.split(r"[\[=<>~! ]", one)[0].lower().replace("_", "-").replace(".", "-") for one in wanted}

    assert names <= {name.partition("==")[0] for name in pins(part)}, "run `make lock`"


@pytest.mark.parametrize("name", sorted(services()))
def test_every_service_is_held_down(name: str) -> None:
    service = services()[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] > 0
    assert "privileged" not in service
    assert service["user"] == "${TINYMLOPS_USER:-10001:10001}" or name == "volumes"
    assert "mem_limit" in service or name == "volumes"
    assert service.get("image", "").startswith("${TINYMLOPS_")


@pytest.mark.parametrize("name", sorted(set(services()) - BEFORE_THE_FIRST_START - {"owner"}))
def test_every_server_is_watched_and_started_again(name: str) -> None:
    assert services()[name]["healthcheck"]["test"]
    assert services()[name]["restart"] == "unless-stopped"


def test_only_what_people_and_devices_need_is_published_and_only_here() -> None:
    published = {name: one["ports"] for name, one in services().items() if "ports" in one}

    assert set(published) == PUBLISHED
    assert all(port.startswith("${TINYMLOPS_BIND:-127.0.0.1}:") for ports in published.values() for port in ports)
    assert {name for name, one in services().items() if "outside" in one.get("networks", ())} == PUBLISHED
    assert yaml.safe_load(COMPOSE.read_text())["networks"]["inside"] == {"internal": True}
