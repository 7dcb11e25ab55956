"""Where a target's bytes lie."""

from __future__ import annotations

from tuf.api.metadata import TargetFile


def stored_as(entry: TargetFile) -> str:
    """Key of a target in the store: its digest is part of the name, so versions never meet."""
    return f"targets/{entry.get_prefixed_paths()[0]}"
