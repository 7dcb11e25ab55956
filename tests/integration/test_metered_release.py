"""From a build to a paid invoice by the command line: trained, released as metered, rolled out, asked, settled, billed.

Only the end of the month is not waited for.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.integration.gateway.live import COMMAND, Server, Site
from tests.integration.test_release_command import TABLE
from tests.unit.cli.running import tinymlops
from tinymlops.billing.invoices import period_of
from tinymlops.fleet import open_fleet

WORKLOAD, QUERIES = "table-of-three", 7
WAIT_S = 60.0


class Seller(Site):
    """An owner whose model is sold."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, DOCKER_HOST=f"unix://{folder}/no.sock")
        self.device = str(folder / "device")
        self.window = folder / "window.json"
        self.window.write_text(json.dumps([0.5] * 10))

    def refused(self, *words: str) -> tuple[int, str]:
        state, host = (self.environment[name] for name in ("TINYMLOPS_STATE", "DOCKER_HOST"))
        ended = tinymlops(*words, TINYMLOPS_STATE=state, DOCKER_HOST=host)
        return ended.returncode, ended.stderr

    def predict(self) -> tuple[int, str]:
        return self.refused("agent", "predict", WORKLOAD, str(self.window), "--state", self.device)

    def used(self) -> int:
        lines = self.run("usage", "--month", this_month(), "--json").splitlines()
        return sum(json.loads(line)["queries"] for line in lines)


def test_a_trained_model_is_sold_query_by_query(tmp_path: Path) -> None:
    seller = Seller(tmp_path)
    seller.run("build", TABLE, "--recipes", "int8", "--out", str(tmp_path / "out"))
    seller.run("keys", "create", "--development")
    assert "metered" in seller.run("release", TABLE, "--metered")
    code, words = seller.refused("release", TABLE)  # the next one is metered too, unless somebody says otherwise
    assert (code, "holds exactly these variants" in words) == (16, True)
    with seller.gateway("--poll", "1") as server:
        device = _enrolled(seller, server)
        command = [COMMAND, "agent", "run", "--state", seller.device, "--listen", "127.0.0.1:0", "--trial", "1"]
        agent = subprocess.Popen(command, env=seller.environment, stderr=subprocess.DEVNULL)
        try:
            seller.run("rollout", "start", WORKLOAD, "--poll", "1", "--silence", "60")
            _sold(seller, device)
        finally:
            agent.terminate()
            agent.wait(20)
    _billed(seller)


def _enrolled(seller: Seller, server: Server) -> str:
    address = f"http://127.0.0.1:{server.port}"
    code = seller.run("fleet", "code", "--profile", "x86-gateway").strip()
    told = seller.run(
        "agent", "enrol", code, "--gateway", address, "--profile", "x86-gateway", "--state", seller.device
    )
    return told.split()[0]


def _sold(seller: Seller, device: str) -> None:
    code, words = seller.predict()
    assert (code, "no voucher pays for" in words) == (17, True)
    seller.run("invoice", "account", "acme", "--tariff", "rest@1.50")
    seller.run("voucher", "issue", device[:8], WORKLOAD, "--queries", str(QUERIES), "--account", "acme")
    wait_for(lambda: seller.predict()[0] == 0)
    assert [seller.predict()[0] for _ in range(QUERIES)] == [0] * (QUERIES - 1) + [17]
    wait_for(lambda: seller.used() == QUERIES)
    assert "There are no incidents" in seller.run("usage", "--incidents")


def _billed(seller: Seller) -> None:
    month = this_month()
    with open_fleet(f"sqlite:///{seller.folder / 'fleet.sqlite'}") as fleet:
        invoice = fleet.till.close_month("acme", month, now_s=period_of(month).end_s + 1)
    assert (invoice.queries, invoice.amount) == (QUERIES, QUERIES * 1500)
    name, out, receipts = invoice.invoice_id[:8], str(seller.folder / "bill"), str(seller.folder / "receipts")
    assert f"{QUERIES} queries  $0.0105" in seller.run("invoice", "show", name, "--out", out)
    seller.run("agent", "receipts", receipts, "--state", seller.device)
    held = seller.run(
        "invoice", "verify", f"{out}/{name}.json",
        "--gateway-key", str(seller.folder / "gateway.pub"), "--receipts", receipts,
    )  # fmt: skip
    assert f"{QUERIES} queries of 1 devices and models, each signed by its device; $0.0105." in held
    assert " 0 of " not in held


def this_month() -> str:
    """By the clock that the gateway settles with."""
    return time.strftime("%Y-%m", time.gmtime())


def wait_for(condition: Callable[[], bool]) -> None:
    """Until it holds; the agent's next round may be a second away."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.5)
