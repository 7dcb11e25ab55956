"""One Delta table, in a folder or a bucket, to which a row is appended once however often it is brought.

Rows are named by device and sequence. What is appended is compared with the table as it was when the writer looked,
and committed only if nobody else has committed since: otherwise the writer looks again. So two loaders at once, a
loader that is killed after its commit, and a commit whose answer was lost all leave each row there once.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from tinymlops.errors import StorageError
from tinymlops.telemetry.schemas import SCHEMAS, TableName, conform

_APPENDS = "append"
"""Counts appends in the table's log (a Delta application transaction): no two writers can make the same one."""
_ATTEMPTS = 30
_LONGEST_PAUSE_S = 2.0
_CONFIGURATION = {
    # A version can be read for as long as its files are there; the log must not be what forgets it.
    "delta.logRetentionDuration": "interval 3650 days",
    "delta.checkpointInterval": "100",
}
_KEY = ["device_id", "sequence"]


class Delta:
    """A table.

    Args:
        address: A folder, ``dir:/path`` or ``s3://bucket/prefix``.
        name: Which of the tables.
    """

    def __init__(self, address: str, name: TableName) -> None:
        self.name = name
        self._address = address if address.startswith("s3://") else str(Path(address.removeprefix("dir:")).absolute())

    def open(self, version: int | None = None) -> DeltaTable:
        """The table as it is now, or as it was at ``version``; made if it is missing.

        Raises:
            StorageError: It can't be read, or that version is gone.
        """
        with self._in_our_words(version):
            options = storage_options(self._address)
            try:
                return DeltaTable(self._address, version=version, storage_options=options)
            except TableNotFoundError:
                if version is not None:
                    raise
            self._create(options)
            return DeltaTable(self._address, storage_options=options)

    def append(self, rows: pa.Table) -> int:
        """Append what is not there yet, in one commit; how many rows that were.

        Raises:
            StorageError: The table can't be written.
        """
        wanted = pl.DataFrame(conform(rows, self.name)).unique(_KEY, keep="first", maintain_order=True)
        for attempt in range(_ATTEMPTS):
            table = self.open()
            fresh = wanted.join(_present(table, wanted), on=_KEY, how="anti", maintain_order="left")
            if fresh.is_empty():
                return 0
            if self._commit(table, conform(fresh.to_arrow(), self.name)):
                return len(fresh)
            time.sleep(random.uniform(0, min(_LONGEST_PAUSE_S, 0.05 * 2**attempt)))  # noqa: S311 - no secret
        raise StorageError(f"others kept writing to {self._address}", "run one loader at a time, then try again")

    def scan(self, version: int | None = None) -> pl.LazyFrame:
        """All rows, with the columns of today; at ``version``, those that were there then.

        Raises:
            StorageError: It can't be read, or that version is gone.
        """
        table = self.open(version)
        with self._in_our_words(version):
            frame = pl.scan_delta(table, storage_options=storage_options(self._address) or None)
            present = set(frame.collect_schema().names())
        blank = pl.DataFrame(SCHEMAS[self.name].empty_table()).schema
        return frame.select(
            pl.col(one) if one in present else pl.lit(None, dtype=kind).alias(one) for one, kind in blank.items()
        )

    def version(self) -> int:
        """Of the table as it is now."""
        return self.open().version()

    def compact(self) -> None:
        """Write each partition's small files together; no row changes."""
        table = self.open()
        with self._in_our_words():
            table.optimize.compact(commit_properties=CommitProperties(max_commit_retries=_ATTEMPTS))
            table.create_checkpoint()

    def vacuum(self, *, retention_hours: int, keep_versions: Sequence[int] = ()) -> int:
        """Delete files that no version needs which is younger than that, or kept; how many.

        Raises:
            StorageError: The table can't be read or written.
        """
        table = self.open()
        kept = sorted({one for one in keep_versions if 0 <= one <= table.version()})
        with self._in_our_words():
            gone = table.vacuum(
                retention_hours, dry_run=False, enforce_retention_duration=False, keep_versions=kept or None
            )
        return len(gone)

    def _create(self, options: dict[str, str]) -> None:
        # Two may be first at once: one of them makes it.
        with contextlib.suppress(CommitFailedError):
            DeltaTable.create(
                self._address,
                schema=SCHEMAS[self.name],
                mode="ignore",
                partition_by=["date"],
                configuration=dict(_CONFIGURATION),
                storage_options=options,
            )

    def _commit(self, table: DeltaTable, rows: pa.Table) -> bool:
        """Append to exactly this state of the table; False if it is no longer the newest."""
        number = (table.transaction_version(_APPENDS) or 0) + 1
        with self._in_our_words():
            try:
                write_deltalake(
                    table,
                    rows,
                    mode="append",
                    schema_mode="merge",
                    commit_properties=CommitProperties(
                        app_transactions=[Transaction(_APPENDS, number)], max_commit_retries=0
                    ),
                )
            except CommitFailedError:
                return False
        return True

    @contextlib.contextmanager
    def _in_our_words(self, version: int | None = None) -> Iterator[None]:
        try:
            yield
        except (DeltaError, OSError, pl.exceptions.ComputeError) as error:
            which = self._address if version is None else f"version {version} of {self._address}"
            cause = (str(error) or type(error).__name__).partition("\n")[0]
            raise StorageError(
                f"the table {which} can't be used ({cause})", "check its folder or bucket and the keys, then try again"
            ) from error


def storage_options(address: str) -> dict[str, str]:
    """What `deltalake` and Polars must be told of a bucket: the endpoint and keys that the object store uses too.

    Empty for a folder.

    Raises:
        StorageError: There are no keys for the bucket.
    """
    if not address.startswith("s3://"):
        return {}
    import boto3

    session: Any = boto3.session.Session()
    found = session.get_credentials()
    if found is None:
        raise StorageError(
            f"there are no keys for {urlsplit(address).netloc}", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    keys = found.get_frozen_credentials()
    endpoint = os.environ.get("TINYMLOPS_S3_ENDPOINT") or os.environ.get("AWS_ENDPOINT_URL_S3") or ""
    options = {
        "aws_access_key_id": keys.access_key,
        "aws_secret_access_key": keys.secret_key,
        "aws_session_token": keys.token or "",
        "aws_region": session.region_name or "us-east-1",
        "aws_endpoint_url": endpoint,
        "aws_allow_http": "true" if endpoint.startswith("http://") else "",
        "aws_conditional_put": "etag",
    }
    return {name: value for name, value in options.items() if value}


def _present(table: DeltaTable, wanted: pl.DataFrame) -> pl.DataFrame:
    """Keys of the table's rows in the partitions that ``wanted`` goes to: the same row is always of the same day."""
    days = wanted["date"].unique().to_list()
    options = storage_options(table.table_uri) or None
    frame = pl.scan_delta(table, storage_options=options).filter(pl.col("date").is_in(days)).select(_KEY)
    return frame.collect()
