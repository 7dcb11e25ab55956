"""The gateway's key, the operator's token, where it listens."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from fastapi.openapi.utils import get_openapi
from starlette.routing import Route

from tests.unit.gateway.rig import Rig
from tinymlops.cli.gateway import listening_address
from tinymlops.errors import FormatError, SetupError, StorageError, UsageError
from tinymlops.gateway import GatewayKey, Listening
from tinymlops.gateway.device_routes import busy_routes
from tinymlops.gateway.observing import configure_logging
from tinymlops.gateway.server import configuration
from tinymlops.gateway.settings import operator_token, token_digest


def test_a_key_is_kept_for_its_owner_alone_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "below" / "gateway.pem"
    key = GatewayKey.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert GatewayKey.load(path).public == key.public == GatewayKey.read_public(path.with_suffix(".pub"))
    assert GatewayKey.load(path).sign(b"x").checked(key.public, what="x") == b"x"
    with pytest.raises(UsageError, match="already"):
        GatewayKey.create(path)
    assert GatewayKey.load(path).public == key.public


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gateway.pem"
    GatewayKey.create(path)
    path.chmod(0o640)
    with pytest.raises(SetupError, match="chmod 600"):
        GatewayKey.load(path)


def test_files_that_are_no_keys_are_said_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "gateway.pem"
    with pytest.raises(SetupError, match="gateway init"):
        GatewayKey.load(path)
    with pytest.raises(SetupError, match="gateway init"):
        GatewayKey.read_public(path)
    with pytest.raises(StorageError, match="can't be written"):
        GatewayKey.create(Path("/proc/nowhere/gateway.pem"))
    other = generate_private_key(SECP256R1())
    private = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for content in (b"", b"no key", private, public):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(FormatError, match="no Ed25519 key"):
            GatewayKey.load(path)
        with pytest.raises(FormatError, match="no Ed25519 key"):
            GatewayKey.read_public(path)


def test_the_operators_token_comes_from_a_private_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TINYMLOPS_OPERATOR_TOKEN", "TINYMLOPS_OPERATOR_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    assert operator_token() is None
    monkeypatch.setenv("TINYMLOPS_OPERATOR_TOKEN", "0123456789abcdef")
    assert operator_token() == token_digest("0123456789abcdef")
    file = tmp_path / "token"
    file.write_text("fedcba9876543210\n")
    file.chmod(0o644)
    with pytest.raises(UsageError, match="others may read"):
        operator_token(file)
    file.chmod(0o600)
    monkeypatch.setenv("TINYMLOPS_OPERATOR_TOKEN_FILE", str(file))
    assert operator_token() == token_digest("fedcba9876543210")
    file.write_text("short")
    with pytest.raises(UsageError, match="fewer than 16"):
        operator_token(file)
    file.write_bytes(b"\xff" * 20)
    with pytest.raises(UsageError, match="can't be read"):
        operator_token(file)
    with pytest.raises(UsageError, match="can't be read"):
        operator_token(tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("127.0.0.1:8700", ("127.0.0.1", 8700)), ("[::]:1", ("::", 1)), ("host.example:65535", ("host.example", 65535))],
)
def test_addresses_to_listen_on(text: str, expected: tuple[str, int]) -> None:
    assert listening_address(text) == expected


@pytest.mark.parametrize("text", ["", "8700", ":8700", "host:", "host:x", "host:65536", "host:²"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="no address"):
        listening_address(text)


def test_an_address_is_shown_as_a_url() -> None:
    assert Listening().url == "http://127.0.0.1:8700"
    assert Listening(host="::1", tls_cert=Path("c"), tls_key=Path("k")).url == "https://[::1]:8700"


def test_a_certificate_needs_its_key(rig: Rig) -> None:
    with pytest.raises(UsageError, match="a certificate needs its key"):
        configuration(rig.app, Listening(tls_cert=Path("cert.pem")))


def test_proxies_are_believed_only_where_they_are_named(rig: Rig) -> None:
    assert configuration(rig.app, Listening()).proxy_headers is False
    trusted = configuration(rig.app, Listening(trusted_proxies=("10.0.0.0/8",)))
    assert (trusted.proxy_headers, trusted.forwarded_allow_ips) == (True, ["10.0.0.0/8"])


def test_log_lines_are_json() -> None:
    before, lines = structlog.get_config(), io.StringIO()
    configure_logging(lines)
    try:
        structlog.get_logger("x").info("answered", status=200, path=Path("p"))
        structlog.get_logger("x").debug("not shown")
    finally:
        structlog.configure(**before)
    (line,) = lines.getvalue().splitlines()
    assert json.loads(line) | {"timestamp": ""} == {
        "event": "answered",
        "level": "info",
        "status": 200,
        "path": "p",
        "timestamp": "",
    }


def test_the_description_names_every_route_and_no_other(rig: Rig) -> None:
    described, served = (
        {(method, path) for path, operations in document["paths"].items() for method in operations}
        for document in (rig.app.openapi(), get_openapi(title="-", version="-", routes=rig.app.routes))
    )
    bare = {("post", route.path) for route in busy_routes(rig.app.state.gateway) if isinstance(route, Route)}
    assert len(bare) == 2
    assert described == served | bare
    assert rig.call("GET", "/openapi.json").json() == json.loads(json.dumps(rig.app.openapi()))
