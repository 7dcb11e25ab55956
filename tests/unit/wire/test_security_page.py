"""docs/security.md claims nothing that no test would notice: the tests that it names exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_every_test_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    sources = (file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("*.py"))
    defined = {name for source in sources for name in re.findall(r"def (test_\w+)\(", source)}
    assert len(named) > 30
    assert named - defined == set()


def test_every_module_that_the_page_names_exists() -> None:
    for name in re.findall(r"`(tinymlops(?:\.\w+)+)`", PAGE):
        path = ROOT / "src" / Path(*name.split("."))
        assert path.is_dir() or path.with_suffix(".py").is_file(), name
