"""Numbers as people read them."""

from __future__ import annotations

import math

from tinymlops.measurement import Figure


def size_text(size_bytes: float) -> str:
    """Bytes as B, KiB or MiB."""
    if size_bytes < 1024:
        return f"{size_bytes:,.0f} B"
    if size_bytes < 1024**2:
        return f"{size_bytes / 1024:,.1f} KiB"
    return f"{size_bytes / 1024**2:,.1f} MiB"


def score_text(score: float) -> str:
    """Four decimals for accuracies, two for errors on a scale of the data's own; a dash for none."""
    if math.isnan(score):
        return "–"
    return f"{score:.4f}" if abs(score) < 10 else f"{score:,.2f}"


def figure_text(figure: Figure) -> str:
    """The value with its unit and, if it has one, its error band."""
    band = "" if figure.relative_error is None else f" ±{figure.relative_error:.0%}"
    return _value_text(figure) + band


def _value_text(figure: Figure) -> str:
    if figure.unit == "B":
        return size_text(figure.value)
    if figure.unit == "instructions":
        return f"{figure.value:,.0f}"
    if figure.unit == "fraction":
        return f"{figure.value:.0%}"
    if figure.unit == "us":
        return f"{figure.value / 1000:,.2f} ms" if figure.value >= 1000 else f"{figure.value:,.1f} µs"
    return f"{figure.value:,.1f} {'µJ' if figure.unit == 'uJ' else figure.unit}"
