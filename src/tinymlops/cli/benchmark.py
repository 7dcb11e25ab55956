"""``tinymlops benchmark``: measure any .tflite on one device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinymlops.errors import DoesNotRunError, ModelFileError

if TYPE_CHECKING:
    from tinymlops.devices.profile import DeviceProfile
    from tinymlops.measurement import Measurement

_ROWS = 32


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--device", required=True, help="Name of a device profile, or path of a .toml.")
@click.option("--seed", default=7, show_default=True, help="Of the random inputs.")
@click.option("--per-operator", is_flag=True, help="Show where the instructions go, operator by operator.")
@click.option("--json", "as_json", is_flag=True, help="Print the measurement as JSON.")
def benchmark(model: Path, device: str, seed: int, per_operator: bool, as_json: bool) -> None:
    """Measure MODEL.tflite on a device: instructions, memory, sizes, and whether it fits; on random inputs."""
    import msgspec

    from tinymlops.benchmarking import benchmark as measure
    from tinymlops.benchmarking import random_inputs
    from tinymlops.devices.catalogue import load_profile
    from tinymlops.measurement import Status, facts_of
    from tinymlops.model_file import read_model

    profile = load_profile(device)
    content = read_file(model)
    described = read_model(content, str(model))
    inputs = random_inputs(described, _ROWS, seed)
    measurement = measure(
        content, inputs, profile, facts_of(content, model.stem), on_progress=lambda text: click.echo(text, err=True)
    ).measurement
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(measurement), indent=2).decode())
    else:
        _show(measurement, profile)
        if per_operator:
            _show_operators(measurement)
    if measurement.status is not Status.OK:
        raise DoesNotRunError(
            f"{model} does not run on {profile.name} ({measurement.status}: {measurement.reason.rstrip('.')})",
            "choose another device or another recipe",
        )


def _show_operators(measurement: Measurement) -> None:
    from tinymlops.cli import console
    from tinymlops.reporting.operators import operator_table, rest_words

    if measurement.operators:
        console.stdout().print(operator_table(measurement))
        click.echo(rest_words(measurement))
    else:
        click.echo(f"{measurement.device} does not count operators apart: its runtime is {measurement.runtime}.")


def read_file(model: Path) -> bytes:
    """The content of MODEL.

    Raises:
        ModelFileError: It can't be read.
    """
    try:
        return model.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{model} can't be read ({error.strerror})", "give the path of a .tflite file") from error


def _show(measurement: Measurement, profile: DeviceProfile) -> None:
    import msgspec
    from rich.table import Table

    from tinymlops.cli import console
    from tinymlops.measurement import Figure, Provenance
    from tinymlops.reporting.units import figure_text, size_text
    from tinymlops.selection import fits

    table = Table("figure", "value", "what it is", title=f"{measurement.variant.recipe} on {measurement.device}")
    table.add_row("status", measurement.status, measurement.reason)
    table.add_row("runtime", measurement.runtime, "")
    table.add_row("model", size_text(measurement.variant.model_bytes), "measured")
    table.add_row("model, gzip", size_text(measurement.variant.gzip_bytes), "measured")
    for name, value in msgspec.structs.asdict(measurement).items():
        if isinstance(value, Figure):
            words = "latency" if name == "latency_p50" and value.provenance is not Provenance.MEASURED else name
            table.add_row(words.replace("_", " "), figure_text(value), f"{value.provenance} {value.note}".strip())
    reasons = fits(measurement, profile.budgets)
    table.add_row("fits", "no" if reasons else "yes", "; ".join(reasons))
    console.stdout().print(table)
