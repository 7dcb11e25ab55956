"""Predictions for other programs on the device, over HTTP on the loopback interface or a Unix socket."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
import numpy as np
import numpy.typing as npt

from tinymlops import __version__
from tinymlops.edge.serving import Models
from tinymlops.errors import FormatError, NoModelError, QuotaError, StorageError, TinyMLOpsError, UsageError
from tinymlops.wire.messages import Problem

_MOST_BODY_BYTES = 8 * 1024 * 1024
_MOST_AT_ONCE = 16
_SILENCE_S = 10.0
_RAW = "application/octet-stream"
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]", "::1", ""})
_MODELS, _PREDICT, _FEEDBACK, _CONSENT = "/v1/models/", "/predict", "/feedback", "/v1/consent"


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A question in JSON.

    Attributes:
        inputs: Numbers, nested or flat.
        preference: Speed (0) or accuracy (1); the agent's unless given.
    """

    inputs: list[Any]
    preference: float | None = None


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """What was really right for an earlier answer.

    Attributes:
        id: Of the answer.
        truth: A label or its index; or output values, or the only one.
    """

    id: int
    truth: str | int | float | list[float]


class LocalServer:
    """Answers on one address.

    Args:
        address: ``127.0.0.1:8701``, port 0 for a free one, or ``unix:/path``.
        models: That answer.
        status: Says how the agent is; becomes JSON.
        look: Follows consents that were written; how many records were taken back.

    Raises:
        UsageError: The address is none, or not of this machine alone.
        StorageError: It can't be listened on.
    """

    def __init__(
        self, address: str, models: Models, status: Callable[[], object], look: Callable[[], int] = lambda: 0
    ) -> None:
        self._unix = Path(address.removeprefix("unix:")) if address.startswith("unix:") else None
        handler = _handler(models, status, look)
        try:
            self._server = _unix_server(self._unix, handler) if self._unix else _tcp_server(address, handler)
        except OSError as error:
            raise StorageError(
                f"{address} can't be listened on ({error.strerror or error})", "give another --listen"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), daemon=True)

    @property
    def address(self) -> str:
        """Where it answers."""
        if self._unix:
            return f"unix:{self._unix}"
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    def start(self) -> None:
        """Answer in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more questions."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(2.0)
        self._server.server_close()
        if self._unix:
            self._unix.unlink(missing_ok=True)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: Any, handler: type[BaseHTTPRequestHandler]) -> None:
        self._places = threading.BoundedSemaphore(_MOST_AT_ONCE)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        # Waiting here leaves further callers in the kernel's queue: threads and memory stay bounded.
        self._places.acquire()
        try:
            super().process_request(request, client_address)
        except RuntimeError:
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that goes away in the middle is no news."""


class _UnixServer(_Server):
    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", 0


def _tcp_server(address: str, handler: type[BaseHTTPRequestHandler]) -> _Server:
    host, _, port = address.rpartition(":")
    if host not in {"localhost", "127.0.0.1"} or not port.isdigit() or int(port) > 65535:
        raise UsageError(
            f"{address!r} is no address of this machine alone", "give 127.0.0.1:PORT or unix:/path: there is no log-in"
        )
    return _Server((host, int(port)), handler)


def _unix_server(path: Path, handler: type[BaseHTTPRequestHandler]) -> _Server:
    if path.is_socket():
        path.unlink()  # left by an agent that was killed: the lock of the state folder says that none is running
    server = _UnixServer(str(path), handler)
    path.chmod(0o660)
    return server


def _handler(models: Models, status: Callable[[], object], look: Callable[[], int]) -> type[BaseHTTPRequestHandler]:
    parts = {"models": models, "status_of": staticmethod(status), "look": staticmethod(look)}
    return type("Handler", (_Handler,), parts)


class _Handler(BaseHTTPRequestHandler):
    models: Models
    status_of: Callable[[], object]
    look: Callable[[], int]
    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.1"
    server_version = f"tinymlops-agent/{__version__}"
    sys_version = ""
    timeout = _SILENCE_S
    wbufsize = 64 * 1024
    disable_nagle_algorithm = False

    def do_GET(self) -> None:
        """Status and liveness."""
        path = urlsplit(self.path).path
        if path == "/healthz":
            self._answer(HTTPStatus.OK, {"ok": True})
        elif path == "/v1/status":
            self._answer(HTTPStatus.OK, self.status_of())
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page", "ask for /v1/status or /healthz")

    def do_POST(self) -> None:
        """A prediction, its truth, or a consent that was written."""
        path = urlsplit(self.path).path
        name, slash, verb = path.removeprefix(_MODELS).rpartition("/")
        answer = {_PREDICT: self._predicted, _FEEDBACK: self._learnt}.get(slash + verb)
        if path != _CONSENT and (answer is None or not path.startswith(_MODELS)):
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page", "post to /v1/models/WORKLOAD/predict")
            return
        body = self._body()
        if body is None:
            return
        if answer is None or path == _CONSENT:
            self._told(lambda: {"taken_back": self.look()})
        else:
            self._told(lambda: answer(unquote(name), body))

    def parse_request(self) -> bool:
        """Read the head; a page in a browser that gave its own name our address gets nothing."""
        if not super().parse_request():
            return False
        host = self.headers.get("Host", "").lower()
        name = host if host.endswith("]") or ":" not in host else host.rpartition(":")[0]
        if name not in _LOCAL_NAMES:
            self._refuse(HTTPStatus.FORBIDDEN, "this answers programs on this machine only", "ask localhost")
            return False
        return True

    def _predicted(self, workload: str, body: bytes) -> object:
        values, preference = self._question(body)
        return self.models[workload].predict(values, preference)

    def _learnt(self, workload: str, body: bytes) -> object:
        try:
            told = msgspec.json.decode(body, type=Feedback)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise FormatError(f"the body is no feedback ({error})", 'send {"id": 1, "truth": "label"}') from error
        return {"counted": self.models[workload].feedback(told.id, told.truth)}

    def _told(self, work: Callable[[], object]) -> None:
        """Answer with what ``work`` gives, or with what is wrong."""
        try:
            self._answer(HTTPStatus.OK, work())
        except (UsageError, FormatError) as error:
            self._refuse(HTTPStatus.BAD_REQUEST, error.cause, error.next_step)
        except NoModelError as error:
            self._refuse(HTTPStatus.NOT_FOUND, error.cause, error.next_step)
        except QuotaError as error:
            self._refuse(HTTPStatus.PAYMENT_REQUIRED, error.cause, error.next_step)
        except TinyMLOpsError as error:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, error.cause, error.next_step)

    def _question(self, body: bytes) -> tuple[npt.ArrayLike, float | None]:
        if self.headers.get_content_type() == _RAW:
            if len(body) % 4:
                raise UsageError("the body is no row of float32 values", "send 4 bytes for each, little-endian")
            return np.frombuffer(body, "<f4"), None
        try:
            question = msgspec.json.decode(body, type=Question)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise FormatError(f"the body is no question ({error})", 'send {"inputs": [...]}') from error
        return question.inputs, question.preference

    def _body(self) -> bytes | None:
        text = self.headers.get("Content-Length", "")
        if not (text.isascii() and text.isdigit()):
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "the body has no length", "send Content-Length")
            return None
        if len(text) > 12 or int(text) > _MOST_BODY_BYTES:
            self._refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is over {_MOST_BODY_BYTES:,} bytes", "send one window"
            )
            return None
        body = self.rfile.read(int(text))
        return body if len(body) == int(text) else None

    def _refuse(self, status: HTTPStatus, error: str, next_step: str) -> None:
        # What is left of the body would be read as the next request
        self.close_connection = True
        self._answer(status, Problem(error, next_step))

    def _answer(self, status: HTTPStatus, value: object) -> None:
        content = msgspec.json.encode(value)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that the base class gave it
        """Say nothing: the journal is for transitions."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Errors of the HTTP parser, in our form."""
        del explain
        self.close_connection = True
        self._answer(HTTPStatus(code), Problem(message or HTTPStatus(code).phrase, "send a well-formed request"))
