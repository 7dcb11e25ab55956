"""Kinds of field that wire values are made of, each with its bounds: what is outside them never gets past `decode`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

# In a Python pattern `$` also matches before a final line feed; the look-ahead refuses that one too, and other
# languages' patterns (OpenAPI's, for one) read it the same way.
_END = r"$(?!\n)"
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"

Word = Annotated[str, Meta(min_length=1, max_length=64, pattern=f"^{_NAME}{_END}")]
"""A name: of a profile, workload, recipe, region, tag or content key."""
WordOrNothing = Annotated[str, Meta(max_length=64, pattern=f"^({_NAME})?{_END}")]
Sha256 = Annotated[str, Meta(pattern=f"^[0-9a-f]{{64}}{_END}")]
"""A digest: 64 hexadecimal digits in lower case."""
Sha256OrNothing = Annotated[str, Meta(pattern=f"^([0-9a-f]{{64}})?{_END}")]
DeviceId = Annotated[str, Meta(pattern=f"^[0-9a-f]{{32}}{_END}")]
TargetPath = Annotated[str, Meta(max_length=256, pattern=f"^releases/{_NAME}/(0|[1-9][0-9]*)/{_NAME}{_END}")]
"""A target that the offline key lists: ``releases/<workload>/<version>/<file>``."""
Line = Annotated[str, Meta(max_length=500)]
"""Text for people, never for decisions."""
PublicKey = Annotated[bytes, Meta(min_length=32, max_length=32)]
WrappedKey = Annotated[bytes, Meta(min_length=80, max_length=80)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
Count = Annotated[int, Meta(ge=0, lt=2**53)]
"""As far as every JSON reader counts exactly."""
Moment = Annotated[float, Meta(ge=0, lt=2**40)]
"""Seconds since 1970."""
Delay = Annotated[float, Meta(ge=0, le=31 * 86400)]
"""Seconds; at most a month, so that no answer can send a device to sleep for good."""
Microseconds = Annotated[float, Meta(ge=0, lt=1e12)]
Fraction = Annotated[float, Meta(ge=0, le=1)]

MOST_MODEL_BYTES = 256 * 1024 * 1024
"""Of a model; what claims to be larger is refused before memory is taken for it."""


def one_line(text: str, *, most: int = 500) -> str:
    """``text`` from another machine, fit for a log or a terminal: one line, no control characters, not too long."""
    return "".join(character if character.isprintable() else " " for character in text[:most])
