"""``tinymlops fleet``: codes that let devices in, the devices, and shutting one out."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tinymlops.fleet import CodeTerms, Device, Fleet, HealthOf

_DAY_S = 86_400


def _database_option(command: Any) -> Any:
    words = "Record of the devices.  [default: TINYMLOPS_DATABASE, else SQLite in the state folder]"
    return click.option("--database", "database_url", help=words)(command)


@click.group()
def fleet() -> None:
    """Let devices in, look at them, shut one out."""


@fleet.command()
@click.option("--profile", help="Only this kind of device may use the code (see `tinymlops devices`).")
@click.option("--tag", "tags", multiple=True, help="Given to the device; may be repeated.")
@click.option("--region", help="Given to the device.")
@click.option("--count", type=click.IntRange(1, 10_000), default=1, show_default=True, help="How many codes.")
@click.option("--days", type=click.FloatRange(0, 3650, min_open=True), default=7.0, show_default=True, help="Its life.")
@click.option("--gateway-key", type=click.Path(path_type=Path), help="Public key.  [default: beside the private one]")
@_database_option
def code(  # noqa: PLR0913, PLR0917 - one for each option
    profile: str | None,
    tags: tuple[str, ...],
    region: str | None,
    count: int,
    days: float,
    gateway_key: Path | None,
    database_url: str | None,
) -> None:
    """Print enrolment codes, one a line. Each lets one device in, once; nobody can print it again."""
    from tinymlops.cli.gateway import key_path
    from tinymlops.gateway.keys import GatewayKey

    public = GatewayKey.read_public(gateway_key or key_path().with_suffix(".pub"))
    root, version = _newest_root()
    terms = _terms(profile=profile, tags=tags, region=region, days=days, root_version=version)
    with _open(database_url) as record:
        for _ in range(count):
            click.echo(record.new_code(terms, root=root, gateway_key=public))


@fleet.command(name="list")
@click.option("--profile", "profiles", multiple=True, help="Only this kind; may be repeated.")
@click.option("--tag", "tags", multiple=True, help="Only with this tag; may be repeated.")
@click.option("--region", "regions", multiple=True, help="Only of this region; may be repeated.")
@click.option("--revoked", is_flag=True, help="Show revoked devices too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
@_database_option
def list_devices(
    profiles: tuple[str, ...],
    tags: tuple[str, ...],
    regions: tuple[str, ...],
    revoked: bool,
    as_json: bool,
    database_url: str | None,
) -> None:
    """List devices and what they run."""
    with _open(database_url) as record:
        found = record.devices(profiles=profiles, tags=tags, regions=regions, revoked=revoked)
        health = _by_device(record.health(device_ids=[device.device_id for device in found]))
    if as_json:
        for device in found:
            click.echo(_as_json(device, health.get(device.device_id, [])))
    elif found:
        _print_table(found, health)
    else:
        click.echo("There are no such devices: `tinymlops fleet code` prints a code that lets one in.")


@fleet.command()
@click.argument("device")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@_database_option
def show(device: str, as_json: bool, database_url: str | None) -> None:
    """Show all that is known of DEVICE (its id, or the beginning of it)."""
    from rich.markup import escape
    from rich.table import Table

    from tinymlops.cli import console
    from tinymlops.cli.voucher import incident_words

    with _open(database_url) as record:
        found = find_device(record, device)
        health = list(record.health(device_ids=[found.device_id]))
        offered = record.assignments([found.device_id]).get(found.device_id)
        past = record.history(found.device_id)
        paid = record.till.vouchers(device_id=found.device_id)
        incidents = record.till.incidents([found.device_id])
    if as_json:
        click.echo(_as_json(found, health))
        return
    table = Table("field", "value", title=f"Device {found.device_id}")
    for name, value in _fields(found):
        table.add_row(name, value)
    for one in health:
        release = one.health
        told = f"release {release.version}, {release.phase}, {release.recipe or '-'}, {release.queries} queries, "
        told += f"{release.errors} errors" + (f": {release.reason}" if release.reason else "")
        table.add_row(release.workload, escape(told))  # the device's own words: they style nothing and break nothing
    if offered is not None:
        versions = ", ".join(f"{offer.workload} {offer.version}" for offer in offered.offers) or "nothing"
        table.add_row("offered", f"{versions} (assignment {offered.counter}, {_moment(offered.issued_s)})")
    table.add_row("reports kept", str(len(past)))
    for voucher in paid:
        used = f"{voucher.mark.used:,} of {voucher.quota:,} queries of {voucher.workload}, paid by {voucher.account}"
        table.add_row(f"voucher {voucher.serial[:8]}", used + ("; revoked" if voucher.revoked_s else ""))
    for incident in incidents:
        table.add_row("incident", incident_words(incident))
    console.stdout().print(table)


@fleet.command()
@click.argument("device")
@_database_option
def revoke(device: str, database_url: str | None) -> None:
    """Shut DEVICE out, for good: its next request is refused. It keeps the models that it has."""
    with _open(database_url) as record:
        found = record.revoke(find_device(record, device).device_id, now_s=time.time())
    click.echo(f"{found.device_id} is shut out since {_moment(found.revoked_s)}.")


@fleet.command()
@click.argument("enrolment_code")
@_database_option
def withdraw(enrolment_code: str, database_url: str | None) -> None:
    """Make ENROLMENT_CODE worthless, as long as nobody has used it."""
    from tinymlops.wire.enrolment_code import EnrolmentCode

    with _open(database_url) as record:
        record.withdraw_code(EnrolmentCode.parse(enrolment_code))
    click.echo("The code is worthless now.")


@fleet.command()
@_database_option
def migrate(database_url: str | None) -> None:
    """Make the database's tables, or bring them up to date."""
    from tinymlops.fleet.database import Database, database_address

    database = Database(database_url or database_address())
    changed = database.migrate()
    click.echo(f"{database.address}: {'brought up to date' if changed else 'nothing to do'}.")
    database.close()


def _open(database_url: str | None) -> Fleet:
    from tinymlops.fleet import database_address, open_fleet

    return open_fleet(database_url or database_address())


def _newest_root() -> tuple[bytes, int]:
    """The newest root in the store, reached from the one that this machine trusts."""
    from tinymlops.premises import Premises
    from tinymlops.releases.key_files import trusted_root
    from tinymlops.releases.metadata_files import MetadataFiles
    from tinymlops.store import open_store

    premises = Premises.from_environment()
    files = MetadataFiles(open_store(premises.store), trusted_root(premises.keys))
    version = files.root().version
    return files.root_bytes, version


def _terms(
    *, profile: str | None, tags: tuple[str, ...], region: str | None, days: float, root_version: int
) -> CodeTerms:
    from tinymlops.errors import UsageError
    from tinymlops.fleet import CodeTerms

    for word in (profile, region, *tags):
        if word is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", word):
            raise UsageError(f"{word!r} is not a name", "use letters, digits and . _ - in names, 64 at most")
    expires_s = time.time() + days * _DAY_S
    return CodeTerms(expires_s=expires_s, root_version=root_version, profile=profile, tags=tags, region=region)


def find_device(record: Fleet, start: str) -> Device:
    """The one device whose id begins with ``start``; raises `UsageError`."""
    from tinymlops.errors import UsageError

    found = [device for device in record.devices(revoked=True) if device.device_id.startswith(start.lower())]
    if len(found) != 1:
        many = f"{len(found)} devices begin" if found else "no device begins"
        raise UsageError(f"{many} with {start!r}", "give more of the id (see `tinymlops fleet list`)")
    return found[0]


def _by_device(health: tuple[HealthOf, ...]) -> dict[str, list[HealthOf]]:
    found: dict[str, list[HealthOf]] = {}
    for one in health:
        found.setdefault(one.device_id, []).append(one)
    return found


def _print_table(found: tuple[Device, ...], health: dict[str, list[HealthOf]]) -> None:
    from rich.table import Column, Table

    from tinymlops.cli import console

    table = Table(Column("device", no_wrap=True), "profile", "region", "tags", "runs", "last heard", "state")
    for device in found:
        lines = [
            f"{one.health.workload} {one.health.version} {one.health.phase}" for one in health.get(device.device_id, [])
        ]
        table.add_row(
            device.device_id,
            device.profile,
            device.region or "-",
            ", ".join(device.tags) or "-",
            "\n".join(lines) or "-",
            _moment(device.seen_s),
            "revoked" if device.revoked_s is not None else "enrolled",
        )
    console.stdout().print(table)


def _fields(device: Device) -> list[tuple[str, str]]:
    return [
        ("profile", device.profile),
        ("region", device.region or "-"),
        ("tags", ", ".join(device.tags) or "-"),
        ("agent", device.agent_version),
        ("cipher", device.cipher),
        ("keys kept in", device.key_protection),
        ("enrolled", _moment(device.enrolled_s)),
        ("revoked", _moment(device.revoked_s)),
        ("last heard", _moment(device.seen_s)),
        ("battery", "-" if device.battery is None else f"{device.battery:.0%}"),
        ("free disk", "-" if device.free_bytes is None else f"{device.free_bytes / 2**20:,.0f} MiB"),
        ("observations lost", f"{device.dropped_observations:,}"),
    ]


def _as_json(device: Device, health: list[HealthOf]) -> str:
    import msgspec

    facts = msgspec.to_builtins(device)
    del facts["keys"]
    facts["releases"] = [msgspec.to_builtins(one.health) for one in health]
    return msgspec.json.encode(facts, order="sorted").decode()


def _moment(seconds: float | None) -> str:
    from datetime import UTC, datetime

    return "-" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(" ", "seconds")[:19] + " UTC"
