"""A real S3 server keeps the contract, and refuses what it must refuse."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Mapping

import pytest

from tests.support.seaweedfs import BUCKET, S3Server
from tests.support.store_contract import StoreContract
from tinymlops.errors import RefusedError, StorageError, UnreachableError
from tinymlops.store import ObjectStore, open_store
from tinymlops.store.s3 import S3Store


class TestS3(StoreContract):
    @pytest.fixture
    def store(self, s3_server: S3Server) -> S3Store:
        return s3_server.store()

    @pytest.fixture
    def elsewhere(self, store: ObjectStore, s3_server: S3Server) -> Mapping[str, str]:
        return s3_server.environment()


def fetched(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - of our own server
        content: bytes = answer.read()
        return content


def test_a_presigned_url_gives_one_value_to_anybody(s3_server: S3Server) -> None:
    store = s3_server.store()
    store.put("folder/für alle.bin", b"value")
    store.put("folder/secret.bin", b"secret")
    url = store.presign("folder/für alle.bin", 60)
    assert fetched(url) == b"value"
    for tampered in (
        url.replace("f%C3%BCr%20alle", "secret"),
        url.replace("X-Amz-Expires=60", "X-Amz-Expires=6000"),
        url[:-1] + ("0" if url[-1] != "0" else "1"),
        url.partition("?")[0],
    ):
        with pytest.raises(urllib.error.HTTPError) as caught:
            fetched(tampered)
        assert caught.value.code == 403


def test_a_presigned_url_ends(s3_server: S3Server) -> None:
    store = s3_server.store()
    store.put("a", b"value")
    url = store.presign("a", 1)
    time.sleep(2.5)
    with pytest.raises(urllib.error.HTTPError) as caught:
        fetched(url)
    assert caught.value.code == 403


def test_a_value_that_changed_on_the_way_is_refused(s3_server: S3Server) -> None:
    store = s3_server.store()

    def change(params: dict[str, str], **_: object) -> None:
        params["Body"] = "other"

    store._client.meta.events.register("before-parameter-build.s3.PutObject", change)
    with pytest.raises(StorageError, match="BadDigest"):
        store.put("a", b"value")
    assert list(store.list()) == []


def test_a_failed_upload_in_parts_leaves_no_parts(s3_server: S3Server) -> None:
    store = s3_server.store()
    sent = []

    def change_the_second(params: dict[str, object], **_: object) -> None:
        sent.append(params["PartNumber"])
        if params["PartNumber"] == 2:
            params["Body"] = b"other"

    store._client.meta.events.register("before-parameter-build.s3.UploadPart", change_the_second)
    with pytest.raises(StorageError, match="BadDigest"):
        store.put("a", b"v" * (20 << 20))
    assert sent == [1, 2]
    assert list(store.list()) == []
    assert "Uploads" not in store._client.list_multipart_uploads(Bucket=BUCKET, Prefix=store._prefix)


def test_a_create_whose_answer_was_lost_is_still_won(s3_server: S3Server) -> None:
    store = s3_server.store()
    lost: list[object] = []

    def lose(attempts: int, response: object, **_: object) -> float | None:
        # The server has stored the value; the client is told to ask again as after a broken connection.
        if not lost:
            lost.append(response)
            return 0.0
        return None

    store._client.meta.events.register_first("needs-retry.s3.PutObject", lose)
    etag = store.put_if_absent("a", b"value")
    assert lost
    assert etag == store.head("a").etag
    assert store.put_if_absent("a", b"value") is None


def test_wrong_keys_are_said(s3_server: S3Server) -> None:
    for access, secret in ((s3_server.access_key, "wrong"), ("nobody", s3_server.secret_key)):
        with pytest.raises(RefusedError, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
            S3Store(BUCKET, endpoint=s3_server.endpoint, access_key=access, secret_key=secret)


def test_no_keys_are_said(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    with pytest.raises(RefusedError, match="there are no keys.*set AWS_ACCESS_KEY_ID"):
        open_store(f"s3://{BUCKET}", endpoint=s3_server.endpoint)


def test_a_missing_bucket_is_said(s3_server: S3Server) -> None:
    with pytest.raises(StorageError, match="there is no bucket for s3://nowhere"):
        S3Store(
            "nowhere",
            endpoint=s3_server.endpoint,
            access_key=s3_server.access_key,
            secret_key=s3_server.secret_key,
        )


def test_a_silent_endpoint_is_said() -> None:
    with pytest.raises(UnreachableError, match="http://127.0.0.1:9 does not answer"):
        S3Store("bucket", endpoint="http://127.0.0.1:9", access_key="a", secret_key="b")  # noqa: S106


def test_an_address_opens_a_store(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    store = open_store(f"s3://{BUCKET}/opened/here")
    assert store.address == f"s3://{BUCKET}/opened/here"
    store.put("a", b"value")
    assert s3_server.store("opened").get("here/a") == b"value"
