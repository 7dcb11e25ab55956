"""Files with secrets in them."""

from __future__ import annotations

from pathlib import Path

from tinymlops.errors import UsageError


def private_text(file: Path, what: str) -> str:
    """The text in ``file``, without space around it.

    Args:
        file: Holds a secret.
        what: Words for the errors: ``"token"`` or ``"secrets"``.

    Raises:
        UsageError: It can't be read, or others than its owner may read it.
    """
    try:
        if file.stat().st_mode & 0o077:
            raise UsageError(f"others may read {file}", f"run `chmod 600 {file}`")
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the {what} file {file} can't be read", "check its name and its owner") from error
