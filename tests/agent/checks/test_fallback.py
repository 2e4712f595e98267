"""fallback: operators are counted from what torch writes, and each cause of a slow process is told apart."""

from __future__ import annotations

import subprocess
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
from llmenv_agent.definitions import read_definitions
from llmenv_agent.probe.fallback_log import TRAINING_CHECKS, parse_fallbacks
from llmenv_agent.probe.metal_view import MetalView, cause, needed_macos
from llmenv_agent.probe.process_state import parse_translated, quality_in_words

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import CheckRunner

SENTENCE = (
    "The operator 'aten::{name}' is not currently supported on the MPS backend and will fall back to run on "
    "the CPU. This may have performance implications."
)
SEEN = MetalView("2.13.0", is_built=True, is_available=False, machine="arm64", macos="26.3.1")
# What a Mac's process would see, on a machine that is none.
AS_ON_A_MAC = """
    import sys
    sys.platform = "darwin"
    global read_translated, read_metal, read_quality
    read_translated = lambda: {translated}
    seen = MetalView("2.13.0", True, {available}, "arm64", "26.3", refusal={refusal!r})
    read_metal = lambda is_virtual: seen
    read_quality = lambda: ({state}, 0x15)
"""


def test_recorded_warning_names_its_operator(mac_recordings: Path) -> None:
    """The C++ log line of a real Mac."""
    text = (mac_recordings / "errors" / "mps_fallback_warning.txt").read_text("utf-8")
    assert parse_fallbacks(text) == {"aten::_convert_weight_to_int4pack": 1}


def test_both_forms_are_counted_most_often_first() -> None:
    """A Python warning with its source line, and log lines, among words of others."""
    logged = f"Warning: {SENTENCE.format(name='a.out')} (function operator())"
    log = "\n".join(
        [
            f"/x/y.py:7: UserWarning: {SENTENCE.format(name='b')} (Triggered internally at x.mm:15.)",
            "  return torch.b(x)",
            f"[W413 02:40:40.489921000 MPSFallback.mm:13] {logged}",
            f"[W413 02:40:41.489921000 MPSFallback.mm:13] {logged}",
            "The operator 'aten::c' is not currently implemented for the MPS device.",
        ]
    )
    assert list(parse_fallbacks(log).items()) == [("aten::a.out", 2), ("aten::b", 1)]


@pytest.mark.parametrize("name", TRAINING_CHECKS)
def test_training_check_has_the_parameters_that_make_it_short(name: str) -> None:
    """A renamed check or parameter would leave the case without anything to count.

    Its steps are too few for a verdict, which nobody asks for there, so no rule is kept.
    """
    assert TRAINING_CHECKS[name].keys() <= read_definitions()[name].parameters.keys()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "session"),
        ({"is_available": True}, ""),
        ({"is_available": True, "refusal": "MPS backend out of memory"}, "refusal"),
        ({"machine": "x86_64"}, "rosetta"),
        ({"is_built": False}, "not built"),
        ({"macos": "13.7.4"}, "macos"),
        ({"macos": "13.7.4", "torch_version": "2.8.0"}, "session"),
        ({"is_sandboxed": True}, "sandbox"),
    ],
)
def test_cause_is_told_apart(changes: dict[str, Any], expected: str) -> None:
    """macOS 26.3 of the recorded report is not too old, whatever torch's message says."""
    assert cause(SEEN._replace(**changes)) == expected


@pytest.mark.parametrize(
    ("torch_version", "macos"),
    [
        ("2.4.1", (12, 3)),
        ("2.5.0", (13, 0)),
        ("2.8.0a0", (13, 0)),
        ("2.9.1", (14, 0)),
        ("2.14.0.dev1", (14, 0)),
        ("3.0", (14, 0)),
    ],
)
def test_macos_that_a_torch_needs(torch_version: str, macos: tuple[int, int]) -> None:
    """As its wheels do, not as its message says."""
    assert needed_macos(torch_version) == macos


@pytest.mark.parametrize(
    ("state", "qos_class", "expected"),
    [
        (1, 0x15, "background"),
        (0, 0x09, "background"),
        (0, 0x11, "utility"),
        (0, 0x15, "default"),
        (0, 0x21, "user interactive"),
        (0, 0, "unspecified"),
    ],
)
def test_quality_of_service_in_words(state: int, qos_class: int, expected: str) -> None:
    """A process in the background state is that, whatever class its thread asks for."""
    assert quality_in_words(state, qos_class) == expected


@pytest.mark.parametrize(("text", "expected"), [("1\n", True), ("0\n", False), ("", False)])
def test_rosetta_is_read(text: str, expected: bool) -> None:
    """An Intel Mac lacks the key and prints nothing."""
    assert parse_translated(text) is expected


@pytest.mark.training
def test_torch_repeats_what_it_says_once(training_python: Path) -> None:
    """The counts rest on this: what torch says once a process it says every time when it is told to."""
    code = """
        import sys, torch, warnings
        if len(sys.argv) > 1:
            torch.set_warn_always(True)
            warnings.simplefilter("always")
        for _ in range(3):
            torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.quint8)
    """
    command = [training_python, "-c", textwrap.dedent(code)]
    counts = [
        subprocess.run([*command, *more], check=True, capture_output=True, text=True).stderr.count(
            "UserWarning"
        )
        for more in ([], ["always"])
    ]
    assert counts == [1, 3]


@pytest.mark.training
def test_nothing_applies_here(run_check: CheckRunner) -> None:
    """On the CPU of Linux each case says why it is skipped."""
    observed = run_check("fallback")
    assert observed.status == "skip"
    assert observed.reason == "Nothing falls back to the CPU on cpu, and this is not macOS."
    assert set(observed.cases.values()) == {"skip"}
    assert len(observed.cases) == 9


@pytest.mark.training
def test_operators_are_counted_in_a_second_process(run_check: CheckRunner, tmp_path: Path) -> None:
    """The check is told to be on MPS; six stand-ins say what torch would, fall back not at all, or fail."""
    quiet = 'REQUIRES = ()\nPARAMETERS = {"steps": 1}\ndef run(probe):\n    probe.passed("Done.")\n'
    loud = textwrap.dedent(
        f"""
        import os, sys, warnings
        REQUIRES = ()
        PARAMETERS = {{}}
        OFTEN, ONCE = {SENTENCE.format(name="often")!r}, {SENTENCE.format(name="once")!r}
        def run(probe):
            assert os.environ["PYTORCH_ENABLE_MPS_FALLBACK"] == "1"
            for _ in range(3):
                warnings.warn(OFTEN)
            print("[W1] Warning: " + ONCE, file=sys.stderr)
            probe.fail("It does not learn.")
        """
    )
    for name in TRAINING_CHECKS:
        (tmp_path / f"{name}.py").write_text(loud if name == "torch_basics" else quiet)
    (tmp_path / "peft_lora.py").unlink()
    observed = run_check("fallback", planted='probe.device = "mps"')
    rows = {case.name: case for case in observed.result.cases}
    words = {name: status for name, status in observed.cases.items() if name.startswith("operators/")}
    assert words.pop("operators/torch_basics") == "warn"
    assert words.pop("operators/peft_lora") == "error"
    assert set(words.values()) == {"pass"}
    row = rows["operators/torch_basics"]
    assert row.reason.text == "2 operators ran on the CPU 4 times, aten::often most often."
    assert row.remedy_id == "KI070"
    assert {each.name: each.value for each in row.measurements} == {
        "fallback_operators": 2,
        "fallback_calls": 4,
    }
    assert [fact.text for fact in row.facts] == ["fail", "aten::often: 3", "aten::once: 1"]
    assert rows["operators/peft_lora"].reason.text.endswith("There is no check peft_lora beside this one.")


@pytest.mark.training
def test_what_holds_a_process_back_fails_with_its_remedy(run_check: CheckRunner) -> None:
    """Rosetta, no Metal device in this session, and the background: each its own case."""
    planted = AS_ON_A_MAC.format(translated=True, available=False, refusal="", state=1)
    observed = run_check("fallback", planted=planted)
    found = {case.name: (observed.cases[case.name], case.remedy_id) for case in observed.result.cases}
    assert found["rosetta"] == ("fail", "KI103")
    assert found["metal_device"] == ("fail", "KI001")
    assert found["quality_of_service"] == ("warn", "KI091")
    assert observed.status == "fail"


@pytest.mark.training
def test_virtual_machine_that_refuses_to_allocate_fails(run_check: CheckRunner) -> None:
    """MPS calls itself available there, and only an operation shows that it is not."""
    words = "MPS backend out of memory (MPS allocated: 0 bytes)"
    planted = AS_ON_A_MAC.format(translated=False, available=True, refusal=words, state=0)
    observed = run_check("fallback", planted=planted)
    row = next(case for case in observed.result.cases if case.name == "metal_device")
    assert row.reason.text == f"MPS calls itself available and refuses an addition: {words}"


@pytest.mark.training
def test_sound_mac_passes(run_check: CheckRunner) -> None:
    """With nothing held back the three cases pass."""
    planted = AS_ON_A_MAC.format(translated=False, available=True, refusal="", state=0)
    observed = run_check("fallback", planted=planted)
    assert observed.status == "pass", observed.reason
    assert [observed.cases[name] for name in ("rosetta", "metal_device", "quality_of_service")] == [
        "pass"
    ] * 3
