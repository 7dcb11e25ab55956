"""What every ObjectStore must do. Test modules make it run against their own kind of store."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import racing
from tinymlops.errors import UsageError
from tinymlops.store import ETag, NotFoundError, ObjectStore, probe

BAD_KEYS = (
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "a/..",
    "../a",
    "a/../../b",
    "a/./b",
    ".hidden",
    "a/.locks",
    "nul\0byte",
    "line\nbreak",
    "delete\x7f",
    "back\\slash",
    "half \ud800 a pair",
    "s" * 256,
    "ä" * 128,
    "/".join(["s" * 200] * 6),
)
_MiB = 1 << 20
_SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors, HealthCheck.too_slow]


class StoreContract:
    """Subclasses give the fixtures ``store`` (empty) and ``elsewhere`` (how another process reaches the same)."""

    @pytest.fixture
    def store(self) -> ObjectStore:
        raise NotImplementedError

    @pytest.fixture
    def elsewhere(self, store: ObjectStore) -> Mapping[str, str]:
        return {}

    def test_a_value_comes_back(self, store: ObjectStore) -> None:
        etag = store.put("a/b.json", b"value")
        assert store.get("a/b.json") == b"value"
        assert store.get_tagged("a/b.json") == (b"value", etag)
        with store.open("a/b.json") as stream:
            assert stream.read(3) + stream.read() == b"value"

    def test_an_empty_value_is_a_value(self, store: ObjectStore) -> None:
        store.put("empty", b"")
        assert store.get("empty") == b""
        assert store.head("empty").size == 0
        assert store.get("empty", start=5, length=5) == b""

    def test_head_knows_size_tag_and_digest(self, store: ObjectStore) -> None:
        etag = store.put("a", b"value")
        facts = store.head("a")
        assert (facts.key, facts.size, facts.etag) == ("a", 5, etag)
        assert facts.sha256 == hashlib.sha256(b"value").hexdigest()

    def test_a_new_value_replaces_the_old_one_and_its_tag(self, store: ObjectStore) -> None:
        before = store.put("a", b"old")
        after = store.put("a", b"new")
        assert before != after
        assert store.get_tagged("a") == (b"new", after)

    @pytest.mark.parametrize(
        ("start", "length", "part"),
        [(0, 4, b"0123"), (3, None, b"3456789"), (8, 10, b"89"), (10, 1, b""), (99, None, b""), (2, 0, b"")],
    )
    def test_a_range(self, store: ObjectStore, start: int, length: int | None, part: bytes) -> None:
        store.put("digits", b"0123456789")
        assert store.get("digits", start=start, length=length) == part

    def test_an_unknown_key_is_named(self, store: ObjectStore) -> None:
        store.put("folder/value", b"")
        for key in ("nothing", "folder", "folder/other", "folder/value/below"):
            for reading in (store.get, store.head, store.get_tagged):
                with pytest.raises(NotFoundError, match=f"there is no {key!r} in {store.address}") as caught:
                    reading(key)
                assert caught.value.key == key
            with pytest.raises(NotFoundError), store.open(key):
                pass
            with pytest.raises(NotFoundError):
                store.get(key, start=1, length=2)

    def test_deleting_is_forgetting_and_never_complains(self, store: ObjectStore) -> None:
        store.put("a", b"value")
        store.delete("a")
        store.delete("a")
        store.delete("no/such/key")
        with pytest.raises(NotFoundError):
            store.get("a")
        assert store.put_if_absent("a", b"again") is not None

    def test_a_listing_goes_by_the_prefix_of_whole_keys(self, store: ObjectStore) -> None:
        keys = ["a", "b-c", "b.c", "b/c", "b/c.d", "b0", "ü/ö", "z/1/2/3"]
        store.put_many(dict.fromkeys(reversed(keys), b"12"))
        listed = list(store.list())
        assert sorted(found.key for found in listed) == sorted(keys)
        assert {found.size for found in listed} == {2}
        assert sorted(found.key for found in store.list("b")) == ["b-c", "b.c", "b/c", "b/c.d", "b0"]
        assert sorted(found.key for found in store.list("b/")) == ["b/c", "b/c.d"]
        assert sorted(found.key for found in store.list("b/c.")) == ["b/c.d"]
        assert list(store.list("nothing/")) == []

    def test_a_long_listing_comes_whole(self, store: ObjectStore) -> None:
        keys = [f"many/{number:04}" for number in range(1_100)]  # S3 gives 1,000 at a time
        store.put_many(dict.fromkeys(keys, b""))
        assert sorted(found.key for found in store.list("many/")) == keys

    def test_dates_are_of_now(self, store: ObjectStore) -> None:
        import time

        store.put("a", b"")
        (found,) = store.list()
        assert abs(found.modified_s - time.time()) < 60

    def test_put_if_absent_keeps_what_is_there(self, store: ObjectStore) -> None:
        etag = store.put_if_absent("a", b"first")
        assert etag == store.head("a").etag
        assert store.put_if_absent("a", b"second") is None
        assert store.get("a") == b"first"

    def test_put_if_match_replaces_only_what_was_seen(self, store: ObjectStore) -> None:
        first = store.put("a", b"first")
        second = store.put_if_match("a", b"second", first)
        assert second == store.head("a").etag
        assert store.put_if_match("a", b"third", first) is None
        assert store.put_if_match("a", b"third", ETag('"none"')) is None
        assert store.get("a") == b"second"

    def test_put_if_match_makes_nothing_new(self, store: ObjectStore) -> None:
        etag = store.put("a", b"value")
        store.delete("a")
        assert store.put_if_match("a", b"value", etag) is None
        assert store.put_if_match("never/was", b"value", etag) is None
        assert list(store.list()) == []

    def test_large_values_are_whole_and_keep_their_conditions(self, store: ObjectStore) -> None:
        value, other = bytes(range(256)) * (20 * _MiB // 256), b"x" * (9 * _MiB)
        etag = store.put_if_absent("large", value)
        assert etag is not None
        assert store.put_if_absent("large", other) is None
        assert store.get("large") == value
        facts = store.head("large")
        assert (facts.size, facts.etag, facts.sha256) == (len(value), etag, hashlib.sha256(value).hexdigest())
        assert store.get("large", start=9 * _MiB - 1, length=3) == value[9 * _MiB - 1 :][:3]
        assert store.put_if_match("large", other, ETag('"none"')) is None
        assert store.put_if_match("large", other, etag) is not None
        assert store.get("large") == other

    @pytest.mark.parametrize("key", BAD_KEYS)
    def test_no_method_takes_a_bad_key(self, store: ObjectStore, key: str) -> None:
        for use in (
            store.get,
            store.head,
            store.delete,
            lambda key: store.put(key, b""),
            lambda key: store.put_many({"good": b"", key: b""}),
            lambda key: store.put_if_absent(key, b""),
            lambda key: store.put_if_match(key, b"", ETag("")),
            lambda key: store.presign(key, 1),
        ):
            with pytest.raises(UsageError, match="is not a key"):
                use(key)
        with pytest.raises(UsageError, match="is not a key"), store.open(key):
            pass

    def test_a_bad_prefix_lists_nothing_outside(self, store: ObjectStore) -> None:
        for prefix in ("..", "../", "a/../..", ".locks/"):
            with pytest.raises(UsageError, match="is not a key"):
                list(store.list(prefix))

    @settings(max_examples=30, suppress_health_check=_SHARED)
    @given(key=st.text(st.characters(codec="utf-8", exclude_characters="/\\", exclude_categories=["C"]), min_size=1))
    def test_any_other_text_is_a_key(self, store: ObjectStore, key: str) -> None:
        if key.startswith(".") or len(key.encode()) > 255:
            return
        content = key.encode()
        store.put(key, content)
        assert store.get(key) == content
        assert key in [found.key for found in store.list(key)]
        store.delete(key)

    def test_it_passes_the_probe_and_keeps_nothing_of_it(self, store: ObjectStore) -> None:
        probe(store)
        assert list(store.list()) == []

    def test_of_eight_processes_one_creates(self, store: ObjectStore, elsewhere: Mapping[str, str]) -> None:
        won = racing.race("create", store.address, elsewhere)
        for key in racing.KEYS:
            (winner,) = [process for process, keys in won.items() if key in keys]
            assert store.get(key).startswith(f"{winner} ".encode())

    def test_of_eight_processes_one_replaces(self, store: ObjectStore, elsewhere: Mapping[str, str]) -> None:
        store.put_many(dict.fromkeys(racing.KEYS, b"before"))
        won = racing.race("replace", store.address, elsewhere)
        for key in racing.KEYS:
            (winner,) = [process for process, keys in won.items() if key in keys]
            assert store.get(key).startswith(f"{winner} ".encode())

    def test_a_killed_writer_leaves_the_old_value_or_the_new_one(
        self, store: ObjectStore, elsewhere: Mapping[str, str]
    ) -> None:
        store.put(racing.OVERWRITTEN, b"a" * racing.OVERWRITTEN_BYTES)
        for _ in range(6):
            racing.kill_a_writer(store.address, elsewhere)
            value = store.get(racing.OVERWRITTEN)
            assert value in (b"a" * racing.OVERWRITTEN_BYTES, b"b" * racing.OVERWRITTEN_BYTES)
            assert [found.key for found in store.list()] == [racing.OVERWRITTEN]
