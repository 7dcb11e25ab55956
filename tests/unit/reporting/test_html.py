from __future__ import annotations

import html.parser
import re

import msgspec
import pytest

from tests.unit.reporting.samples import build_report, measurement, profile
from tinymlops.measurement import Scores
from tinymlops.reporting.html import report_html

_PICTURE = b"\x89PNG not really"


def _page(**changes: object) -> str:
    return report_html(build_report(**changes), _PICTURE).decode()


def _text(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


class _Tags(html.parser.HTMLParser):
    """Collects what a browser would load, and checks that tags close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [value or "" for name, value in attrs if name in {"src", "srcset", "background"} or tag == "link"]
        if tag not in {"meta", "img", "link", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_loads_nothing_and_every_tag_closes() -> None:
    page = _page()
    tags = _Tags()
    tags.feed(page)
    assert tags.open == []
    assert [load.split(",")[0] for load in tags.loads] == ["data:image/png;base64"]
    assert "<script" not in page
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_names_from_users_are_escaped_everywhere() -> None:
    evil = "<script>alert(1)</script>"
    one = measurement(evil, device=evil)
    page = _page(
        workload=evil,
        title=evil,
        metric=evil,
        command=evil,
        versions={evil: evil},
        reference_name=evil,
        measurements=(one,),
        profiles=(msgspec.structs.replace(profile(evil), title=evil, sources=("javascript:alert(1)",)),),
        selections=(),
    )
    assert "<script" not in page
    assert 'href="javascript' not in page
    assert "&lt;script&gt;" in page


def test_each_selection_is_told_with_reason_runner_up_and_caveat() -> None:
    page = _text(_page())
    for selection in build_report().selections:
        assert selection.reason in page
        assert f"Runner-up {selection.runner_up}" in page
    assert "the latency budget was not checked" in page


def test_every_figure_says_what_it_is() -> None:
    page = _page()
    cells = re.findall(r'<span class="n">.*?</span>(.{0,20})', page)
    assert cells
    assert all(cell.startswith('<abbr class="b ') for cell in cells)
    assert 'title="calibrated"' in page
    assert "±25%" in page


def test_a_note_that_a_whole_column_shares_is_said_in_its_head() -> None:
    assert _page().count("includes the emulator</small></th>") == 3


def test_what_failed_or_was_vetoed_is_shown_with_its_reason() -> None:
    page = _text(_page())
    for words in (
        "out of memory: the container was killed at its limit of 64 MiB",
        "unsupported operator: litert has no int16 CONV_2D for armhf",
        "vetoed: validation accuracy 0.7902 is 0.0540 below float",
        "needs 21,149.8 of 21,140.0 KiB RAM (includes the emulator)",
    ):
        assert words in page


@pytest.mark.parametrize(("reference", "weak"), [(0.70, False), (0.95, True)])
def test_a_network_that_loses_to_the_reference_is_called_weak(reference: float, weak: bool) -> None:
    page = _page(reference_scores=Scores("accuracy", True, reference, reference))
    assert ("A weak network" in page) is weak


def test_recipes_that_gave_nothing_notes_and_credit_are_told() -> None:
    page = _text(_page())
    for words in (
        "failed: the converter was stopped by signal 11",
        "not for this network: no kernel is wide enough",
        "Mind: microcontrollers were left out: no container engine.",
        "Motion data: someone (BSD-3-Clause).",
    ):
        assert words in page


def test_a_report_without_reference_or_selection_still_reads() -> None:
    page = _text(_page(reference_scores=None, reference_name="", selections=(), labels=()))
    assert "no reference model was trained" in page
    assert "No selection was made for this device" in page
