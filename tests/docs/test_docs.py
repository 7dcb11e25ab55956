"""What README and docs say is true: links lead somewhere, commands exist, and their options too."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from tests.unit.cli.running import tinymlops
from tinymlops.cli.main import cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_inside_the_project_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_heading_linked_to_exists(page: Path) -> None:
    text = page.read_text()
    headings = {
        re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.*)", text, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= headings


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)`|^make ([a-z]+)", page.read_text(), re.MULTILINE)) <= {
        pair for target in targets for pair in ((target, ""), ("", target))
    }


def commands() -> list[str]:
    """Every line of a shell block that starts with `tinymlops`, without its comment."""
    blocks = "\n".join(block for page in PAGES for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL))
    return sorted(set(re.findall(r"^tinymlops [^#\n]*[^#\s]", blocks, re.MULTILINE)))


def test_there_are_commands_to_check() -> None:
    assert len(commands()) >= 8


@pytest.mark.parametrize("line", commands())
def test_every_command_shown_exists_with_its_options(line: str) -> None:
    _, command, *arguments = shlex.split(line)
    known = cli.commands[command]
    # parses the words without running the command
    assert isinstance(known.make_context(command, list(arguments)), click.Context)


@pytest.mark.parametrize("line", ["workloads", "devices", "devices raspberry-pi-5"])
def test_the_commands_that_only_look_run_as_shown(line: str) -> None:
    assert f"tinymlops {line}" in commands()
    ended = tinymlops(*line.split())
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout
