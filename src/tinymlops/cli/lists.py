"""``tinymlops workloads`` and ``tinymlops devices``: what there is."""

from __future__ import annotations

import click
import msgspec


@click.command()
def workloads() -> None:
    """List the built-in workloads."""
    from rich.table import Column, Table

    from tinymlops.cli import console
    from tinymlops.workloads.catalogue import BUILT_IN, find_workload

    table = Table(Column("workload", no_wrap=True), "task", "labels", "metric", "what is learned")
    for name in BUILT_IN:
        workload = find_workload(name)
        table.add_row(name, workload.task, str(len(workload.labels)), workload.metric.name, workload.title)
    console.stdout().print(table)


@click.command()
@click.argument("name", required=False)
def devices(name: str | None) -> None:
    """List the device profiles, or show the one called NAME."""
    from rich.table import Column, Table

    from tinymlops.cli import console
    from tinymlops.devices.catalogue import load_profile, profiles

    if name is not None:
        console.stdout().print(_details(load_profile(name)))
        return
    table = Table(Column("device", no_wrap=True), "what it is", "CPU", "cores", "memory", "runtime")
    for profile in profiles():
        runtime = f"{profile.runtime.name}, {profile.runtime.kernels}"
        table.add_row(profile.name, profile.title, profile.cpu, f"{profile.cores:g}", profile.memory, runtime)
    console.stdout().print(table)


def _details(profile: object) -> object:
    """Every field of a profile as a two-column table."""
    from rich.table import Table

    table = Table("field", "value", title=getattr(profile, "title", None))
    for field, value in msgspec.structs.asdict(profile).items():  # type: ignore[arg-type]
        if isinstance(value, msgspec.Struct):
            for inner, content in msgspec.structs.asdict(value).items():
                table.add_row(f"{field}.{inner}", "no limit" if content is None else _text(content))
        else:
            table.add_row(field, _text(value))
    return table


def _text(value: object) -> str:
    """A field for people: one line for each part."""
    if isinstance(value, tuple):
        return "\n".join(map(_text, value))
    if isinstance(value, msgspec.Struct):
        return ", ".join(f"{name} {part}" for name, part in msgspec.structs.asdict(value).items() if part is not None)
    return "" if value is None else str(value)
