"""What the commands of ``tinymlops keys`` share: options, the repository, how a root is shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tinymlops.releases.repository import Repository
    from tinymlops.releases.roots import RootStatus

SHOWN_OF_AN_ID = 16


def keys_option(command: Any) -> Any:
    """``--keys``."""
    words = "Folder of the keys.  [default: TINYMLOPS_KEYS, else keys in the state folder]"
    return click.option("--keys", "folder", type=click.Path(path_type=Path, file_okay=False), help=words)(command)


def store_option(command: Any) -> Any:
    """``--store``."""
    words = "Where the repository lies: a folder or s3://bucket/prefix.  [default: TINYMLOPS_STORE, else state folder]"
    return click.option("--store", help=words)(command)


def passphrase_option(command: Any) -> Any:
    """``--passphrase-file``."""
    return click.option(
        "--passphrase-file",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        envvar="TINYMLOPS_PASSPHRASE_FILE",
        help="Holds the passphrase of the offline keys; else you are asked.",
    )(command)


def open_writable(place: Path, store: str | None, passphrase_file: Path | None) -> Repository:
    """The repository with the keys that are in ``place``."""
    from tinymlops.premises import Premises
    from tinymlops.releases.key_files import open_repository
    from tinymlops.store import open_store

    opened = open_store(store or Premises.from_environment().store)
    return open_repository(opened, place, passphrase=passphrase_from(passphrase_file))


def open_read_only(folder: Path | None, store: str | None) -> Repository:
    """The repository, to look at: no private key is needed."""
    from tinymlops.premises import Premises
    from tinymlops.releases.key_files import trusted_root
    from tinymlops.releases.keyring import Keyring
    from tinymlops.releases.repository import Repository
    from tinymlops.store import open_store

    premises = Premises.from_environment()
    root = trusted_root(folder or premises.keys)
    return Repository(open_store(store or premises.store), Keyring(), trusted_root=root)


def show_root(status: RootStatus, here: dict[str, Path] | None = None) -> None:
    """Print what a root says and which signatures it lacks."""
    click.echo(
        f"Root {status.version}, until {status.expires:%Y-%m-%d}; {status.threshold} of its root keys must sign."
    )
    for role, key_ids in status.keys.items():
        for key_id in key_ids:
            signed = ", has signed" if key_id in status.signed_by else ""
            where = f", {here[key_id]}" if here and key_id in here else ""
            click.echo(f"  {role:10} {key_id[:SHOWN_OF_AN_ID]}{signed}{where}")
    click.echo("It has all signatures." if not status.missing else f"Signatures still needed: {status.missing}.")


def passphrase_from(file: Path | None) -> Any:
    """Where the passphrase of an encrypted key comes from: a file, or the person."""
    if file is not None:
        return lambda _path: file.read_bytes().strip()
    return lambda path: click.prompt(f"Passphrase of {path}", hide_input=True, err=True).encode()
