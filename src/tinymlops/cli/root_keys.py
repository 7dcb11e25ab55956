"""Roots that are signed in separate sittings, by keys that never meet: draft, sign, combine, publish."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from tinymlops.cli.key_options import (
    SHOWN_OF_AN_ID,
    keys_option,
    open_read_only,
    open_writable,
    passphrase_from,
    passphrase_option,
    show_root,
    store_option,
)


@click.command()
@click.option("--add", "added", multiple=True, metavar="ROLE=FILE.pub", help="A key that shall count; may be repeated.")
@click.option("--remove", "removed", multiple=True, metavar="ROLE=ID", help="A key that shall count no more.")
@click.option("--threshold", type=click.IntRange(1), help="How many root keys must sign.")
@click.option("--first", is_flag=True, help="Of a new repository, from the keys that --add names.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The draft.")
@keys_option
@store_option
def draft(  # noqa: PLR0913, PLR0917 - one for each option
    added: tuple[str, ...],
    removed: tuple[str, ...],
    threshold: int | None,
    first: bool,
    out: Path,
    folder: Path | None,
    store: str | None,
) -> None:
    """Draft the next root, to be signed where the root keys are. Without any change, one that lives longer."""
    from tinymlops.files import write_atomic
    from tinymlops.releases.edition import utc_now
    from tinymlops.releases.key_files import read_public_key, refuse_existing
    from tinymlops.releases.roots import first_root, next_root, root_status

    refuse_existing([out])
    add = {role: [read_public_key(Path(file)) for file in files] for role, files in _pairs(added).items()}
    if first:
        content, previous = first_root(add, threshold=threshold or 2, now=utc_now()), None
    else:
        repository = open_read_only(folder, store)
        repository.files.root()
        previous = repository.files.root_bytes
        content = next_root(previous, now=utc_now(), add=add, remove=_pairs(removed), threshold=threshold)
    write_atomic(out, content)
    show_root(root_status(content, previous))
    click.echo(f"Carry {out} to the root keys: `tinymlops keys sign {out.name} --key root-1.pem` in each place.")


@click.command()
@click.argument("draft_file", metavar="DRAFT", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--key", "files", type=click.Path(path_type=Path, exists=True), multiple=True, required=True)
@passphrase_option
def sign(draft_file: Path, files: tuple[Path, ...], passphrase_file: Path | None) -> None:
    """Add the signatures of some root keys to DRAFT, after showing what it says."""
    from tinymlops.files import write_atomic
    from tinymlops.releases.key_files import read_key
    from tinymlops.releases.roots import root_status, sign_root

    content = draft_file.read_bytes()
    show_root(root_status(content))
    signers = [read_key(file, passphrase_from(passphrase_file)) for file in files]
    write_atomic(draft_file, sign_root(content, signers))
    click.echo(
        f"{draft_file} is signed by {', '.join(signer.public_key.keyid[:SHOWN_OF_AN_ID] for signer in signers)}."
    )


@click.command()
@click.argument("drafts", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True)
def combine(drafts: tuple[Path, ...], out: Path) -> None:
    """Put the signatures of copies of one draft together."""
    from tinymlops.files import write_atomic
    from tinymlops.releases.key_files import refuse_existing
    from tinymlops.releases.roots import combine_roots, root_status

    refuse_existing([out])
    content = combine_roots([file.read_bytes() for file in drafts])
    write_atomic(out, content)
    show_root(root_status(content))


@click.command()
@click.argument("root", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--old-keys-lost", is_flag=True, help="Go on without signatures of the online keys that go.")
@keys_option
@store_option
@passphrase_option
def publish(
    root: Path, old_keys_lost: bool, folder: Path | None, store: str | None, passphrase_file: Path | None
) -> None:
    """Put a signed ROOT into force; the first one begins the repository."""
    from tinymlops.premises import Premises
    from tinymlops.releases.creation import create_repository
    from tinymlops.releases.key_files import ROOT_FILE, install_root, load_keyring, read_key
    from tinymlops.releases.roots import root_status
    from tinymlops.releases.rotation import publish_root
    from tinymlops.store import open_store, probe

    content, place = root.read_bytes(), folder or Premises.from_environment().keys
    if root_status(content).version == 1:
        opened = open_store(store or Premises.from_environment().store)
        probe(opened)
        keyring = load_keyring([place], passphrase_from(passphrase_file))
        devices = read_key(place / "online" / "devices.pem")
        create_repository(opened, keyring, root=content, devices_key=devices)
        if not (place / ROOT_FILE).exists():
            install_root(place, content)
        click.echo(f"The signed repository begins in {opened.address}.")
        return
    published = publish_root(open_writable(place, store, passphrase_file), content, old_keys_lost=old_keys_lost)
    click.echo(f"Root {root_status(content).version} is in force (timestamp {published.timestamp}).")


def _pairs(words: Iterable[str]) -> dict[str, list[str]]:
    from tinymlops.errors import UnknownNameError, UsageError
    from tinymlops.releases.roots import ROOT_ROLES

    pairs: dict[str, list[str]] = {}
    for word in words:
        role, equals, value = word.partition("=")
        if not equals or not value:
            raise UsageError(f"{word!r} is not a role and a key", "write ROLE=FILE.pub to add, ROLE=ID to remove")
        if role not in ROOT_ROLES:
            raise UnknownNameError("role in a root", role, ROOT_ROLES)
        pairs.setdefault(role, []).append(value)
    return pairs
