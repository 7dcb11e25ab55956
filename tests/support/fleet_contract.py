"""What the fleet's record promises, whatever database is behind it. `make` gives the address of an empty one."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymlops.errors import RefusedError, SetupError, StorageError, UsageError
from tinymlops.fleet import CodeTerms, Fleet, Heard, Verdict, open_fleet
from tinymlops.fleet.database import Database
from tinymlops.fleet.requests import HISTORY, NONCE_LIFE_S
from tinymlops.wire.assignment import Assignment
from tinymlops.wire.enrolment_code import EnrolmentCode
from tinymlops.wire.identity import DeviceKeys
from tinymlops.wire.messages import EnrolmentRequest, HealthReport, Phase, ReleaseHealth
from tinymlops.wire.sealing import Cipher

NOW_S = 1_900_000_000.0
_numbers = itertools.count()
T = TypeVar("T")


def nonce() -> str:
    return f"{next(_numbers):022d}"


def new_code(fleet: Fleet, **terms: object) -> EnrolmentCode:
    chosen = msgspec.convert({"expires_s": NOW_S + 3600, "root_version": 1, **terms}, CodeTerms)
    return fleet.new_code(chosen, root=b"root", gateway_key=bytes(32))


def wanted(code: EnrolmentCode, keys: DeviceKeys, profile: str = "raspberry-pi-5") -> EnrolmentRequest:
    return EnrolmentRequest(
        secret=code.secret,
        signing_key=keys.public.signing,
        sealing_key=keys.public.sealing,
        profile=profile,
        agent_version="0.1.0",
        cipher=Cipher.CHACHA20_POLY1305,
    )


def enrolled(fleet: Fleet, *, profile: str = "raspberry-pi-5", **terms: object) -> str:
    keys = DeviceKeys.generate()
    fleet.enrol(wanted(new_code(fleet, **terms), keys, profile), now_s=NOW_S)
    return keys.device_id


def report(sequence: int, *, version: int = 1, phase: Phase = Phase.GOOD, workload: str = "activity") -> HealthReport:
    release = ReleaseHealth(workload=workload, version=version, assignment=1, phase=phase)
    return HealthReport(sequence=sequence, sent_at=NOW_S, agent_version="0.2.0", releases=(release,), battery=0.5)


def heard(device_id: str, health: HealthReport | None = None, *, at_s: float = NOW_S) -> Heard:
    return Heard(device_id=device_id, nonce=nonce(), at_s=at_s, report=health)


def at_once(count: int, work: Callable[[int], T]) -> list[T]:
    """What ``count`` threads get that begin together."""
    gate = threading.Barrier(count)

    def one(number: int) -> T:
        gate.wait(timeout=30)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


class FleetContract:
    """Derive from it, and give the fixture ``address``."""

    @pytest.fixture
    def fleet(self, address: str) -> Iterator[Fleet]:
        with open_fleet(address) as fleet:
            yield fleet

    # Enrolment

    def test_a_code_lets_one_device_in_with_what_the_code_says(self, fleet: Fleet) -> None:
        keys = DeviceKeys.generate()
        code = new_code(fleet, tags=["b", "a", "b"], region="eu", root_version=3)
        ticket = fleet.enrol(wanted(code, keys), now_s=NOW_S)
        assert (ticket.root_version, ticket.again) == (3, False)
        assert fleet.find_device(keys.device_id) == ticket.device
        assert (ticket.device.tags, ticket.device.region, ticket.device.keys) == (("a", "b"), "eu", keys.public)
        assert (ticket.device.cipher, ticket.device.enrolled_s) == (Cipher.CHACHA20_POLY1305, NOW_S)

    def test_the_same_device_gets_the_same_answer_again_even_when_the_code_has_run_out(self, fleet: Fleet) -> None:
        keys, code = DeviceKeys.generate(), new_code(fleet)
        first = fleet.enrol(wanted(code, keys), now_s=NOW_S)
        second = fleet.enrol(wanted(code, keys), now_s=NOW_S + 99_999)
        assert second.again
        assert second.device == first.device

    def test_a_used_code_lets_nobody_else_in(self, fleet: Fleet) -> None:
        code, thief = new_code(fleet), DeviceKeys.generate()
        fleet.enrol(wanted(code, DeviceKeys.generate()), now_s=NOW_S)
        with pytest.raises(RefusedError, match="used by another device"):
            fleet.enrol(wanted(code, thief), now_s=NOW_S)
        assert fleet.find_device(thief.device_id) is None

    def test_of_many_devices_with_one_code_at_once_one_gets_in(self, fleet: Fleet) -> None:
        code = new_code(fleet)

        def attempt(_: int) -> bool:
            try:
                fleet.enrol(wanted(code, DeviceKeys.generate()), now_s=NOW_S)
            except RefusedError:
                return False
            return True

        assert sum(at_once(8, attempt)) == 1
        assert len(fleet.devices()) == 1

    def test_one_device_that_asks_many_times_at_once_gets_in_once(self, fleet: Fleet) -> None:
        code, keys = new_code(fleet), DeviceKeys.generate()
        tickets = at_once(6, lambda _: fleet.enrol(wanted(code, keys), now_s=NOW_S))
        assert sorted(ticket.again for ticket in tickets) == [False] + [True] * 5

    @pytest.mark.parametrize("late_s", [0.0, 1.0])
    def test_a_code_that_has_run_out_is_refused(self, fleet: Fleet, late_s: float) -> None:
        code = new_code(fleet, expires_s=NOW_S)
        with pytest.raises(RefusedError, match="run out"):
            fleet.enrol(wanted(code, DeviceKeys.generate()), now_s=NOW_S + late_s)

    def test_a_code_for_another_profile_is_refused_and_stays_good(self, fleet: Fleet) -> None:
        code, keys = new_code(fleet, profile="raspberry-pi-5"), DeviceKeys.generate()
        with pytest.raises(RefusedError, match="for devices of profile raspberry-pi-5"):
            fleet.enrol(wanted(code, keys, "x86-gateway"), now_s=NOW_S)
        assert not fleet.enrol(wanted(code, keys), now_s=NOW_S).again

    def test_an_unknown_code_is_refused(self, fleet: Fleet) -> None:
        with pytest.raises(RefusedError, match="not known"):
            fleet.enrol(wanted(EnrolmentCode.new(b"", b""), DeviceKeys.generate()), now_s=NOW_S)

    def test_a_withdrawn_code_is_refused_and_a_used_one_cannot_be_withdrawn(self, fleet: Fleet) -> None:
        code = new_code(fleet)
        fleet.withdraw_code(code)
        with pytest.raises(RefusedError, match="not known"):
            fleet.enrol(wanted(code, DeviceKeys.generate()), now_s=NOW_S)
        used = new_code(fleet)
        fleet.enrol(wanted(used, DeviceKeys.generate()), now_s=NOW_S)
        with pytest.raises(UsageError, match="no unused code"):
            fleet.withdraw_code(used)

    def test_a_device_that_comes_back_with_another_code_keeps_its_past_and_gets_the_codes_terms(
        self, fleet: Fleet
    ) -> None:
        keys = DeviceKeys.generate()
        fleet.enrol(wanted(new_code(fleet, tags=["old"], region="eu"), keys), now_s=NOW_S)
        fleet.admit([heard(keys.device_id, report(7))])
        fleet.enrol(wanted(new_code(fleet, tags=["new"]), keys), now_s=NOW_S + 5)
        device = fleet.find_device(keys.device_id)
        assert device is not None
        assert (device.tags, device.region, device.enrolled_s, device.sequence) == (("new",), None, NOW_S, 7)

    def test_a_revoked_device_never_comes_back(self, fleet: Fleet) -> None:
        code, keys = new_code(fleet), DeviceKeys.generate()
        fleet.enrol(wanted(code, keys), now_s=NOW_S)
        fleet.revoke(keys.device_id, now_s=NOW_S + 1)
        for one in (code, new_code(fleet)):
            with pytest.raises(RefusedError, match="revoked"):
                fleet.enrol(wanted(one, keys), now_s=NOW_S + 2)

    def test_a_secret_is_nowhere_in_the_database(self, fleet: Fleet, address: str) -> None:
        code = new_code(fleet)
        database = Database(address)
        with database.reading() as connection:
            rows = connection.exec_driver_sql("SELECT * FROM enrolment_codes").all()
        database.close()
        assert len(rows) == 1
        assert code.secret.hex() not in str(rows)
        assert str(code).split("-")[1] not in str(rows)

    # Finding and revoking

    def test_devices_are_chosen_by_profile_tag_region_and_id(self, fleet: Fleet) -> None:
        a = enrolled(fleet, tags=["shop", "test"], region="eu")
        b = enrolled(fleet, profile="x86-gateway", tags=["shop"], region="us")
        c = enrolled(fleet)

        def found(**how: object) -> set[str]:
            return {device.device_id for device in fleet.devices(**how)}  # type: ignore[arg-type]

        assert found() == {a, b, c}
        assert found(tags=["shop"]) == {a, b}
        assert found(tags=["test", "nothing"]) == {a}
        assert found(profiles=["raspberry-pi-5"], regions=["eu", "us"]) == {a}
        assert found(ids=[b, c, "0" * 32]) == {b, c}
        assert found(ids=[]) == set()

    def test_pages_of_devices_make_the_whole(self, fleet: Fleet) -> None:
        ids = sorted(enrolled(fleet) for _ in range(7))
        seen: list[str] = []
        while page := fleet.devices(after=seen[-1] if seen else "", limit=3):
            seen += [device.device_id for device in page]
        assert seen == ids

    def test_more_ids_than_a_statement_can_hold(self, fleet: Fleet) -> None:
        device_id = enrolled(fleet)
        many = [f"{number:032x}" for number in range(2500)]
        assert [device.device_id for device in fleet.devices(ids=[*many, device_id])] == [device_id]
        assert fleet.health(device_ids=[*many, device_id]) == ()

    def test_a_revoked_device_is_shown_only_on_demand(self, fleet: Fleet) -> None:
        device_id = enrolled(fleet)
        fleet.admit([heard(device_id, report(1))])
        assert fleet.revoke(device_id, now_s=NOW_S + 1).revoked_s == NOW_S + 1
        assert fleet.revoke(device_id, now_s=NOW_S + 9).revoked_s == NOW_S + 1
        assert fleet.devices() == ()
        assert fleet.health() == ()
        assert fleet.phases() == {}
        assert [device.device_id for device in fleet.devices(revoked=True)] == [device_id]

    def test_there_is_no_device_to_revoke(self, fleet: Fleet) -> None:
        with pytest.raises(UsageError, match="there is no device"):
            fleet.revoke("0" * 32, now_s=NOW_S)

    # Requests

    def test_a_nonce_counts_once_and_for_each_device(self, fleet: Fleet) -> None:
        a, b = enrolled(fleet), enrolled(fleet)
        first = heard(a)
        same = msgspec.structs.replace(first, device_id=b)
        verdicts = [one.verdict for one in fleet.admit([first, first, same])]
        assert verdicts == [Verdict.ACCEPTED, Verdict.REPLAYED, Verdict.ACCEPTED]
        assert [one.verdict for one in fleet.admit([first])] == [Verdict.REPLAYED]

    def test_a_nonce_is_remembered_by_another_process_and_after_a_restart(self, fleet: Fleet, address: str) -> None:
        first = heard(enrolled(fleet))
        fleet.admit([first])
        fleet.close()
        with open_fleet(address) as other:
            assert other.admit([first])[0].verdict == Verdict.REPLAYED

    def test_of_one_request_that_many_gateways_get_at_once_one_accepts(self, fleet: Fleet) -> None:
        first = heard(enrolled(fleet))
        verdicts = at_once(8, lambda _: fleet.admit([first])[0].verdict)
        assert sorted(verdicts) == [Verdict.ACCEPTED] + [Verdict.REPLAYED] * 7

    def test_gateways_that_hear_the_same_devices_at_once_do_not_lock_each_other_out(self, fleet: Fleet) -> None:
        ids = [enrolled(fleet) for _ in range(12)]

        def hear(number: int) -> int:
            order = ids[number:] + ids[:number]
            return sum(one.verdict == Verdict.ACCEPTED for one in fleet.admit([heard(device) for device in order]))

        assert at_once(6, hear) == [12] * 6

    def test_nonces_are_forgotten_when_their_requests_are_too_old_anyway(self, fleet: Fleet) -> None:
        device_id = enrolled(fleet)
        fleet.admit([heard(device_id), heard(device_id, at_s=NOW_S + 50)])
        assert fleet.prune_nonces(now_s=NOW_S + NONCE_LIFE_S) == 0
        assert fleet.prune_nonces(now_s=NOW_S + NONCE_LIFE_S + 1) == 1

    def test_a_device_that_was_revoked_or_never_enrolled_is_not_heard(self, fleet: Fleet) -> None:
        a, b = enrolled(fleet), enrolled(fleet)
        fleet.revoke(a, now_s=NOW_S)
        verdicts = [one.verdict for one in fleet.admit([heard(a, report(1)), heard("0" * 32), heard(b)])]
        assert verdicts == [Verdict.REVOKED, Verdict.REVOKED, Verdict.ACCEPTED]
        assert fleet.history(a) == ()

    def test_an_empty_batch_is_nothing(self, fleet: Fleet) -> None:
        assert fleet.admit([]) == ()

    # Health

    def test_the_newest_report_is_the_devices_health(self, fleet: Fleet) -> None:
        device_id = enrolled(fleet)
        sent = [heard(device_id, report(2, version=2)), heard(device_id, report(1), at_s=NOW_S + 1)]
        assert [one.sequence for one in fleet.admit(sent)] == [2, 2]
        assert fleet.admit([heard(device_id, report(0), at_s=NOW_S + 2)])[0].sequence == 2
        (health,) = fleet.health()
        assert (health.device_id, health.health.version, health.reported_s) == (device_id, 2, NOW_S)
        device = fleet.find_device(device_id)
        assert device is not None
        assert (device.sequence, device.seen_s, device.agent_version, device.battery) == (2, NOW_S + 2, "0.2.0", 0.5)

    def test_a_report_without_a_release_takes_the_old_ones_away(self, fleet: Fleet) -> None:
        device_id = enrolled(fleet)
        fleet.admit([heard(device_id, report(1))])
        fleet.admit([heard(device_id, msgspec.structs.replace(report(2), releases=()))])
        assert fleet.health() == ()
        assert len(fleet.history(device_id)) == 2

    def test_health_is_chosen_by_workload_version_and_device(self, fleet: Fleet) -> None:
        a, b = enrolled(fleet), enrolled(fleet)
        fleet.admit([heard(a, report(1, version=1)), heard(b, report(1, version=2, phase=Phase.FAILED))])
        assert [one.device_id for one in fleet.health(workload="activity", version=2)] == [b]
        assert [one.device_id for one in fleet.health(device_ids=[a])] == [a]
        assert fleet.health(workload="fashion") == ()
        assert fleet.phases() == {("activity", 1, "good"): 1, ("activity", 2, "failed"): 1}

    def test_a_version_named_twice_in_one_report_is_kept_once(self, fleet: Fleet) -> None:
        device_id = enrolled(fleet)
        twice = report(1).releases * 2
        fleet.admit([heard(device_id, msgspec.structs.replace(report(1), releases=twice))])
        assert len(fleet.health()) == 1

    def test_history_is_bounded(self, fleet: Fleet) -> None:
        device_id = enrolled(fleet)
        count = HISTORY + 20
        fleet.admit([heard(device_id, report(number)) for number in range(count)])
        kept = [one.report.sequence for one in fleet.history(device_id)]
        assert kept == list(range(count - HISTORY, count))

    def test_words_of_any_kind_in_a_report_are_kept(self, fleet: Fleet) -> None:
        device_id = enrolled(fleet)
        words = "'quoted\"; DROP TABLE devices; -- \U0001f9ea"
        release = msgspec.structs.replace(report(1).releases[0], reason=words, version=2**53 - 1)
        fleet.admit([heard(device_id, msgspec.structs.replace(report(2**53 - 1), releases=(release,)))])
        assert fleet.health()[0].health.reason == words == release.reason

    # Telemetry

    def test_telemetry_never_goes_back(self, fleet: Fleet) -> None:
        device_id = enrolled(fleet)
        assert fleet.telemetry_through(device_id) == -1
        for through in (5, 3, 9, 9):
            fleet.advance_telemetry({device_id: through})
        assert fleet.telemetry_through(device_id) == 9

    # Roll-outs and assignments

    def test_a_roll_out_is_changed_only_by_who_has_seen_it(self, fleet: Fleet) -> None:
        assert fleet.load_rollout("r") is None
        assert fleet.save_rollout("r", b'{"a":1}', expected=None, now_s=1.0) == 1
        assert fleet.save_rollout("r", b"{}", expected=None, now_s=2.0) is None
        assert fleet.save_rollout("r", b'{"a":2}', expected=1, now_s=3.0) == 2
        assert fleet.save_rollout("r", b"{}", expected=1, now_s=4.0) is None
        stored = fleet.load_rollout("r")
        assert stored is not None
        assert (stored.document, stored.version, stored.updated_s) == (b'{"a":2}', 2, 3.0)

    def test_of_many_who_change_a_roll_out_at_once_one_does(self, fleet: Fleet) -> None:
        fleet.save_rollout("r", b"{}", expected=None, now_s=1.0)
        done = at_once(6, lambda number: fleet.save_rollout("r", b"%d" % number, expected=1, now_s=2.0))
        assert sorted(one is not None for one in done) == [False] * 5 + [True]

    def test_the_roll_out_that_was_changed_last_comes_first(self, fleet: Fleet) -> None:
        for name, now_s in (("a", 1.0), ("b", 3.0), ("c", 2.0)):
            fleet.save_rollout(name, b"{}", expected=None, now_s=now_s)
        assert [one.rollout_id for one in fleet.rollouts()] == ["b", "c", "a"]

    def test_no_assignment_counter_is_given_out_twice(self, fleet: Fleet) -> None:
        ids = [enrolled(fleet) for _ in range(3)]
        given_out = at_once(6, lambda _: dict(fleet.next_assignment_counters(ids)))
        for device_id in ids:
            assert sorted(one[device_id] for one in given_out) == [1, 2, 3, 4, 5, 6]
        assert fleet.next_assignment_counters([]) == {}

    def test_the_newest_assignment_is_remembered(self, fleet: Fleet) -> None:
        a, b = enrolled(fleet), enrolled(fleet)
        fleet.next_assignment_counters([a, b])
        assert fleet.assignments() == {}
        new, old = (Assignment(device_id=a, counter=counter, issued_s=NOW_S) for counter in (7, 3))
        fleet.record_assignments([new])
        fleet.record_assignments([old])
        fleet.record_assignments([])
        assert fleet.assignments() == {a: new}
        assert fleet.assignments([b]) == {}
        assert fleet.next_assignment_counters([a]) == {a: 8}

    # The database itself

    def test_processes_that_start_at_once_make_the_tables_once(self, address: str) -> None:
        def start(_: int) -> int:
            with open_fleet(address) as fleet:
                return len(fleet.devices())

        assert at_once(6, start) == [0] * 6

    def test_tables_are_not_made_where_that_is_not_wanted(self, address: str) -> None:
        with pytest.raises(SetupError, match="tinymlops fleet migrate"):
            open_fleet(address, migrate=False)
        open_fleet(address).close()
        open_fleet(address, migrate=False).close()

    def test_tables_of_a_newer_release_are_left_alone(self, fleet: Fleet, address: str) -> None:
        database = Database(address)
        with database.writing() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        database.close()
        with pytest.raises(SetupError, match="9999"):
            open_fleet(address)

    def test_migrations_make_the_tables_that_the_code_uses(self, fleet: Fleet, address: str) -> None:
        from alembic.autogenerate import compare_metadata
        from alembic.runtime.migration import MigrationContext

        from tinymlops.fleet.tables import metadata

        database = Database(address)
        with database.reading() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        database.close()

    def test_migrations_can_be_undone(self, fleet: Fleet, address: str) -> None:
        from alembic import command
        from alembic.config import Config
        from sqlalchemy import inspect

        from tinymlops.fleet import database as module

        database = Database(address)
        with database.writing() as connection:
            config = Config()
            config.set_main_option("script_location", str(module.MIGRATIONS))
            config.attributes["connection"] = connection
            command.downgrade(config, "base")
            assert inspect(connection).get_table_names() == ["alembic_version"]
        assert database.migrate()
        database.close()

    def test_a_block_that_fails_leaves_nothing_behind(self, fleet: Fleet, address: str) -> None:
        database = Database(address)
        statements = ("INSERT INTO rollouts VALUES ('r', '{}', 1, 1.0)", "INSERT INTO nothing VALUES (1)")

        def write() -> None:
            with database.writing() as connection:
                for statement in statements:
                    connection.exec_driver_sql(statement)

        with pytest.raises(StorageError, match="failed"):
            write()
        database.close()
        assert fleet.rollouts() == ()

    def test_reports_in_any_order_and_any_batches_end_the_same(self, fleet: Fleet) -> None:
        @given(st.lists(st.lists(st.integers(0, 20), max_size=5), max_size=5))
        def ends_with_the_highest(batches: list[list[int]]) -> None:
            device_id = enrolled(fleet)
            sent = [number for batch in batches for number in batch]
            for batch in batches:
                fleet.admit([heard(device_id, report(number, version=number)) for number in batch])
            health = [one.health.version for one in fleet.health(device_ids=[device_id])]
            assert health == ([max(sent)] if sent else [])

        ends_with_the_highest()
