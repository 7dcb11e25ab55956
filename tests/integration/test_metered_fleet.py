"""Metered models in a fleet of real agents against a real gateway: vouchers out, use in, invoices right."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.support.owner import FEATURES, NOW_S, PROFILES, WORKLOAD, Owner, make_owner, tiny_manifest, tiny_model
from tinymlops.billing.invoices import Account, verify_invoice
from tinymlops.billing.rating import Tariff
from tinymlops.edge.metering import receipts
from tinymlops.edge.status import status_of
from tinymlops.edge.transitions import Transition
from tinymlops.errors import QuotaError
from tinymlops.files import sha256
from tinymlops.fleet import CodeTerms, VoucherTerms
from tinymlops.gateway.app import create_app
from tinymlops.gateway.keys import GatewayKey
from tinymlops.gateway.settings import GatewaySettings
from tinymlops.releases.records import ReleaseRecord
from tinymlops.store import DirectoryStore
from tinymlops.testing import NO_FAULTS, FakeFleet, Faults, SimulatedTime

DAY_S = 86_400
VALUES = np.zeros(FEATURES, np.float32)


class Shop:
    """An owner whose released model is metered, its gateway, and a fake fleet."""

    def __init__(self, folder: Path, faults: Faults, devices: int) -> None:
        self.time = SimulatedTime(NOW_S)
        self.owner: Owner = make_owner(folder, clock=self.time)
        self.key = GatewayKey.generate()
        self.till = self.owner.fleet.till
        self.till.save_account(Account(name="acme", tariff=Tariff()), now_s=NOW_S)
        settings = GatewaySettings(rates=None, timestamp_ttl_s=0.0, poll_s=3600.0)
        store = DirectoryStore(folder / "repository")
        app = create_app(settings, self.owner.fleet, store, self.key, clock=self.time)
        self.fleet = FakeFleet(app, self.time, folder / "devices", faults=faults)
        terms = CodeTerms(expires_s=NOW_S + 365 * DAY_S, root_version=1)
        codes = [
            self.owner.fleet.new_code(terms, root=self.owner.root, gateway_key=self.key.public) for _ in range(devices)
        ]
        self.release()
        self.fleet.join([PROFILES[0]] * devices, codes)

    def release(self) -> ReleaseRecord:
        model = tiny_model(1)
        manifests = [msgspec.structs.replace(tiny_manifest(model, 1, profile), metered=True) for profile in PROFILES]
        return self.owner.publisher.publish(manifests, {sha256(model): model}, why="metered", now_s=NOW_S)

    def give(self, quota: int, days: int = 365) -> None:
        for device in self.fleet.devices:
            terms = VoucherTerms(
                serial=os.urandom(16).hex(), device_id=device.agent.device_id, workload=WORKLOAD, account="acme",
                quota=quota, life_s=days * DAY_S,
            )  # fmt: skip
            self.till.issue(terms, self.key.signature, now_s=self.time())

    def serve(self) -> bool:
        return all(device.agent.models and device.agent.models[WORKLOAD].release for device in self.fleet.devices)

    def start(self, quota: int) -> None:
        for _ in range(50):
            self.fleet.run(until=lambda: False, most_s=3700)
            if len(self.owner.fleet.devices()) == len(self.fleet.devices):
                break
        self.give(quota)
        self.owner.steering.start(WORKLOAD, stages=(1.0,), rollout_id="all")
        self.fleet.every(1800.0, lambda: self.owner.steering.step("all"))
        assert self.fleet.run(until=self.serve, most_s=20 * DAY_S)
        self.fleet.run(until=lambda: False, most_s=2 * 3700)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def test_a_metered_model_answers_as_long_as_a_voucher_pays(folder: Path) -> None:
    shop = Shop(folder, NO_FAULTS, devices=1)
    with shop.fleet:
        shop.start(quota=250)
        (device,) = shop.fleet.devices
        model = device.agent.models[WORKLOAD]
        for _ in range(250):
            model.predict(VALUES)
        with pytest.raises(QuotaError, match="spent"):
            model.predict(VALUES)
        shop.give(100)
        shop.fleet.run(until=lambda: False, most_s=3 * 3600)
        model.predict(VALUES)
        shown = status_of(device.agent.folder)
        assert [(one.quota, one.left) for one in shown.vouchers] == [(250, 0), (100, 0)]
        device.agent.close()
        shown = status_of(device.agent.folder)
        assert [(one.quota, one.left) for one in shown.vouchers] == [(250, 0), (100, 99)]
        shop.fleet.run(until=lambda: False, most_s=3 * 3600)
        assert sorted(one.mark.used for one in shop.till.vouchers()) == [1, 250]
        serial = shop.till.vouchers()[-1].serial
        shop.till.revoke(serial, now_s=shop.time())
        model.predict(VALUES)
        shop.fleet.run(until=lambda: False, most_s=3 * 3600)
        with pytest.raises(QuotaError):
            model.predict(VALUES)
        assert sorted(one.mark.used for one in shop.till.vouchers()) == [2, 250]
        _check_invoice(shop, 252)
    shop.owner.fleet.close()


def test_a_fleet_with_bad_luck_is_billed_what_it_reported(folder: Path) -> None:
    luck = Faults(
        lost_request=0.1, lost_answer=0.15, cut_answer=0.05, duplicated=0.15, delayed=0.1, crash=0.15, full_disk=0.05,
        skew_s=600.0, reset_clock=0.2,
    )  # fmt: skip
    shop = Shop(folder, luck, devices=4)
    answered = 0
    with shop.fleet:
        shop.start(quota=5000)
        for _ in range(60):
            for device in shop.fleet.devices:
                model = device.agent.models.get(WORKLOAD)
                if model is not None and model.release is not None:
                    for _ in range(7):
                        answered += _asked(model)
            shop.fleet.run(until=lambda: False, most_s=1800)
        shop.fleet.faults = NO_FAULTS
        shop.fleet.run(until=lambda: False, most_s=3 * DAY_S)
        known = {one.serial: one.mark.used for one in shop.till.vouchers()}
        served = {
            serial: meter.served
            for device in shop.fleet.devices
            for serial, meter in device.agent.metering.meters.items()
        }
        crashes = sum(device.crashes.total() for device in shop.fleet.devices)
        assert (known, shop.till.incidents()) == (served, ())
        assert answered <= sum(known.values()) <= answered + 100 * (crashes + 60 * 4)
        assert crashes > 10
        _check_invoice(shop, sum(known.values()))
        assert any(receipts(device.agent.folder) for device in shop.fleet.devices)
    shop.owner.fleet.close()


def _asked(model: object) -> int:
    try:
        model.predict(VALUES)  # type: ignore[attr-defined]
    except QuotaError:
        return 0
    return 1


def test_ninety_days_offline_then_the_right_invoice(folder: Path) -> None:
    shop = Shop(folder, NO_FAULTS, devices=1)
    with shop.fleet:
        shop.start(quota=100_000)
        (device,) = shop.fleet.devices
        model, before = device.agent.models[WORKLOAD], device.agent.folder.used()
        shop.fleet.faults = Faults(lost_request=1.0)
        for _ in range(90 * 4):
            for _ in range(34):
                model.predict(VALUES)
            shop.fleet.run(until=lambda: False, most_s=DAY_S / 4)
        grown = device.agent.folder.used() - before
        assert grown < 512 * 1024
        shop.fleet.faults = NO_FAULTS
        shop.fleet.run(until=lambda: not device.agent.metering.unreported(), most_s=3 * DAY_S)
        _check_invoice(shop, 90 * 4 * 34)
    shop.owner.fleet.close()


def test_a_copied_device_is_an_incident(folder: Path) -> None:
    import shutil

    shop = Shop(folder, NO_FAULTS, devices=1)
    with shop.fleet:
        shop.start(quota=1000)
        (device,) = shop.fleet.devices
        root = device.agent.folder.root
        device.agent.models[WORKLOAD].predict(VALUES)
        device.agent.close()
        shutil.copytree(root / "meter", folder / "meter")
        device.agent.models[WORKLOAD].predict(VALUES)
        shop.fleet.run(until=lambda: False, most_s=3 * 3600)
        shutil.rmtree(root / "meter")
        shutil.copytree(folder / "meter", root / "meter")
        device.switch_off_and_on()
        device.agent.models[WORKLOAD].predict(VALUES)
        shop.fleet.run(until=lambda: bool(shop.till.incidents()), most_s=3 * 3600)
        assert [one.kind for one in shop.till.incidents()] == ["fork"]
        shop.fleet.run(until=lambda: False, most_s=3 * 3600)
        with pytest.raises(QuotaError, match="another one"):
            device.agent.models[WORKLOAD].predict(VALUES)
        assert any(Transition.VOUCHER_STOPPED in line for line in status_of(device.agent.folder).journal)
        assert len(shop.till.incidents()) == 1
    shop.owner.fleet.close()


def _check_invoice(shop: Shop, queries: int) -> None:
    period = time.strftime("%Y-%m", time.gmtime(shop.time()))
    later = shop.time() + 40 * DAY_S
    invoice = shop.till.close_month("acme", period, now_s=later)
    assert (invoice.queries, invoice.amount) == (queries, queries * 1500)
    kept = [one for device in shop.fleet.devices for one in receipts(device.agent.folder)]
    assert verify_invoice(invoice, shop.key.public, kept) == len(kept) > 0
