"""An ObjectStore in a bucket of AWS S3 or any server that speaks it and enforces conditional writes."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, cast

from tinymlops.errors import SetupError
from tinymlops.files import sha256
from tinymlops.store.protocol import ETag, Listed, NotFoundError, Stored, checked_key
from tinymlops.store.s3_errors import in_our_words, is_lost_race, is_not_found

_PART_BYTES = 8 << 20
"""Larger values go up in parts of this size. S3 allows 5 MiB to 5 GiB, and 10,000 parts."""
_CONNECTIONS = 16
_CONNECT_TIMEOUT_S, _READ_TIMEOUT_S, _ATTEMPTS = 5, 30, 4


class S3Store:
    """Values as objects of one bucket.

    Args:
        bucket: Its name; it must exist.
        prefix: Put before every key, without slashes at its ends.
        endpoint: Address of a server other than AWS.
        access_key: With ``secret_key``; else boto3's own chain (environment, files, the machine's role).
        secret_key: See ``access_key``.
        region: Where the bucket lies; else boto3's own setting, else ``us-east-1``.

    Raises:
        SetupError: boto3 is not installed.
        StorageError: There is no such bucket.
        RefusedError: The keys are wrong or may not read it.
        UnreachableError: Nothing answers at the endpoint.
    """

    def __init__(
        self,
        bucket: str,
        *,
        prefix: str = "",
        endpoint: str | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
        region: str | None = None,
    ) -> None:
        self.bucket = bucket
        self.endpoint = endpoint
        self._prefix = f"{checked_key(prefix)}/" if prefix else ""
        self._client = _client(endpoint, access_key, secret_key, region)
        with self._in_our_words():
            self._client.head_bucket(Bucket=bucket)

    @property
    def address(self) -> str:
        """``s3://`` with bucket and prefix."""
        return f"s3://{self.bucket}/{self._prefix}".rstrip("/")

    def put(self, key: str, content: bytes) -> ETag:
        """See :class:`ObjectStore`."""
        etag = self._put(key, content, {})
        assert etag is not None  # noqa: S101 - only a condition can lose
        return etag

    def put_many(self, contents: Mapping[str, bytes]) -> None:
        """See :class:`ObjectStore`. Over several connections at once."""
        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            for _ in pool.map(self.put, contents.keys(), contents.values()):
                pass

    def put_if_absent(self, key: str, content: bytes) -> ETag | None:
        """See :class:`ObjectStore`."""
        return self._put(key, content, {"IfNoneMatch": "*"})

    def put_if_match(self, key: str, content: bytes, etag: ETag) -> ETag | None:
        """See :class:`ObjectStore`."""
        return self._put(key, content, {"IfMatch": etag})

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """See :class:`ObjectStore`."""
        if start == 0 and length is None:
            return self.get_tagged(key)[0]
        if length == 0 or start >= self.head(key).size:  # S3 has no empty range
            return b""
        end = "" if length is None else start + length - 1
        with self._reading(key, Range=f"bytes={start}-{end}") as answer:
            return cast(bytes, answer["Body"].read())

    def get_tagged(self, key: str) -> tuple[bytes, ETag]:
        """See :class:`ObjectStore`."""
        with self._reading(key) as answer:
            return answer["Body"].read(), ETag(answer["ETag"])

    @contextlib.contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        """See :class:`ObjectStore`."""
        with self._reading(key) as answer:
            yield answer["Body"]

    def head(self, key: str) -> Stored:
        """See :class:`ObjectStore`."""
        with self._in_our_words(key):
            answer = self._client.head_object(Bucket=self.bucket, Key=self._name(key))
        digest = answer["Metadata"].get("sha256")
        return Stored(key=key, size=answer["ContentLength"], etag=ETag(answer["ETag"]), sha256=digest)

    def list(self, prefix: str = "") -> Iterator[Listed]:
        """See :class:`ObjectStore`."""
        if prefix:
            checked_key(prefix.rstrip("/"))
        pages = self._client.get_paginator("list_objects_v2")
        with self._in_our_words():
            for page in pages.paginate(Bucket=self.bucket, Prefix=self._prefix + prefix):
                for found in page.get("Contents", ()):
                    key = found["Key"].removeprefix(self._prefix)
                    yield Listed(key=key, size=found["Size"], modified_s=found["LastModified"].timestamp())

    def delete(self, key: str) -> None:
        """See :class:`ObjectStore`."""
        with self._in_our_words():
            self._client.delete_object(Bucket=self.bucket, Key=self._name(key))

    def presign(self, key: str, seconds: int) -> str:
        """See :class:`ObjectStore`. Anybody who holds the URL can read the value until it expires."""
        place = {"Bucket": self.bucket, "Key": self._name(key)}
        return cast(str, self._client.generate_presigned_url("get_object", Params=place, ExpiresIn=seconds))

    def _put(self, key: str, content: bytes, condition: Mapping[str, str]) -> ETag | None:
        name, mark = self._name(key), uuid.uuid4().hex
        facts = {"sha256": sha256(content), "write": mark}
        with self._in_our_words(key):
            try:
                if len(content) > _PART_BYTES:
                    return self._put_in_parts(name, content, facts, condition)
                answer = self._client.put_object(
                    Bucket=self.bucket,
                    Key=name,
                    Body=content,
                    Metadata=facts,
                    ChecksumSHA256=_checksum(content),
                    **condition,
                )
                return ETag(answer["ETag"])
            except self._client.exceptions.ClientError as error:
                if not (condition and is_lost_race(error)):
                    raise
        return self._won_after_all(key, mark)

    def _put_in_parts(
        self, name: str, content: bytes, facts: Mapping[str, str], condition: Mapping[str, str]
    ) -> ETag | None:
        place = {"Bucket": self.bucket, "Key": name}
        upload = self._client.create_multipart_upload(**place, Metadata=facts, ChecksumAlgorithm="SHA256")
        place["UploadId"] = upload["UploadId"]
        try:
            parts = []
            for number, start in enumerate(range(0, len(content), _PART_BYTES), start=1):
                part, digest = content[start : start + _PART_BYTES], _checksum(content[start : start + _PART_BYTES])
                sent = self._client.upload_part(**place, PartNumber=number, Body=part, ChecksumSHA256=digest)
                parts.append({"PartNumber": number, "ETag": sent["ETag"], "ChecksumSHA256": digest})
            done = self._client.complete_multipart_upload(**place, MultipartUpload={"Parts": parts}, **condition)
        except BaseException:
            # Parts without an object cost money for ever and show in no listing.
            self._client.abort_multipart_upload(**place)
            raise
        return ETag(done["ETag"])

    def _won_after_all(self, key: str, mark: str) -> ETag | None:
        """The tag, if the value that is there came from the same call.

        A put whose answer was lost on the way is sent again by boto3, and is then refused because of itself.
        """
        with self._in_our_words():
            try:
                answer = self._client.head_object(Bucket=self.bucket, Key=self._name(key))
            except self._client.exceptions.ClientError as error:
                if is_not_found(error):
                    return None
                raise
        return ETag(answer["ETag"]) if answer["Metadata"].get("write") == mark else None

    @contextlib.contextmanager
    def _reading(self, key: str, **request: str) -> Iterator[dict[str, Any]]:
        with self._in_our_words(key):
            answer = self._client.get_object(Bucket=self.bucket, Key=self._name(key), **request)
            with contextlib.closing(answer["Body"]):
                yield answer

    def _name(self, key: str) -> str:
        return self._prefix + checked_key(key)

    def _in_our_words(self, key: str | None = None) -> contextlib.AbstractContextManager[None]:
        missing = NotFoundError(key, self.address) if key else None
        return in_our_words(self.address, self.endpoint, missing)


def _checksum(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def _client(endpoint: str | None, access_key: str | None, secret_key: str | None, region: str | None) -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise SetupError("S3 needs the package boto3", "install it with pip install 'tinymlops[gateway]'") from error
    session = boto3.session.Session()
    config = Config(
        # For other endpoints boto3 still signs URLs in the old way, which says nothing about headers.
        signature_version="s3v4",
        s3={"addressing_style": "path" if endpoint else "auto"},
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        connect_timeout=_CONNECT_TIMEOUT_S,
        read_timeout=_READ_TIMEOUT_S,
        max_pool_connections=_CONNECTIONS,
    )
    return session.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name=region or session.region_name or "us-east-1",
        config=config,
    )
