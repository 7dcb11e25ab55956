"""``tinymlops voucher`` and ``tinymlops usage``: the right to queries, and what became of it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tinymlops.fleet import Fleet, Incident, IssuedVoucher

_DAY_S = 86_400


def database_option(command: Any) -> Any:
    """``--database``, as on all commands about the fleet."""
    words = "Record of the devices.  [default: TINYMLOPS_DATABASE, else SQLite in the state folder]"
    return click.option("--database", "database_url", help=words)(command)


def open_record(database_url: str | None) -> Fleet:
    """The fleet's record."""
    from tinymlops.fleet import database_address, open_fleet

    return open_fleet(database_url or database_address())


@click.group()
def voucher() -> None:
    """Give devices the right to a number of queries of a metered model."""


@voucher.command()
@click.argument("device")
@click.argument("workload")
@click.option("--queries", type=click.IntRange(1), required=True, help="How many it pays for.")
@click.option("--account", required=True, help="Who pays (see `tinymlops invoice account`).")
@click.option("--days", type=click.IntRange(1, 3650), default=90, show_default=True, help="Its life.")
@click.option("--grace-days", type=click.IntRange(0, 365), default=7, show_default=True, help="More, while offline.")
@click.option("--price", help="Of a prepaid package, in dollars.  [default: by the account's tariff]")
@click.option("--key", type=click.Path(path_type=Path, dir_okay=False), help="The gateway's private key.")
@database_option
def issue(  # noqa: PLR0913, PLR0917 - one for each option
    device: str,
    workload: str,
    queries: int,
    account: str,
    days: int,
    grace_days: int,
    price: str | None,
    key: Path | None,
    database_url: str | None,
) -> None:
    """Let DEVICE (its id, or the beginning of it) answer queries of WORKLOAD; it fetches the voucher by itself."""
    from tinymlops.billing.rating import micro_dollars
    from tinymlops.cli.fleet import find_device
    from tinymlops.cli.gateway import key_path
    from tinymlops.fleet import VoucherTerms
    from tinymlops.gateway.keys import GatewayKey

    signer = GatewayKey.load(key or key_path())
    with open_record(database_url) as record:
        terms = VoucherTerms(
            serial=os.urandom(16).hex(),
            device_id=find_device(record, device).device_id,
            workload=workload,
            account=account,
            quota=queries,
            life_s=days * _DAY_S,
            grace_s=grace_days * _DAY_S,
            price=None if price is None else micro_dollars(price, what="price"),
        )
        issued = record.till.issue(terms, signer.signature, now_s=time.time())
    click.echo(f"{issued.serial}: {_words(issued)}")


@voucher.command()
@click.argument("serial", required=False)
@click.option("--device", help="Only of this device (its id).")
@click.option("--account", help="Only of this customer.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
@database_option
def show(serial: str | None, device: str | None, account: str | None, as_json: bool, database_url: str | None) -> None:
    """Show vouchers and how far they are used: the one whose SERIAL begins like this, or all."""
    with open_record(database_url) as record:
        found = record.till.vouchers(device_id=device, customer=account)
    shown = [one for one in found if one.serial.startswith(serial or "")]
    if as_json:
        for one in shown:
            click.echo(_as_json(one))
    elif shown:
        _print_vouchers(shown)
    else:
        click.echo("There are no such vouchers: `tinymlops voucher issue` makes one.")


@voucher.command()
@click.argument("serial")
@database_option
def revoke(serial: str, database_url: str | None) -> None:
    """Take a voucher back. Its device stops when it hears of it; what it has answered until then is billed."""
    from tinymlops.errors import UsageError

    with open_record(database_url) as record:
        found = [one.serial for one in record.till.vouchers() if one.serial.startswith(serial)]
        if len(found) != 1:
            raise UsageError(f"{len(found)} vouchers begin with {serial!r}", "see `tinymlops voucher show`")
        revoked = record.till.revoke(found[0], now_s=time.time())
    click.echo(f"{revoked.serial} is taken back; {revoked.mark.used:,} of its queries are reported.")


@click.command()
@click.option("--month", help="As in 2026-11.  [default: this month]")
@click.option("--incidents", is_flag=True, help="Show what does not fit instead, with its evidence.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
@database_option
def usage(month: str | None, incidents: bool, as_json: bool, database_url: str | None) -> None:
    """Show the settled use of a month by customer, device and model."""
    import msgspec

    month = month or time.strftime("%Y-%m", time.gmtime())
    with open_record(database_url) as record:
        wrong = record.till.incidents()
        used = record.till.use(month)
    if incidents:
        for one in wrong:
            click.echo(msgspec.json.encode(one).decode() if as_json else incident_words(one))
        if not wrong and not as_json:
            click.echo("There are no incidents.")
    elif as_json:
        for (account, device, workload), units in used.items():
            line = {"month": month, "account": account, "device": device, "workload": workload, "queries": units}
            click.echo(msgspec.json.encode(line).decode())
    else:
        _print_use(month, dict(used), len(wrong))


def incident_words(one: Incident) -> str:
    """An incident in a line."""
    return f"{moment(one.at_s)} {one.kind}, device {one.device_id}, voucher {one.serial[:8]}: {one.what}"


def moment(seconds: float) -> str:
    """A time for people, UTC."""
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))


def _words(one: IssuedVoucher) -> str:
    from tinymlops.billing.rating import dollars

    paid = f", {dollars(one.price)} ahead" if one.price else ""
    return (
        f"{one.quota:,} queries of {one.workload} on {one.device_id} until {moment(one.ends_s)} UTC, "
        f"paid by {one.account}{paid}"
    )


def _as_json(one: IssuedVoucher) -> str:
    import msgspec

    return msgspec.json.encode(one, order="sorted").decode()


def _print_vouchers(found: list[IssuedVoucher]) -> None:
    from rich.table import Column, Table

    from tinymlops.cli import console

    right = {"justify": "right"}
    table = Table(
        Column("voucher", no_wrap=True), "device", "model", "account", Column("used", **right),  # type: ignore[arg-type]
        Column("quota", **right), "ends", "state",  # type: ignore[arg-type]
    )  # fmt: skip
    now_s = time.time()
    for one in found:
        table.add_row(
            one.serial, one.device_id[:12], one.workload, one.account, f"{one.mark.used:,}", f"{one.quota:,}",
            moment(one.ends_s), _state(one, now_s),
        )  # fmt: skip
    console.stdout().print(table)


def _state(one: IssuedVoucher, now_s: float) -> str:
    if one.revoked_s is not None:
        return "revoked"
    if one.mark.used >= one.quota:
        return "spent"
    return "over" if now_s > one.ends_s else "open"


def _print_use(month: str, used: dict[tuple[str, str, str], int], incidents: int) -> None:
    from rich.table import Table

    from tinymlops.cli import console

    table = Table("account", "device", "model", title=f"Use of {month}: {sum(used.values()):,} queries")
    table.add_column("queries", justify="right")
    for (account, device, workload), units in used.items():
        table.add_row(account, device, workload, f"{units:,}")
    console.stdout().print(table)
    if incidents:
        click.echo(f"{incidents} incidents: look at them with `tinymlops usage --incidents`.")
