"""What the tests of releases share."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests look at order and content; that files are brought to the disk is tested where stores are."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
