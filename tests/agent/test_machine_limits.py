"""What checks size themselves by, on the smallest Macs: read or absent, never computed from the box."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from llmenv.catalog.status import WORDS
from llmenv.fleet.v1 import machine_pb2, result_pb2
from llmenv_agent.definitions import read_definition
from llmenv_agent.facts.recording import decode_recording, parse_recording
from llmenv_agent.machine_limits import machine_limits
from llmenv_agent.probe import machine as probe_machine
from llmenv_agent.runner import run_check
from llmenv_agent.targets import target_from

RECORDINGS = Path(__file__).resolve().parents[1] / "recordings"
GIB = 2**30
NEEDY = '''"""Does it ask before it takes memory?"""

SUITES = ()
REQUIRES = ()
TIMEOUT_SECONDS = 60
PARAMETERS = {}


def run(probe):
    for name, needed in (("small", 0.5e9), ("large", 3.0e9)):
        with probe.case(name) as case:
            probe.require_memory(needed, "4 bytes x %g parameters" % (needed / 4), findings=case)
            case.passed("It fits.")
'''


def recorded(path: Path) -> machine_pb2.Machine:
    answers = parse_recording(path.parent.name, decode_recording(path.read_bytes()))
    return answers[0].machine


def small_air(**fields: int) -> machine_pb2.Machine:
    tiers = [machine_pb2.CpuTier(name=name, cores=4) for name in ("Performance", "Efficiency")]
    return machine_pb2.Machine(
        chip="Apple M1",
        gpu_cores=7,
        memory_bytes=8 * GIB,
        cpu_tiers=tiers,
        is_apple_silicon=True,
        **fields,  # type: ignore[arg-type]  # whole numbers of the message
    )


def test_a_virtual_mac_of_8_gb_has_the_figures_of_no_chip() -> None:
    """Its GPU is not the chip's: without GPU cores no bandwidth and no rate are claimed."""
    machine = recorded(RECORDINGS / "sysctl" / "virtual_machine.txt")
    limits = machine_limits(machine, machine_pb2.Conditions())
    assert (limits["memory_bytes"], limits["is_virtual"]) == (8 * GIB, True)
    assert limits["working_set_bytes"] is None
    assert {"bandwidth_gb_per_s", "fp32_tflops"}.isdisjoint(limits)


def test_an_air_of_8_gb_has_the_figures_of_its_variant() -> None:
    """Those of the catalogue for 7 GPU cores; the working set stays unknown until Metal is asked."""
    limits = machine_limits(small_air(), machine_pb2.Conditions(available_memory_bytes=2 * GIB))
    assert (limits["bandwidth_gb_per_s"], limits["available_bytes"]) == (68.25, 2 * GIB)
    assert limits["working_set_bytes"] is None
    assert probe_machine.from_request(limits).gpu_cores == 7


def test_captured_macs_of_8_gb_are_understood(mac_recordings: Path) -> None:
    """Whatever tool printed it: the memory is read, and no working set is made up from it."""
    small = 0
    for kind in ("sysctl", "system_profiler", "applegpuinfo"):
        for path in sorted((mac_recordings / kind).iterdir()):
            machine = recorded(path)
            if machine.memory_bytes != 8 * GIB:
                continue
            small += 1
            limits = machine_limits(machine, machine_pb2.Conditions())
            probed = probe_machine.from_request(limits)
            assert probed.memory_bytes == 8 * GIB
            assert probed.working_set_bytes in {None, machine.recommended_working_set_bytes}
    assert small >= 1


def room(tmp_path: Path, machine: machine_pb2.Machine, available: int) -> result_pb2.Result:
    path = tmp_path / "needy.py"
    path.write_text(NEEDY)
    return run_check(
        read_definition(path),
        target=target_from(sys.executable),
        device="mps",
        machine=machine,
        read_conditions=lambda: machine_pb2.Conditions(available_memory_bytes=available),
    )


@pytest.mark.parametrize(
    ("working_set", "available", "words"),
    [
        (None, 2 * GIB, "has 2.15 GB (available memory)"),
        (5 * GIB // 2, 6 * GIB, "has 2.68 GB (recommended working set)"),
    ],
)
def test_what_does_not_fit_is_skipped_with_the_arithmetic(
    tmp_path: Path, working_set: int | None, available: int, words: str
) -> None:
    """While the working set is unknown the available memory decides; known, the smaller of both."""
    fields = {} if working_set is None else {"recommended_working_set_bytes": working_set}
    result = room(tmp_path, small_air(**fields), available)
    assert [(case.name, WORDS[case.status]) for case in result.cases] == [
        ("small", "pass"),
        ("large", "skip"),
    ]
    assert result.cases[1].reason.text == (
        f"Does not fit: it needs 3.00 GB (4 bytes x 7.5e+08 parameters) and {words}."
    )
    assert WORDS[result.status] == "pass"
