"""The named alternative of `bench/ingest.py`: FastAPI, pydantic and JSON, a transaction of SQLite for each request.

It does the same job: the request's signature and time are checked, its nonce is kept, every value is validated, each
record is kept once, and all that is durable (write-ahead log, full sync) before it is acknowledged.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel, Field

from tinymlops.errors import TinyMLOpsError
from tinymlops.wire import request_signing
from tinymlops.wire.messages import Record
from tinymlops.wire.observations import RecordName, Window

_TABLES = """
CREATE TABLE IF NOT EXISTS nonces (device TEXT, nonce TEXT, at_s REAL, PRIMARY KEY (device, nonce)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS windows (
    device TEXT, sequence INTEGER, received_s REAL, content TEXT, PRIMARY KEY (device, sequence)
) WITHOUT ROWID;
"""
_Count = Annotated[int, Field(ge=0, lt=2**53)]


class WindowIn(BaseModel):
    """A window, as `tinymlops.wire.observations.Window`."""

    workload: str = Field(max_length=64)
    release: _Count
    recipe: str = Field(max_length=64)
    layout: str = Field(pattern="^[0-9a-f]{16}$")
    began_s: float
    ended_s: float
    consent: _Count
    epsilon: float = Field(ge=0, le=100)
    histograms: list[list[int]]
    queries: _Count
    errors: _Count = 0
    labelled: _Count = 0
    latencies: list[_Count]
    memory_kib: _Count | None
    energy_uj: float | None


class RecordIn(BaseModel):
    """A window with its number."""

    sequence: _Count
    window: WindowIn


class Batch(BaseModel):
    """What a device hands in; a consent, which is not judged here, is text."""

    consent: str | None = None
    records: list[RecordIn] = Field(max_length=1000)


def body(records: Sequence[Record]) -> bytes:
    """Records in JSON."""
    windows = [one for one in records if one.kind == RecordName.WINDOW]
    consents = [one.content.hex() for one in records if one.kind == RecordName.CONSENT]
    told = [{"sequence": one.sequence, "window": msgspec.msgpack.decode(one.content, type=Window)} for one in windows]
    return msgspec.json.encode({"consent": consents[0] if consents else None, "records": told})


def plain_app(database: Path, keys: dict[str, bytes]) -> FastAPI:
    """The app; ``keys`` are the devices' signing keys."""
    app = FastAPI()
    connection = sqlite3.connect(database, check_same_thread=False, isolation_level=None)
    connection.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; {_TABLES}")
    lock = threading.Lock()  # SQLite has one writer: to wait here is cheaper than to be refused by it

    async def claimed(request: Request) -> request_signing.RequestSignature:
        try:
            found = request_signing.read_signature(dict(request.headers))
            target = request_signing.Request("POST", request.url.path, await request.body())
            request_signing.check(target, found, keys[found.device_id])
        except (TinyMLOpsError, KeyError) as error:
            raise HTTPException(401) from error
        if not request_signing.is_timely(found, now_s=time.time()):
            raise HTTPException(401)
        return found

    def telemetry(batch: Batch, signature: Any = Depends(claimed)) -> dict[str, int]:  # noqa: B008 - FastAPI's way
        device, now_s = signature.device_id, time.time()
        rows = [(device, one.sequence, now_s, one.window.model_dump_json()) for one in batch.records]
        with lock:
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.execute("INSERT INTO nonces VALUES (?, ?, ?)", (device, signature.nonce, now_s))
                connection.executemany("INSERT OR IGNORE INTO windows VALUES (?, ?, ?, ?)", rows)
                connection.execute("COMMIT")
            except sqlite3.IntegrityError as error:
                connection.execute("ROLLBACK")
                raise HTTPException(409) from error
        return {"v": 1, "through": batch.records[-1].sequence}

    app.add_api_route("/v1/telemetry", telemetry, methods=["POST"])
    return app


def serve_plain(database: Path, keys: dict[str, bytes], port: int) -> None:
    """Answer until the process is stopped."""
    uvicorn.run(plain_app(database, keys), host="127.0.0.1", port=port, log_level="warning", access_log=False)


def kept(database: Path) -> int:
    """Windows in the table."""
    connection = sqlite3.connect(database)
    (count,) = connection.execute("SELECT count(*) FROM windows").fetchone()
    connection.close()
    return int(count)
