"""What devices handed in becomes rows of tables: each once, and only what their people agreed to."""

from __future__ import annotations

from prefect import flow

from tasks.telemetry import load_inbox, show_loaded
from tinymlops.telemetry.values import Loaded


@flow(name="ingest")
def ingest() -> Loaded:
    """Empty the inbox. Run it as often as rows shall be fresh; two at once do no harm."""
    loaded = load_inbox()
    if loaded.segments:
        show_loaded(loaded)
    return loaded
