"""The console that tables are printed on."""

from __future__ import annotations

from rich.console import Console

_WIDTH_OF_A_FILE = 120
"""Columns where the output is no terminal: nothing is cut that a person will read later."""


def stdout() -> Console:
    """Standard output, as wide as the terminal, or wide enough for the tables where it is none."""
    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH_OF_A_FILE)
