"""The page for people in a real browser against a real gateway: login, three pages, narrow, dark, log-out."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.integration.gateway.live import TOKEN, Site
from tests.support.browser import Browser, browser
from tests.support.page_fleet import fill, tell
from tinymlops.fleet import open_fleet
from tinymlops.store import DirectoryStore

SUBMIT = "document.querySelector('main form').submit()"
PICTURES = os.environ.get("TINYMLOPS_PICTURES")
"""A folder to keep the pictures in, for whoever wants to look at them."""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A gateway with 1,000 devices, six weeks of looks and a retraining."""
    site = Site(tmp_path)
    with site.gateway() as server:
        with open_fleet(f"sqlite:///{tmp_path / 'fleet.sqlite'}") as fleet:
            devices = fill(fleet, 1000, now_s=time.time())
            tell(fleet, DirectoryStore(tmp_path / "telemetry"), devices, now_s=time.time())
        yield f"http://127.0.0.1:{server.port}/fleet"


def test_a_person_logs_in_looks_around_and_logs_out(address: str, tmp_path: Path) -> None:
    with browser(tmp_path / "profile") as page:
        page.open(address)
        assert page.run("location.pathname") == "/fleet/login"
        page.submit(f"document.querySelector('#token').value = 'not the token at all'; {SUBMIT}")
        assert "not the operator" in page.run("document.body.innerText")
        page.submit(f"document.querySelector('#token').value = {TOKEN!r}; {SUBMIT}")
        assert page.run("location.pathname") == "/fleet"
        assert page.run("document.cookie") == ""
        _check_overview(page)
        page.open(f"{address}/devices?region=north")
        assert page.run("document.querySelectorAll('tbody tr').length") == 100
        _pictures(page, "devices")
        page.submit("document.querySelector('tbody a').click()")
        assert "Last reports" in page.run("document.body.innerText")
        _pictures(page, "device")
        page.submit("document.querySelector('header form button').click()")
        assert page.run("location.pathname") == "/fleet/login"
        page.open(address)
        assert page.run("location.pathname") == "/fleet/login"
        assert {urlsplit(one).netloc for one in page.requested} <= {urlsplit(address).netloc}


def _check_overview(page: Browser) -> None:
    words = page.run("document.body.innerText")
    assert "1,000" in words
    assert "region=harbour" in words
    assert "islet" not in words
    assert page.run("document.querySelectorAll('svg path').length") >= 3
    assert page.run("getComputedStyle(document.querySelector('.line path')).fill") == "none"  # the style sheet is there
    assert page.run(
        "[...document.querySelectorAll('input,select')].every(one => one.type == 'hidden' || one.labels[0])"
    )
    _pictures(page, "overview")


def _pictures(page: Browser, name: str) -> None:
    """Narrow, wide and in the dark, nothing but a table's own frame may be wider than the screen."""
    for width, dark in ((1100, True), (390, False), (1100, False)):
        page.look(width, dark=dark)
        assert page.run("document.documentElement.scrollWidth") <= width, (name, width)
        if PICTURES:
            (Path(PICTURES) / f"{name}-{width}-{'dark' if dark else 'light'}.png").write_bytes(page.picture())
