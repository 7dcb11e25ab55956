"""``tinymlops keys``: the keys that releases are signed with, from their making to their end."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tinymlops.premises import Premises
    from tinymlops.releases.repository import Repository
    from tinymlops.releases.roots import RootStatus

_ROLES = ("root", "targets", "devices", "snapshot", "timestamp")
_SHOWN_OF_AN_ID = 16


def _keys_option(command: Any) -> Any:
    words = "Folder of the keys.  [default: TINYMLOPS_KEYS, else keys in the state folder]"
    return click.option("--keys", "folder", type=click.Path(path_type=Path, file_okay=False), help=words)(command)


def _store_option(command: Any) -> Any:
    words = "Where the repository lies: a folder or s3://bucket/prefix.  [default: TINYMLOPS_STORE, else state folder]"
    return click.option("--store", help=words)(command)


def _passphrase_option(command: Any) -> Any:
    return click.option(
        "--passphrase-file",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        envvar="TINYMLOPS_PASSPHRASE_FILE",
        help="Holds the passphrase of the offline keys; else you are asked.",
    )(command)


@click.group()
def keys() -> None:
    """Make, show, exchange and renew the keys that releases are signed with."""


@keys.command()
@_keys_option
@_store_option
@_passphrase_option
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
@_passphrase_option
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
@_keys_option
@_store_option
def show(root: Path | None, folder: Path | None, store: str | None) -> None:
    """Show which keys count, which of them are here, and what runs out when; or how far the draft ROOT is."""
    from tinymlops.releases.renewal import expiries
    from tinymlops.releases.roots import root_status

    if root is not None:
        _show_root(root_status(root.read_bytes(), _previous(root, folder, store)))
        return
    repository, here = _read_only(folder, store), _here(folder or _premises().keys)
    repository.read()
    _show_root(root_status(repository.files.root_bytes), here)
    for end in expiries(repository):
        who = "`tinymlops keys renew` signs it anew" if end.online else "needs an offline key"
        click.echo(f"{end.role:10} runs out {end.expires:%Y-%m-%d %H:%M} UTC{f', due: {who}' if end.due else ''}")


@keys.command()
@_keys_option
@_store_option
def check(folder: Path | None, store: str | None) -> None:
    """Follow every signature of the repository and hold every file against its digest."""
    from tinymlops.errors import UntrustedError
    from tinymlops.releases.verification import verify_repository

    found = verify_repository(_read_only(folder, store))
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
@_keys_option
@_store_option
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
@_keys_option
@_store_option
@_passphrase_option
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
    repository = _writable(place, store, passphrase_file)
    signer = CryptoSigner.generate_ed25519()
    online = role not in {"root", "targets"}
    path = place / ("online" if online else "offline") / f"{role}-{signer.public_key.keyid[:8]}.pem"
    encrypted = not online and any(b"ENCRYPTED" in file.read_bytes() for file in (place / "offline").glob("*.pem"))
    write_key(path, signer, _passphrase(passphrase_file)(path) if encrypted else None)
    published = rotation.rotate(repository, role, signer, replaces=replaces)
    click.echo(f"The {role} key is now {path} (timestamp {published.timestamp}). Destroy the one that it replaces.")


@keys.command()
@click.option("--add", "added", multiple=True, metavar="ROLE=FILE.pub", help="A key that shall count; may be repeated.")
@click.option("--remove", "removed", multiple=True, metavar="ROLE=ID", help="A key that shall count no more.")
@click.option("--threshold", type=click.IntRange(1), help="How many root keys must sign.")
@click.option("--first", is_flag=True, help="Of a new repository, from the keys that --add names.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The draft.")
@_keys_option
@_store_option
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
        repository = _read_only(folder, store)
        repository.files.root()
        previous = repository.files.root_bytes
        content = next_root(previous, now=utc_now(), add=add, remove=_pairs(removed), threshold=threshold)
    write_atomic(out, content)
    _show_root(root_status(content, previous))
    click.echo(f"Carry {out} to the root keys: `tinymlops keys sign {out.name} --key root-1.pem` in each place.")


@keys.command()
@click.argument("draft_file", metavar="DRAFT", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--key", "files", type=click.Path(path_type=Path, exists=True), multiple=True, required=True)
@_passphrase_option
def sign(draft_file: Path, files: tuple[Path, ...], passphrase_file: Path | None) -> None:
    """Add the signatures of some root keys to DRAFT, after showing what it says."""
    from tinymlops.files import write_atomic
    from tinymlops.releases.key_files import read_key
    from tinymlops.releases.roots import root_status, sign_root

    content = draft_file.read_bytes()
    _show_root(root_status(content))
    signers = [read_key(file, _passphrase(passphrase_file)) for file in files]
    write_atomic(draft_file, sign_root(content, signers))
    click.echo(
        f"{draft_file} is signed by {', '.join(signer.public_key.keyid[:_SHOWN_OF_AN_ID] for signer in signers)}."
    )


@keys.command()
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
    _show_root(root_status(content))


@keys.command()
@click.argument("root", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--old-keys-lost", is_flag=True, help="Go on without signatures of the online keys that go.")
@_keys_option
@_store_option
@_passphrase_option
def publish(
    root: Path, old_keys_lost: bool, folder: Path | None, store: str | None, passphrase_file: Path | None
) -> None:
    """Put a signed ROOT into force; the first one begins the repository."""
    from tinymlops.releases.creation import create_repository
    from tinymlops.releases.key_files import ROOT_FILE, install_root, load_keyring, read_key
    from tinymlops.releases.roots import root_status
    from tinymlops.releases.rotation import publish_root
    from tinymlops.store import open_store, probe

    content, place = root.read_bytes(), folder or _premises().keys
    if root_status(content).version == 1:
        opened = open_store(store or _premises().store)
        probe(opened)
        keyring = load_keyring([place], _passphrase(passphrase_file))
        devices = read_key(place / "online" / "devices.pem")
        create_repository(opened, keyring, root=content, devices_key=devices)
        if not (place / ROOT_FILE).exists():
            install_root(place, content)
        click.echo(f"The signed repository begins in {opened.address}.")
        return
    published = publish_root(_writable(place, store, passphrase_file), content, old_keys_lost=old_keys_lost)
    click.echo(f"Root {root_status(content).version} is in force (timestamp {published.timestamp}).")


def _premises() -> Premises:
    from tinymlops.premises import Premises

    return Premises.from_environment()


def _writable(place: Path, store: str | None, passphrase_file: Path | None) -> Repository:
    from tinymlops.releases.key_files import open_repository
    from tinymlops.store import open_store

    opened = open_store(store or _premises().store)
    return open_repository(opened, place, passphrase=_passphrase(passphrase_file))


def _read_only(folder: Path | None, store: str | None) -> Repository:
    from tinymlops.releases.key_files import trusted_root
    from tinymlops.releases.keyring import Keyring
    from tinymlops.releases.repository import Repository
    from tinymlops.store import open_store

    premises = _premises()
    root = trusted_root(folder or premises.keys)
    return Repository(open_store(store or premises.store), Keyring(), trusted_root=root)


def _previous(root: Path, folder: Path | None, store: str | None) -> bytes | None:
    """The published root, if ``root`` is a draft of the one after it."""
    from tinymlops.errors import TinyMLOpsError
    from tinymlops.releases.roots import root_status

    try:
        repository = _read_only(folder, store)
        newest = repository.files.root()
    except TinyMLOpsError:
        return None  # a machine that has the draft and a root key, and nothing else
    return repository.files.root_bytes if root_status(root.read_bytes()).version == newest.version + 1 else None


def _here(place: Path) -> dict[str, Path]:
    """Id of each key → its file, told from the public halves."""
    from tinymlops.releases.key_files import key_files_in, read_public_key

    public = [file.with_suffix(".pub") for file in key_files_in([place])]
    return {str(read_public_key(file).keyid): file.with_suffix(".pem") for file in public if file.exists()}


def _show_root(status: RootStatus, here: dict[str, Path] | None = None) -> None:
    click.echo(
        f"Root {status.version}, until {status.expires:%Y-%m-%d}; {status.threshold} of its root keys must sign."
    )
    for role, key_ids in status.keys.items():
        for key_id in key_ids:
            signed = ", has signed" if key_id in status.signed_by else ""
            where = f", {here[key_id]}" if here and key_id in here else ""
            click.echo(f"  {role:10} {key_id[:_SHOWN_OF_AN_ID]}{signed}{where}")
    click.echo("It has all signatures." if not status.missing else f"Signatures still needed: {status.missing}.")


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


def _passphrase(file: Path | None) -> Any:
    """Where the passphrase of an encrypted key comes from: a file, or the person."""
    if file is not None:
        return lambda _path: file.read_bytes().strip()
    return lambda path: click.prompt(f"Passphrase of {path}", hide_input=True, err=True).encode()


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
