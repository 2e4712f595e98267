"""What a check's `probe` promises: figures, sentences, verdicts, cases, a second process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from llmenv.fleet.v1 import machine_pb2, result_pb2
from llmenv_agent.definitions import read_definition
from llmenv_agent.probe import memory, missing
from llmenv_agent.probe.sentences import sentence, shortened
from llmenv_agent.runner import run_check
from llmenv_agent.targets import target_from

HEADER = '''"""Does the probe keep its word?"""

SUITES = ()
REQUIRES = ()
TIMEOUT_SECONDS = 60
PARAMETERS = {"steps": 3}


'''


RunBody: TypeAlias = Callable[[str], result_pb2.Result]


@pytest.fixture
def check(tmp_path: Path) -> RunBody:
    """Runs the body of a `run(probe)` and gives its result."""

    def run(body: str) -> result_pb2.Result:
        path = tmp_path / "promise.py"
        lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
        path.write_text(HEADER + "def run(probe):\n" + lines)
        return run_check(read_definition(path), target=target_from(sys.executable), device="cpu")

    return run


def words(result: result_pb2.Result) -> tuple[str, str]:
    return result_pb2.Status.Name(result.status).removeprefix("STATUS_").lower(), result.reason.text


def test_measure_takes_the_median_of_trials(check: RunBody) -> None:
    """Without a value the median of the trials counts, and warm-ups do not."""
    result = check(
        'probe.measure("rate", None, "token/s", better="higher", trials=[3.0, 9.0, 4.0], warmups=[100.0])\n'
        'probe.passed("Measured.")'
    )
    measurement = result.measurements[0]
    assert measurement.value == 4.0
    assert list(measurement.trials) == [3.0, 9.0, 4.0]
    assert list(measurement.warmups) == [100.0]
    assert measurement.direction == result_pb2.DIRECTION_HIGHER_IS_BETTER


def test_values_that_are_no_numbers_arrive(check: RunBody) -> None:
    """A loss that became NaN or infinite is reported as that."""
    result = check(
        'probe.measure("loss", float("nan"), "nat")\n'
        'probe.measure("bound", float("-inf"), "nat", trials=[float("inf")])\n'
        'probe.fact("scale", float("inf"))\n'
        'probe.passed("Measured.")'
    )
    assert result.measurements[0].value != result.measurements[0].value
    assert result.measurements[1].value == float("-inf")
    assert result.facts[0].number == float("inf")


def test_facts_keep_their_kind(check: RunBody) -> None:
    """Words, counts and yes/no stay what they are; anything else is the check's error."""
    result = check(
        'probe.fact("source", "cache")\nprobe.fact("layers", 12)\nprobe.fact("tied", True)\n'
        'probe.fact("shape", [1, 2])'
    )
    assert [fact.WhichOneof("value") for fact in result.facts] == ["text", "number", "flag"]
    assert words(result) == ("error", "TypeError: fact 'shape' is words, a number or yes/no, not list")


def test_unmet_expectation_fails_a_check_that_says_pass(check: RunBody) -> None:
    """The first unmet expectation is the reason, whatever the check says at its end."""
    result = check(
        'probe.expect("counted", True, 3, 3)\n'
        'probe.expect("loss_falls", 2 < 1, "< 1", 2, "a bound")\n'
        'probe.expect("later", False, "x", "y")\n'
        'probe.warn("Slow.")\nprobe.passed("Fine.")'
    )
    assert words(result) == ("fail", "loss_falls: expected < 1, observed 2.")
    assert [each.met for each in result.expectations] == [True, False, False]
    assert result.expectations[1].source == "a bound"


def test_expectation_that_is_not_required_leaves_the_verdict_to_the_check(check: RunBody) -> None:
    """An unmet expectation with required=False is recorded, and the check decides."""
    result = check('probe.expect("bf16", False, "works", "no", required=False)\nprobe.warn("No BF16.")')
    assert words(result) == ("warn", "No BF16.")
    assert not result.expectations[0].met


def test_first_warning_is_the_reason_and_others_are_kept(check: RunBody) -> None:
    """Later warnings become facts; a pass said afterwards does not hide them."""
    result = check(
        'probe.warn("Slow by {times:.1f}.", remedy="KI072", times=2)\n'
        'probe.warn("Loud.")\nprobe.passed("Fine.")'
    )
    assert words(result) == ("warn", "Slow by 2.0.")
    assert result.remedy_id == "KI072"
    assert [(fact.name, fact.text) for fact in result.facts] == [("further_warning", "Loud.")]


def test_fail_ends_the_check_through_its_own_except(check: RunBody) -> None:
    """`except Exception` in a check does not swallow a verdict, and the cause is kept."""
    result = check(
        "try:\n"
        "    try:\n"
        '        raise RuntimeError("MPS backend out of memory")\n'
        "    except RuntimeError:\n"
        '        probe.fail("It does not work.", remedy="KI009")\n'
        "except Exception:\n"
        '    probe.passed("Swallowed.")'
    )
    assert words(result) == ("fail", "It does not work.")
    assert result.remedy_id == "KI009"
    assert (result.error.type, result.error.message) == ("RuntimeError", "MPS backend out of memory")


def test_skip_says_why(check: RunBody) -> None:
    """A check that does not apply here is skipped with its reason, and nothing after it runs."""
    assert words(check('probe.skip("Only on {chip}.", chip="M5")\nprobe.fail("Reached.")')) == (
        "skip",
        "Only on M5.",
    )


def test_skip_does_not_hide_what_was_unmet(check: RunBody) -> None:
    """Skipping after an unmet expectation is a fail."""
    assert words(check('probe.expect("a", False, 1, 2)\nprobe.skip("No more.")'))[0] == "fail"


def test_silence_is_an_error(check: RunBody) -> None:
    """A check that says and expects nothing has no verdict, which is no pass."""
    assert words(check("probe.measure('x', 1, 's')")) == ("error", "The check ended without a verdict.")


def test_met_expectations_are_a_verdict(check: RunBody) -> None:
    """A check that only expects passes when all is met."""
    assert words(check('probe.expect("a", True, 1, 1)')) == ("pass", "All 1 expectations were met.")


def test_exit_from_within_a_check_is_an_error(check: RunBody) -> None:
    """sys.exit(0) in a check or its libraries does not look like an end."""
    assert words(check("raise SystemExit(0)")) == ("error", "SystemExit: 0")


def test_case_keeps_its_exception_to_itself(check: RunBody) -> None:
    """A row that raises is an error row, the rows after it run, and the check did not pass."""
    result = check(
        'with probe.case("bad", dtype="fp16") as case:\n    raise NotImplementedError("aten::x")\n'
        'with probe.case("good") as case:\n    case.fact("seen", True)\n    case.passed("Fine.")\n'
        'probe.passed("Fine.")'
    )
    assert [(case.name, case.status) for case in result.cases] == [
        ("bad", result_pb2.STATUS_ERROR),
        ("good", result_pb2.STATUS_PASS),
    ]
    assert json.loads(result.cases[0].parameters_json) == {"dtype": "fp16"}
    assert result.cases[0].reason.text == "NotImplementedError: aten::x"
    assert words(result) == ("error", "1 of 2 cases could not be run, first bad.")


def test_what_is_wrong_counts_before_what_could_not_be_run(check: RunBody) -> None:
    """A failed row and one that raised are different things: the verdict is that of the failed one."""
    result = check(
        'with probe.case("raises") as case:\n    raise RuntimeError("no")\n'
        'with probe.case("wrong") as case:\n    case.fail("Off.")'
    )
    assert words(result) == ("fail", "1 of 2 cases failed, first wrong.")


def test_verdict_of_the_check_inside_a_case_ends_the_check(check: RunBody) -> None:
    """probe.fail within a case goes through the case, which keeps it as its own."""
    result = check('with probe.case("one"):\n    probe.fail("Enough.")\nprobe.passed("Reached.")')
    assert words(result) == ("fail", "Enough.")
    assert result.cases[0].reason.text == "Enough."


def test_second_process_has_its_variables_before_it_starts(tmp_path: Path) -> None:
    """run_<name> runs in a fresh interpreter with the variables set; its facts come back."""
    path = tmp_path / "second.py"
    path.write_text(
        HEADER
        + """def run(probe):
    outcome = probe.run_in_second_process("look", {"MARK": "7"}, {"steps": 5})
    probe.fact("outcome", f"{outcome.status} {outcome.facts['mark']} {outcome.facts['steps']:.0f}")
    probe.fact("crash", " ".join(probe.run_in_second_process("die")[:2]))
    failed = probe.run_in_second_process("raise")
    probe.fact("error", f"{failed.status} {failed.error_type} {failed.message}")
    probe.passed("Seen.")


def run_look(probe):
    import os

    probe.fact("mark", os.environ["MARK"])
    probe.fact("steps", probe.parameters["steps"])
    probe.passed("Looked.")


def run_die(probe):
    import os

    os.abort()


def run_raise(probe):
    raise NotImplementedError("Could not run 'aten::empty_quantized'")
"""
    )
    result = run_check(read_definition(path), target=target_from(sys.executable), device="cpu")
    assert {fact.name: fact.text for fact in result.facts} == {
        "outcome": "pass 7 5",
        "crash": "crash ended with SIGABRT",
        "error": "error NotImplementedError Could not run 'aten::empty_quantized'",
    }


def test_sentence_keeps_template_and_values_apart() -> None:
    """Formats are applied to the values and stripped from the template, braces survive."""
    assert sentence("{share:.1%} of {{all}} in {place}", {"share": 0.257, "place": "a {b}"}) == {
        "text": "25.7% of {all} in a {b}",
        "template": "{share} of {{all}} in {place}",
        "values": {"share": "25.7%", "place": "a {b}"},
    }


@pytest.mark.parametrize("template", ["{loss:.1f} then {loss:.2f}", "{gain}"])
def test_sentence_that_cannot_be_translated_is_refused(template: str) -> None:
    """Two formats of one name, or a name without a value, are the check author's error."""
    with pytest.raises(ValueError, match=r"stands with two formats|has no value"):
        sentence(template, {"loss": 1.0})


def test_shortened_is_one_line_within_its_limit() -> None:
    """The first line with content, cut with an ellipsis."""
    assert shortened("\n  first\nsecond", limit=10) == "first"
    assert shortened("x" * 11, limit=10) == "x" * 9 + "…"


@pytest.mark.parametrize(
    ("text", "library"),
    [
        ("libcudart.so.12: cannot open shared object file: No such file or directory", "libcudart.so.12"),
        ("OSError: /opt/x/libgomp.so.1: cannot open shared object file: No such file", "libgomp.so.1"),
        (
            "dlopen(/v/torch/_C.so, 0x0002): Library not loaded: @rpath/libomp.dylib\n  Referenced from: x",
            "libomp.dylib",
        ),
        ("dlopen(libnope.dylib, 0x0006): tried: 'libnope.dylib' (no such file)", "libnope.dylib"),
        ("dlopen(/v/x.so, 0x0002): Symbol not found: _PyThing", ""),
        ("CUDA error: no kernel image is available", ""),
    ],
)
def test_missing_library_is_found_in_loader_messages(text: str, library: str) -> None:
    """Messages of glibc and of dyld name the file; other loader errors name none."""
    assert missing.library(text) == library


def test_peak_memory_is_the_processs_own() -> None:
    """A small process started by a large one reports its own peak, which ru_maxrss would not."""
    large = bytearray(b"x" * 300_000_000)
    script = (
        "import resource, sys; sys.path.insert(0, sys.argv[1]); import memory; "
        "print(memory.peak()['process_bytes'])"
    )
    folder = str(Path(memory.__file__).parent)
    seen = subprocess.run([sys.executable, "-c", script, folder], capture_output=True, text=True, check=True)
    assert len(large) == 300_000_000
    assert 4_000_000 < float(seen.stdout) < 100_000_000


def test_peak_memory_covers_what_was_taken() -> None:
    """After 200 MB were taken and given back the peak is still at least that."""
    taken = bytearray(b"x" * 200_000_000)
    del taken
    assert memory.peak()["process_bytes"] >= 200_000_000


def test_high_water_mark_is_read_in_bytes() -> None:
    """The line counts KiB; a status without it gives 0."""
    assert memory.parse_high_water("Name:\tx\nVmHWM:\t    1024 kB\n") == 1024 * 1024
    assert memory.parse_high_water("Name:\tx\n") == 0


def test_macos_record_has_the_kernels_size() -> None:
    """struct rusage_info_v4 is 296 bytes, with the lifetime maximum at byte 240."""
    import ctypes

    record = memory._RusageInfoV4
    assert ctypes.sizeof(record) == 296
    assert record.ri_lifetime_max_phys_footprint.offset == 240


def test_case_with_a_limitation_makes_the_check_warn_with_its_remedy(check: RunBody) -> None:
    """A row that only works with a limitation shows in the check's own verdict."""
    result = check(
        'with probe.case("fine") as case:\n'
        '    case.passed("Right.")\n'
        'with probe.case("limited") as case:\n'
        '    case.warn("Missing here.", remedy="KI069")'
    )
    assert words(result) == ("warn", "1 of 2 cases work with a limitation, first limited.")
    assert (result.remedy_id, result.cases[1].remedy_id) == ("KI069", "KI069")


def test_failed_case_hands_its_remedy_to_the_check(check: RunBody) -> None:
    """The first failed row that knows a remedy names it for the check."""
    result = check('with probe.case("wrong") as case:\n    case.fail("Wrong.", remedy="KI039")')
    assert words(result) == ("fail", "1 of 1 cases failed, first wrong.")
    assert result.remedy_id == "KI039"


def test_what_does_not_fit_is_skipped_with_the_arithmetic(tmp_path: Path) -> None:
    """A check is told what the machine has, and skips instead of ending it."""
    path = tmp_path / "large.py"
    path.write_text(HEADER + 'def run(probe):\n    probe.require_memory(9e9, "3 tensors of 3 GB")\n')
    conditions = machine_pb2.Conditions(available_memory_bytes=5_300_000_000)
    result = run_check(
        read_definition(path),
        target=target_from(sys.executable),
        device="cpu",
        seed=7,
        read_conditions=lambda: conditions,
    )
    assert words(result) == (
        "skip",
        "Does not fit: it needs 9.00 GB (3 tensors of 3 GB) and has 5.30 GB (available memory).",
    )
    assert result.seed == 7


def test_check_knows_the_variant_of_its_chip(tmp_path: Path) -> None:
    """Bandwidth and peak rate come from the catalogue by the chip's name and cores."""
    path = tmp_path / "knows.py"
    path.write_text(
        HEADER + 'def run(probe):\n    probe.fact("bandwidth", probe.machine.bandwidth_gb_per_s)\n'
        '    probe.fact("seed", probe.seed)\n    probe.passed("Told.")\n'
    )
    machine = machine_pb2.Machine(chip="Apple M2 Ultra", gpu_cores=60)
    result = run_check(
        read_definition(path), target=target_from(sys.executable), device="cpu", seed=3, machine=machine
    )
    assert [fact.number for fact in result.facts] == [800, 3]


def test_check_of_cases_says_how_many_passed_and_how_many_do_not_apply(check: RunBody) -> None:
    """A skipped row is no passed one."""
    passes = 'with probe.case("right") as case:\n    case.passed("Right.")\n'
    skips = 'with probe.case("absent") as case:\n    case.skip("Not here.")\n'
    assert words(check(passes)) == ("pass", "Cases passed: 1 of 1.")
    assert words(check(passes + skips)) == ("pass", "Cases passed: 1 of 2; do not apply here: 1.")
    assert words(check(skips)) == ("skip", "None of 1 cases applies here. Not here.")
