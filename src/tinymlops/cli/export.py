"""``tinymlops export``: a model as C for an embedded project."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--device", required=True, help="Name of a microcontroller's profile, or path of a .toml.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder: absent, empty, or an earlier export."
)
@click.option("--name", default="model", show_default=True, help="Prefix of files and functions; a C identifier.")
def export(model: Path, device: str, out: Path, name: str) -> None:
    """Write MODEL.tflite as C: the model, kernels with licences, a self-test, CMakeLists.txt and README."""
    from tinymlops.cli.benchmark import read_file
    from tinymlops.devices.catalogue import load_profile
    from tinymlops.exporting import export as write

    profile = load_profile(device)
    made = write(read_file(model), profile, out, name)
    generated = made.generated
    click.echo(
        f"{out}: {len(made.files)} files for {profile.title}; {generated.kernels}; "
        f"{generated.constant_bytes:,} B of tables, {generated.arena_bytes:,} B of RAM. Start with {out}/README.md."
    )
