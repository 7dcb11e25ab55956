"""What surrounds a run on a core: targets, the script, the counter's file, the program's sections, and its end."""

from __future__ import annotations

import struct
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.devices.flatbuffer_models import dense
from tinymlops.codegen import GeneratedModel, GeneratedTensor, KernelSet, generate
from tinymlops.devices.catalogue import profiles
from tinymlops.devices.engine import ContainerResult
from tinymlops.devices.microcontroller.backend import judge, too_large
from tinymlops.devices.microcontroller.counts import CLASSES, operator_costs, parse_counts
from tinymlops.devices.microcontroller.elf import section_sizes
from tinymlops.devices.microcontroller.job import Job
from tinymlops.devices.microcontroller.targets import load_target, targets
from tinymlops.devices.microcontroller.toolchain import Toolchain, toolchain
from tinymlops.errors import EngineError, UnknownNameError
from tinymlops.measurement import Status

M4 = load_target("cortex-m4")
MODEL = generate(dense(), KernelSet.CMSIS_NN)
JOB = Job("image:1", M4, MODEL)


def test_every_profile_that_compiles_names_a_core_and_a_kernel_set() -> None:
    compiled = [profile for profile in profiles() if profile.kind in {"microcontroller", "compiled", "npu"}]
    assert len(compiled) >= 9
    for profile in compiled:
        assert load_target(profile.cpu).name == profile.cpu
        assert KernelSet(profile.runtime.kernels)
        assert profile.runtime.int8_only


def test_only_cores_with_dsp_instructions_run_arms_kernels() -> None:
    arms = {profile.cpu for profile in profiles() if profile.runtime.kernels == "cmsis-nn"}
    assert arms == {"cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55"}


def test_an_unknown_core_is_a_sentence_with_the_nearest_one() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'cortex-m4'"):
        load_target("cortex-m4f")


def test_a_bare_board_and_a_linux_program_are_started_differently() -> None:
    board = M4.emulate("a.elf", "p.so")
    assert board[:3] == ("qemu-system-arm", "-M", "mps2-an386")
    assert "enable=on,target=native" in board
    assert load_target("rv64gc").emulate("a.elf", "p.so") == (
        *("qemu-riscv64", "-cpu", "sifive-u54", "-plugin", "p.so", "a.elf"),
    )


def test_the_image_holds_firmware_plugin_and_the_flags_of_every_core() -> None:
    files = dict(toolchain().sources)
    names = {"Dockerfile", "collect.sh", "plugin.c", "firmware/main.c", "firmware/markers.h", "targets.txt"}
    assert names <= set(files)
    assert len(files["targets.txt"].splitlines()) == len(targets())
    other = Toolchain((("Dockerfile", b"FROM x"),))
    assert toolchain().tag("base:1") != other.tag("base:1") != other.tag("base:2")


def test_a_second_model_compiles_its_own_file_alone() -> None:
    keys = JOB.keys()
    assert "/work/in/model.c" not in keys
    assert "/opt/firmware/start_cortex_m.c" in keys
    everything, nothing = JOB.script(keys), JOB.script({})
    for path, key in keys.items():
        assert f"-c {path} -o objects/{key}.o" in everything
        assert f"-c {path}" not in nothing
        assert f"/work/objects/{key}.o" in nothing
    assert "/work/in/model.c -o model.o" in nothing


@pytest.mark.parametrize(
    "other",
    [
        replace(JOB, image="image:2"),
        replace(JOB, target=load_target("cortex-m7")),
        replace(JOB, model=replace(MODEL, files={**MODEL.files, "kernels/tinymlops_kernels.h": b"//"})),
        replace(JOB, model=replace(MODEL, files={**MODEL.files, MODEL.sources[1]: b"//"})),
    ],
)
def test_another_image_core_header_or_source_is_another_object(other: Job) -> None:
    assert other.keys()[f"/work/in/{MODEL.sources[1]}"] != JOB.keys()[f"/work/in/{MODEL.sources[1]}"]


def test_two_files_are_compiled_at_a_time_and_a_failure_of_either_ends_the_script() -> None:
    lines = JOB.script(JOB.keys()).splitlines()
    assert lines[0] == "set -eu"
    started = [line for line in lines if line.endswith(" & first=$!")]
    assert len(started) == lines.count("wait $first") == (len(JOB.keys()) + 2) // 2


WINDOWS = "4 8 4 4 0 0 4 0\n4 4 4 0 0 0 0 0\n"


def test_the_counters_file_is_sums_that_become_means() -> None:
    counts = parse_counts(WINDOWS)
    assert counts is not None
    assert counts.inference.mean == 5
    (cost,) = operator_costs(counts, MODEL.operators)
    assert (cost.operator, cost.instructions, cost.macs) == ("FULLY_CONNECTED", 2, 64)
    assert cost.classes == {"arithmetic": 1, "load": 1}
    assert cost.per_mac == 2 / 64


@pytest.mark.parametrize("text", ["", "4 8\n", "many\n", "0 0 0 0 0 0 0 0\n"])
def test_half_a_file_is_no_count(text: str) -> None:
    assert parse_counts(text) is None


@pytest.mark.parametrize("text", ["4 1 0 0 0 0 0 0\n", "4 1 0 0 0 0 0 0\n3 1 0 0 0 0 0 0\n"])
def test_operators_that_the_generator_did_not_write_are_not_told(text: str) -> None:
    counts = parse_counts(text)
    assert counts is not None
    assert operator_costs(counts, MODEL.operators) == ()


@given(st.text())
def test_any_text_is_counts_or_none(text: str) -> None:
    counts = parse_counts(text)
    assert counts is None or len(counts.inference.classes) == len(CLASSES)


def elf32(sections: dict[str, int]) -> bytes:
    """The smallest ELF with these sections: header, names, section headers."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name in sections) + b".names\0"
    rows = [(0, 0, 0)]
    rows += [(names.index(name.encode() + b"\0"), 0, size) for name, size in sections.items()]
    rows.append((names.index(b".names\0"), 52, len(names)))
    headers = b"".join(struct.pack("<IIIIIIIIII", name, 0, 0, 0, at, size, 0, 0, 0, 0) for name, at, size in rows)
    ident = b"\x7fELF\x01\x01\x01" + bytes(9)
    head = struct.pack("<HHIIIIIHHHHHH", 2, 40, 1, 0, 0, 52 + len(names), 0, 52, 0, 0, 40, len(rows), len(rows) - 1)
    return ident + head + names + headers


def test_sections_are_read_from_both_sizes_of_elf() -> None:
    assert section_sizes(elf32({".text": 100, ".bss": 7}))[".text"] == 100
    assert section_sizes(elf32({".text": 100, ".bss": 7}))[".bss"] == 7
    assert section_sizes(Path(sys.executable).resolve().read_bytes())[".text"] > 0


@given(st.binary(max_size=300))
def test_what_is_no_program_is_one_sentence(content: bytes) -> None:
    with pytest.raises(EngineError, match="no readable program"):
        section_sizes(content)


@given(st.data())
def test_a_damaged_program_gives_sizes_or_one_sentence(data: st.DataObject) -> None:
    content = bytearray(elf32({".text": 100, ".rodata": 5, ".bss": 7}))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(4, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        sizes = section_sizes(bytes(content))
    except EngineError:
        return
    assert all(size >= 0 for size in sizes.values())


def ended(exit_code: int = 0, log: str = "", *, oom: bool = False, late: bool = False) -> ContainerResult:
    return ContainerResult(exit_code, oom_killed=oom, timed_out=late, log=log)


@pytest.mark.parametrize(
    ("end", "stage", "status", "words"),
    [
        (ended(), "done", Status.OK, ""),
        (ended(), "run", Status.CRASHED, "the emulator ended with 0"),
        (ended(2), "run", Status.CRASHED, "fault of the processor"),
        (ended(6), "run", Status.CRASHED, "256 KiB of stack"),
        (ended(1, "x\nerror: no such thing\n"), "compile", Status.CRASHED, "did not compile: error: no such thing"),
        (ended(1, "x.c:1: fatal error: y.h\ncompilation terminated.\n"), "compile", Status.CRASHED, "fatal error: y.h"),
        (ended(1, "ld: region full\n"), "link", Status.CRASHED, "did not link: ld: region full"),
        (ended(127), "", Status.CRASHED, "did not reach the compiler"),
        (ended(-1, late=True), "run", Status.TIMED_OUT, "not done after 9 s"),
        (ended(137, oom=True), "compile", Status.OUT_OF_MEMORY, "the compiler needs more than"),
    ],
)
def test_an_end_reads_as_a_status(end: ContainerResult, stage: str, status: Status, words: str) -> None:
    found, reason = judge(end, stage, timeout_s=9)
    assert found is status
    assert words in reason


def with_arena(size: int, constants: int = 0) -> GeneratedModel:
    one = GeneratedTensor("x", (1, 8), "int8", 1.0, 0, 8)
    return replace(MODEL, arena_bytes=size, constant_bytes=constants, inputs=(one,), outputs=(one,))


def test_what_not_even_the_emulated_board_has_room_for_is_told_before_a_linker_must() -> None:
    most = (M4.ram_kib - 256) * 1024
    assert too_large(with_arena(most - 16), M4) == ""
    assert too_large(with_arena(most), M4) == (
        f"it needs {most + 16:,} B of RAM besides its stack, and the emulated board has {most:,} B"
    )
    assert "its constants take 99,999,999 B" in too_large(with_arena(1, 99_999_999), M4)
