"""What metering adds to a prediction on a Pi-class device, in instructions of an emulated Cortex-A53, counted exactly.

    python bench/metering_pi.py [--only activity]

The agent's own `predict` runs in the image of ``raspberry-pi-zero-2``, metered and not, reservations included, for the
smallest model there is, the built ``activity`` if it is there, and networks of the shapes of MLPerf Tiny. What the
kernel does for a reservation (a write and a wait for the disk, once in 100 queries) is not in these counts.

Acceptance: at most 1 % of the unmetered agent's prediction.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.agent import tiny
from bench.mlperf_tiny import networks
from tinymlops.devices.catalogue import load_profile
from tinymlops.devices.engine import Engine, Limits
from tinymlops.devices.images import ensure_image, fetch_wheels
from tinymlops.project import project_root

PROFILE = "raspberry-pi-zero-2"
WHEELS = ("backports-zstd", "cbor2", "cffi", "cryptography", "msgspec")
BOUND = 0.01
_TIMEOUT_S = 900.0


def main() -> int:
    """Count, print a table, and say by the exit code whether the bound holds for every network of a real size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="One of the models.")
    only = parser.parse_args().only
    profile, engine = load_profile(PROFILE), Engine.connect()
    image = ensure_image(engine, profile.architecture, profile.runtime.name, print)
    with tempfile.TemporaryDirectory(prefix="tinymlops-pi-") as name:
        source, target = Path(name) / "in", Path(name) / "out"
        _lay_out(source, profile.architecture, _models(only))
        target.mkdir(mode=0o777)
        target.chmod(0o777)
        command = [
            "/emulator/lib/ld-linux-x86-64.so.2", "--library-path", "/emulator/lib", "/emulator/qemu",
            "-cpu", profile.cpu, "-plugin", "/emulator/count.so,out=/work/out/counts",
            "/usr/bin/python3.11", "-S", "-B", "/work/in/on_pi.py",
        ]  # fmt: skip
        (target / "counts").touch(0o666)
        (target / "counts").chmod(0o666)
        ended = engine.run(image, command, {source: "/work/in:ro", target: "/work/out"}, Limits(2.0, 1024, _TIMEOUT_S))
    if ended.exit_code != 0:
        print(ended.log, file=sys.stderr)
        return 1
    held = [_told(json.loads(line)) for line in ended.log.splitlines() if line.startswith("{")]
    return 0 if all(held) else 1


def _models(only: str | None) -> dict[str, bytes]:
    models = {"tiny": tiny(16, 4)}
    built = project_root() / "out/activity/variants/int8.tflite"
    if built.is_file():
        models["activity"] = built.read_bytes()
    if only not in models:
        models |= networks()
    return models if only is None else {only: models[only]}


def _lay_out(source: Path, architecture: str, models: dict[str, bytes]) -> None:
    (source / "models").mkdir(parents=True)
    for name, content in models.items():
        (source / "models" / f"{name}.tflite").write_bytes(content)
    shutil.copy(Path(__file__).with_name("on_pi.py"), source)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(project_root() / "src/tinymlops", source / "src/tinymlops", ignore=ignored)
    locked = (project_root() / "requirements/all.txt").read_text()
    pins = (re.search(rf"^{name}==[^\n]*\n(?:[ \t]+[^\n]*\n)*", locked, re.MULTILINE) for name in WHEELS)
    (source / "wheels.txt").write_text("".join(pin[0] for pin in pins if pin))
    fetch_wheels(source / "wheels.txt", architecture, source / "fetched")
    for wheel in (source / "fetched").iterdir():
        shutil.unpack_archive(wheel, source / "wheels", "zip")


def _told(one: dict[str, float | str]) -> bool:
    alone, unmetered, metered = (float(one[key]) for key in ("model_alone", "unmetered", "metered"))
    more = metered - unmetered
    print(f"{one['model']}: model alone {alone:,.0f} instructions, agent {unmetered:,.0f}, metered {metered:,.0f}")
    each = float(one["metered_median"]) - float(one["unmetered_median"])
    print(f"  {more:+,.0f}: {more / unmetered:.2%} of the agent's prediction, {more / alone:.2%} of the model alone; "
          f"{each:+,.0f} for most queries, the rest is the reservation of every hundredth")  # fmt: skip
    return more <= BOUND * unmetered


if __name__ == "__main__":
    sys.exit(main())
