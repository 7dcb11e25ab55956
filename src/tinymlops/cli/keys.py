"""``tinymlops keys``: the keys that releases are signed with, from their making to their end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinymlops.cli.key_options import (
    keys_option,
    open_read_only,
    open_writable,
    passphrase_from,
    passphrase_option,
    show_root,
    store_option,
)
from tinymlops.cli.root_keys import combine, draft, publish, sign

if TYPE_CHECKING:
    from tinymlops.premises import Premises

_ROLES = ("root", "targets", "devices", "snapshot", "timestamp")


@click.group()
def keys() -> None:
    """Make, show, exchange and renew the keys that releases are signed with."""


@keys.command()
@keys_option
@store_option
@passphrase_option
@click.option("--root-keys", type=click.IntRange(1, 20), default=3, show_default=True, help="How many root keys.")
@click.option("--threshold", type=click.IntRange(1), default=2, show_default=True, help="How many of them must sign.")
@click.option("--bin-bits", type=click.IntRange(1, 14), default=8, show_default=True, help="2 to this many bins.")
@click.option("--development", is_flag=True, help="Leave the offline keys unencrypted: to try things out.")
def create(  # noqa: PLR0913, PLR0917 - one for each option
    folder: Path | None,
    store: str | None,
    passphrase_file: Path | None,
    root_keys: int,
    threshold: int,
    bin_bits: int,
    development: bool,
) -> None:
    """Make all keys and begin the signed repository."""
    from tinymlops.releases.creation import create_repository, refuse_repository
    from tinymlops.releases.key_files import create_keys, load_keyring, read_key
    from tinymlops.releases.roles import RepositorySettings
    from tinymlops.store import open_store, probe

    premises = _premises()
    place, opened = folder or premises.keys, open_store(store or premises.store)
    refuse_repository(opened)
    probe(opened)
    settings = RepositorySettings(bin_bits=bin_bits)
    secret = None if development else _new_passphrase(passphrase_file)
    root = create_keys(place, passphrase=secret, root_keys=root_keys, threshold=threshold, settings=settings)
    keyring = load_keyring([place], None if secret is None else lambda _path: secret)
    devices = read_key(place / "online" / "devices.pem")
    create_repository(opened, keyring, root=root, devices_key=devices, settings=settings)
    _explain(place, root_keys, threshold, development=development)
    click.echo(f"The signed repository begins in {opened.address}.")


@keys.command()
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=".", help="Folder for both files.")
@passphrase_option
@click.option("--open", "unencrypted", is_flag=True, help="Leave it unencrypted, as a server needs its online keys.")
def new(name: str, out: Path, passphrase_file: Path | None, unencrypted: bool) -> None:
    """Make one key, NAME.pem, and its public half, NAME.pub: for root keys that never meet."""
    from securesystemslib.signer import CryptoSigner

    from tinymlops.releases.key_files import refuse_existing, write_key

    path = out / f"{name}.pem"
    refuse_existing([path])
    signer = CryptoSigner.generate_ed25519()
    write_key(path, signer, None if unencrypted else _new_passphrase(passphrase_file))
    click.echo(
        f"{path} is the key, id {signer.public_key.keyid}. Carry {path.with_suffix('.pub')} to where it is named."
    )


@keys.command()
@click.argument("root", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=False)
@keys_option
@store_option
def show(root: Path | None, folder: Path | None, store: str | None) -> None:
    """Show which keys count, which of them are here, and what runs out when; or how far the draft ROOT is."""
    from tinymlops.releases.renewal import expiries
    from tinymlops.releases.roots import root_status

    if root is not None:
        show_root(root_status(root.read_bytes(), _previous(root, folder, store)))
        return
    repository, here = open_read_only(folder, store), _here(folder or _premises().keys)
    repository.read()
    show_root(root_status(repository.files.root_bytes), here)
    for end in expiries(repository):
        who = "`tinymlops keys renew` signs it anew" if end.online else "needs an offline key"
        click.echo(f"{end.role:10} runs out {end.expires:%Y-%m-%d %H:%M} UTC{f', due: {who}' if end.due else ''}")


@keys.command()
@keys_option
@store_option
def check(folder: Path | None, store: str | None) -> None:
    """Follow every signature of the repository and hold every file against its digest."""
    from tinymlops.errors import UntrustedError
    from tinymlops.releases.verification import verify_repository

    found = verify_repository(open_read_only(folder, store))
    for problem in found.problems:
        click.echo(problem)
    if found.problems:
        raise UntrustedError(
            f"the repository has {len(found.problems)} problems", "publish or renew what is named above"
        )
    click.echo(
        f"All is well: root {found.root}, timestamp {found.timestamp}, {found.targets} files of releases, "
        f"{found.devices} devices with an assignment."
    )


@keys.command()
@keys_option
@store_option
def renew(folder: Path | None, store: str | None) -> None:
    """Sign anew what the online keys sign; run it daily where no gateway does."""
    from tinymlops.releases import renewal
    from tinymlops.releases.key_files import open_repository
    from tinymlops.store import open_store

    premises = _premises()
    place = folder or premises.keys
    online = place / "online"
    repository = open_repository(open_store(store or premises.store), online if online.is_dir() else place)
    done = renewal.renew(repository)
    click.echo(f"Renewed: timestamp {done.published.timestamp}, snapshot, and {len(done.renewed)} that were due.")
    for end in done.due:
        how = "`tinymlops keys draft`" if end.role == "root" else "the next `tinymlops release`"
        click.echo(f"The {end.role} metadata runs out on {end.expires:%Y-%m-%d}: {how} renews it, with offline keys.")


@keys.command()
@click.argument("role", type=click.Choice(_ROLES))
@click.option("--replaces", help="Id of the key that goes, or its beginning; needed for root.")
@keys_option
@store_option
@passphrase_option
def rotate(
    role: str, replaces: str | None, folder: Path | None, store: str | None, passphrase_file: Path | None
) -> None:
    """Exchange a key of ROLE, where enough root keys (for devices: the targets key) are at hand.

    Where they are not: `keys new`, `keys draft`, `keys sign` in each place, `keys combine`, `keys publish`.
    """
    from securesystemslib.signer import CryptoSigner

    from tinymlops.releases import rotation
    from tinymlops.releases.key_files import write_key

    place = folder or _premises().keys
    repository = open_writable(place, store, passphrase_file)
    signer = CryptoSigner.generate_ed25519()
    online = role not in {"root", "targets"}
    path = place / ("online" if online else "offline") / f"{role}-{signer.public_key.keyid[:8]}.pem"
    encrypted = not online and any(b"ENCRYPTED" in file.read_bytes() for file in (place / "offline").glob("*.pem"))
    write_key(path, signer, passphrase_from(passphrase_file)(path) if encrypted else None)
    published = rotation.rotate(repository, role, signer, replaces=replaces)
    click.echo(f"The {role} key is now {path} (timestamp {published.timestamp}). Destroy the one that it replaces.")


def _premises() -> Premises:
    from tinymlops.premises import Premises

    return Premises.from_environment()


def _previous(root: Path, folder: Path | None, store: str | None) -> bytes | None:
    """The published root, if ``root`` is a draft of the one after it."""
    from tinymlops.errors import TinyMLOpsError
    from tinymlops.releases.roots import root_status

    try:
        repository = open_read_only(folder, store)
        newest = repository.files.root()
    except TinyMLOpsError:
        return None  # a machine that has the draft and a root key, and nothing else
    return repository.files.root_bytes if root_status(root.read_bytes()).version == newest.version + 1 else None


def _here(place: Path) -> dict[str, Path]:
    """Id of each key → its file, told from the public halves."""
    from tinymlops.releases.key_files import key_files_in, read_public_key

    public = [file.with_suffix(".pub") for file in key_files_in([place])]
    return {str(read_public_key(file).keyid): file.with_suffix(".pem") for file in public if file.exists()}


def _new_passphrase(file: Path | None) -> bytes:
    """For keys that are being made: out of a file, chosen, or made and shown once."""
    from tinymlops.errors import UsageError
    from tinymlops.releases.key_files import new_passphrase

    if file is not None:
        return file.read_bytes().strip()
    words = "Passphrase for the offline keys (leave it empty to have one made)"
    chosen: str = click.prompt(words, default="", show_default=False, hide_input=True, err=True)
    if not chosen:
        chosen = new_passphrase()
        click.echo(f"Passphrase: {chosen}\nWrite it down now: it is not shown again and can't be recovered.")
    elif click.prompt("Once more", hide_input=True, err=True) != chosen:
        raise UsageError("the two passphrases differ", "run the same command again")
    return chosen.encode()


def _explain(place: Path, root_keys: int, threshold: int, *, development: bool) -> None:
    if development:
        click.secho(
            "DEVELOPMENT KEYS: the offline keys lie unencrypted on this machine. Whoever reads them can sign models "
            "for your devices. Never enrol a device that matters with them.",
            fg="red",
            bold=True,
            err=True,
        )
    click.echo(
        f"Keys are in {place}:\n"
        f"  offline/root-1 … {root_keys}  {threshold} of them name all other keys. One each to different people or "
        "places, off the network; then delete them here.\n"
        "  offline/targets   signs releases. Keep it with whoever releases, not on the server.\n"
        "  online/           the server's: devices, snapshot, timestamp, and the vault key of sealed packages.\n"
        "  root.json         public: what devices trust. A copy of everything, off this machine, is your way back."
    )


for command in (draft, sign, combine, publish):
    keys.add_command(command)
