"""Pieces of C text. Nothing from the model reaches the text but numbers and names that have been cleaned."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from tinymlops.codegen.layer import Constant

_LINE = 112
_MAX_NAME = 80
_UNSAFE = re.compile(r"[^A-Za-z0-9_ .:;,'=+()\[\]/-]")


def comment_text(name: str) -> str:
    """A name that can stand in a C comment: no end of comment, no line end, no trigraph, no end in a backslash."""
    cleaned = _UNSAFE.sub("_", name)
    return cleaned if len(cleaned) <= _MAX_NAME else cleaned[:_MAX_NAME] + "..."


def shape_text(shape: tuple[int, ...]) -> str:
    """``49x10x1``."""
    return "x".join(str(side) for side in shape) or "1"


def float_text(value: float) -> str:
    """A float32 literal that reads back as the same number."""
    text = f"{value:.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def wrapped(statement: str, indent: str) -> str:
    """A statement over as many lines as it needs; it may be broken after a comma."""
    lines, line = [], indent
    for piece in re.split(r"(?<=,) ", statement):
        if line.strip() and len(line) + len(piece) >= _LINE:
            lines.append(line.rstrip())
            line = indent + "    "
        line += f"{piece} "
    return "\n".join([*lines, line.rstrip()])


def table(constant: Constant, name: str) -> str:
    """A constant as a C array."""
    rows = "\n".join(f"    {row}" for row in _rows(constant.values))
    shape = shape_text(constant.values.shape)
    return (
        f"/* {comment_text(constant.comment)}; {shape} */\n"
        f"static const {constant.ctype} {name}[{constant.values.size}] = {{\n{rows}\n}};\n"
    )


def _rows(values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Iterator[str]:
    row = ""
    for value in values.ravel().tolist():
        text = f"{value},"
        if row and len(row) + len(text) >= _LINE:
            yield row
            row = ""
        row += f" {text}" if row else text
    if row:
        yield row
