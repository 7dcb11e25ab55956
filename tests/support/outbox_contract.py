"""What the outbox of webhooks promises, whatever database is behind it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import pytest

from tests.support.fleet_contract import NOW_S, at_once
from tinymlops.fleet import Outbox, WebhookRequest, WebhookState, open_fleet

DIGEST = "0" * 64


def put(outbox: Outbox, name: str, *, digest: str = DIGEST, now_s: float = NOW_S) -> WebhookRequest:
    return outbox.put(name, digest=digest, parameters=b"{}", now_s=now_s)[0]


def claim(outbox: Outbox, *, now_s: float = NOW_S, most: int = 10) -> list[str]:
    return [one.webhook_id for one in outbox.claim(now_s=now_s, lease_s=30, most=most)]


class OutboxContract:
    """Derive from it, and give the fixture ``address``."""

    @pytest.fixture
    def outbox(self, address: str) -> Iterator[Outbox]:
        with open_fleet(address) as fleet:
            yield fleet.outbox

    def test_the_first_request_of_a_name_stays(self, outbox: Outbox) -> None:
        first = put(outbox, "a")
        assert put(outbox, "a", digest="1" * 64, now_s=NOW_S + 5) == first
        assert (first.state, first.digest, first.received_s) == (WebhookState.WAITING, DIGEST, NOW_S)
        assert outbox.find("b") is None

    def test_of_many_at_once_one_is_kept_and_one_gateway_gets_it(self, outbox: Outbox) -> None:
        kept = at_once(8, lambda _: outbox.put("a", digest=DIGEST, parameters=b"{}", now_s=NOW_S))
        assert len({request for request, _ in kept}) == 1
        assert sum(is_new for _, is_new in kept) == 1
        assert list(chain(*at_once(8, lambda _: claim(outbox)))) == ["a"]

    def test_many_requests_go_to_many_gateways_each_once(self, outbox: Outbox) -> None:
        names = [f"{number:02d}" for number in range(40)]
        for name in names:
            put(outbox, name)
        got = at_once(8, lambda _: [*claim(outbox, most=5), *claim(outbox, most=5)])
        left = claim(outbox, most=40)  # where one skipped what another had locked
        assert sorted(chain(left, *got)) == names

    def test_a_request_whose_taker_died_is_taken_again(self, outbox: Outbox) -> None:
        put(outbox, "a")
        assert claim(outbox) == ["a"]
        assert claim(outbox, now_s=NOW_S + 29) == []
        assert claim(outbox, now_s=NOW_S + 30) == ["a"]
        found = outbox.find("a")
        assert found is not None
        assert found.attempts == 2

    def test_what_waited_longest_comes_first(self, outbox: Outbox) -> None:
        put(outbox, "late", now_s=NOW_S - 1)
        put(outbox, "early", now_s=NOW_S - 2)
        assert claim(outbox, most=1) == ["early"]

    def test_a_request_that_was_put_off_is_due_later(self, outbox: Outbox) -> None:
        put(outbox, "a")
        claim(outbox)
        outbox.put_off("a", until_s=NOW_S + 2, note="Prefect is away")
        assert claim(outbox, now_s=NOW_S + 1) == []
        assert claim(outbox, now_s=NOW_S + 2) == ["a"]

    def test_what_has_begun_stays_begun(self, outbox: Outbox) -> None:
        put(outbox, "a")
        assert outbox.waiting() == 1
        outbox.started("a", "run-1")
        outbox.put_off("a", until_s=NOW_S, note="a late answer")
        outbox.fail("a", "another one")
        outbox.started("a", "run-2")
        found = outbox.find("a")
        assert found is not None
        assert (found.state, found.run_id, found.note) == (WebhookState.STARTED, "run-1", "")
        assert (claim(outbox, now_s=NOW_S + 100), outbox.waiting()) == ([], 0)

    def test_what_waits_is_never_forgotten(self, outbox: Outbox) -> None:
        for name in ("waits", "done", "failed", "young"):
            put(outbox, name, now_s=NOW_S + (name == "young"))
        outbox.started("done", "run")
        outbox.started("young", "run")
        outbox.fail("failed", "no")
        assert outbox.prune(before_s=NOW_S + 1) == 2
        assert outbox.find("waits")
        assert outbox.find("young")
        assert outbox.find("done") is None
