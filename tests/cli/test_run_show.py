"""`llmenv run show`: the report of a run, in every format and both languages, and what it may say."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format
from llmenv.fleet.v1 import result_pb2
from llmenv_cli.render.markdown import markdown
from llmenv_cli.render.run_report import whole_report

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmenv.fleet.v1.run_pb2 import Run

RUNS = Path(__file__).resolve().parent / "runs"
NAMES = ("ready_m2_ultra", "not_ready")
# Parts of real runs on an NVIDIA GPU: operations, canaries, training features, speed.
REAL = "correctness_h100"


def section(document: str, title: str) -> str:
    """A section of a Markdown document, without its heading."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", document, re.DOTALL | re.MULTILINE)
    assert found is not None, f"no section {title!r}"
    return found[1]


@pytest.mark.parametrize(
    ("output_format", "language"),
    [("table", "en"), ("table", "zh"), ("md", "en"), ("md", "zh"), ("json", "en"), ("csv", "en")],
)
@pytest.mark.parametrize("name", NAMES)
def test_report_is_the_golden_one(
    llmenv: Callable[..., Any], golden: Any, name: str, output_format: str, language: str
) -> None:
    """Every byte of stdout; stderr says nothing."""
    shown = llmenv("run", "show", str(RUNS / f"{name}.json"), "--format", output_format, "--lang", language)
    assert (shown.code, shown.err) == (0, "")
    assert shown.out == golden(name=f"{name}-{output_format}-{language}")


@pytest.mark.parametrize("output_format", ["table", "md"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_report_of_a_real_run_is_the_golden_one(
    llmenv: Callable[..., Any], golden: Any, output_format: str, language: str
) -> None:
    """Cases by group, their figures, unstable series and what has no remedy, in both languages."""
    shown = llmenv("run", "show", str(RUNS / f"{REAL}.json"), "--format", output_format, "--lang", language)
    assert (shown.code, shown.err) == (0, "")
    assert shown.out == golden(name=f"{REAL}-{output_format}-{language}")


def test_wide_terminal(llmenv: Callable[..., Any], golden: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """120 columns leave room for a sentence a line."""
    monkeypatch.setenv("COLUMNS", "120")
    shown = llmenv("run", "show", str(RUNS / "ready_m2_ultra.json"))
    assert max(len(line) for line in shown.out.splitlines()) <= 120
    assert shown.out == golden(name="ready_m2_ultra-table-120")


@pytest.mark.parametrize("name", [*NAMES, REAL])
def test_narrow_terminal_is_not_overrun(llmenv: Callable[..., Any], name: str) -> None:
    """No line is longer than the terminal is wide."""
    shown = llmenv("run", "show", str(RUNS / f"{name}.json"))
    assert max(len(line) for line in shown.out.splitlines()) <= 80


def test_output_that_is_no_terminal_has_no_escape_sequences(llmenv: Callable[..., Any]) -> None:
    """A report in a pipe is plain text."""
    assert "\x1b" not in llmenv("run", "show", str(RUNS / "ready_m2_ultra.json")).out


def test_a_scheduled_run_names_its_schedule(
    llmenv: Callable[..., Any], ready_run: Run, tmp_path: Path
) -> None:
    """Others say nothing of it."""
    ready_run.schedule_name = "nightly"
    scheduled = tmp_path / "run.json"
    scheduled.write_text(json_format.MessageToJson(ready_run))
    assert re.search(r"By schedule +nightly", llmenv("run", "show", str(scheduled)).out)
    ready_run.schedule_name = ""
    scheduled.write_text(json_format.MessageToJson(ready_run))
    assert "By schedule" not in llmenv("run", "show", str(scheduled)).out


def test_json_is_the_run_itself(llmenv: Callable[..., Any], ready_run: Run) -> None:
    """What goes in comes out, so that reports can be rendered from reports."""
    shown = llmenv("run", "show", str(RUNS / "ready_m2_ultra.json"), "--format", "json")
    assert json_format.Parse(shown.out, type(ready_run)()) == ready_run


def test_stdin_is_read_for_a_dash(llmenv: Callable[..., Any]) -> None:
    """`llmenv-agent check --format json | llmenv run show -`."""
    content = (RUNS / "ready_m2_ultra.json").read_bytes()
    piped = llmenv("run", "show", "-", stdin=content)
    assert piped.out == llmenv("run", "show", str(RUNS / "ready_m2_ultra.json")).out


def test_csv_has_a_row_for_every_check(llmenv: Callable[..., Any]) -> None:
    """Checks that never ran are rows too, with the status unknown."""
    shown = llmenv("run", "show", str(RUNS / "not_ready.json"), "--format", "csv")
    statuses = {row["check"]: row["status"] for row in csv.DictReader(io.StringIO(shown.out))}
    assert statuses == {
        "packages": "unknown",
        "torch_basics": "fail",
        "torch_training": "timeout",
        "transformers_generate": "crash",
        "peft_lora": "error",
        "mlx_native": "unknown",
        "torch_quantization": "unknown",
    }


def test_never_run_is_never_shown_as_healthy(not_ready_run: Run) -> None:
    """Without any result everything is unknown, and nothing is ticked."""
    del not_ready_run.results[:]
    document = markdown(whole_report(not_ready_run, language="en"))
    assert "✓ pass" not in document
    assert "[x]" not in document
    assert "not ready for training" in section(document, "Summary")
    assert "No check ran" in section(document, "Memory of the checks")


def test_what_no_check_measures_is_unknown(ready_run: Run) -> None:
    """What other suites measure is never claimed from the results of this one."""
    ready = section(markdown(whole_report(ready_run, language="en")), "Ready for use")
    assert "- [ ] 4-bit QLoRA with PyTorch: unknown" in ready
    assert "- [ ] Mixed-precision training: unknown" in ready


def test_a_core_check_that_fails_is_not_ready(ready_run: Run) -> None:
    """One fail among six passes decides."""
    training = next(result for result in ready_run.results if result.check_name == "torch_training")
    training.status = result_pb2.STATUS_FAIL
    document = markdown(whole_report(ready_run, language="en"))
    assert "Not ready for training on mps: Network training (fail)." in document
    assert "- [ ] Training with PyTorch on mps" in section(document, "Ready for use")


def test_the_rule_for_ready_is_stated(ready_run: Run) -> None:
    """A verdict without its rule is worth nothing."""
    assert "every core check is pass or warn" in section(
        markdown(whole_report(ready_run, language="en")), "Summary"
    )


def test_an_advice_that_does_not_help_is_said_to_fail(ready_run: Run) -> None:
    """The fallback variable was tried and did not rescue quantization."""
    issues = section(markdown(whole_report(ready_run, language="en")), "Known issues")
    assert "PYTORCH_ENABLE_MPS_FALLBACK=1 leads to this error" in issues


def test_memory_advice_needs_a_working_set_that_was_read(ready_run: Run) -> None:
    """It is never computed from the machine's memory."""
    known = section(markdown(whole_report(ready_run, language="en")), "What the memory is enough for")
    ready_run.machine.ClearField("recommended_working_set_bytes")
    unknown = section(markdown(whole_report(ready_run, language="en")), "What the memory is enough for")
    assert "leaving" in known
    assert "leaving" not in unknown
    assert unknown.count("| unknown |") == 8


def test_packages_without_their_check_are_versions_alone(ready_run: Run) -> None:
    """Installed is not the same as working."""
    kept = [result for result in ready_run.results if result.check_name != "packages"]
    del ready_run.results[:]
    ready_run.results.extend(kept)
    packages = section(markdown(whole_report(ready_run, language="en")), "Packages")
    assert "| torch | 2.10.0 | - | ? unknown | Not executed. |" in packages
    assert "✓" not in packages


def test_circumstances_that_spoil_timings_are_said(not_ready_run: Run) -> None:
    """The first check ended on battery and hot."""
    conclusions = section(markdown(whole_report(not_ready_run, language="en")), "Conclusions")
    assert "on battery" in conclusions
    assert "thermal pressure" in conclusions


def test_numbers_are_computed_not_copied(ready_run: Run) -> None:
    """124,439,808 parameters in 9.31 s are 13,366 a millisecond."""
    detail = section(markdown(whole_report(ready_run, language="en")), "Results in detail")
    assert "| parameters | 124,439,808 |" in detail
    assert "13,366 /ms" in detail


def test_foreign_text_cannot_break_the_tables(ready_run: Run) -> None:
    """Pipes, newlines and markup of an error message stay inside their cell."""
    result = ready_run.results[1]
    result.reason.text = "a | b\n# c <script> [x](y) *z*"
    result.reason.template = ""
    document = markdown(whole_report(ready_run, language="en"))
    assert r"a \| b # c \<script> \[x\](y) \*z\*" in section(document, "Key findings")


def test_a_newer_agent_is_understood(llmenv: Callable[..., Any], tmp_path: Path) -> None:
    """Fields that this llmenv does not know are passed over."""
    content = json.loads((RUNS / "ready_m2_ultra.json").read_text("utf-8"))
    content["invented_later"] = {"a": 1}
    content["results"][0]["invented_later"] = [1]
    file = tmp_path / "newer.json"
    file.write_text(json.dumps(content))
    assert llmenv("run", "show", str(file)).code == 0


def test_next_steps_check_the_same_environment_again(ready_run: Run) -> None:
    """A command without the target would check another environment, one without the device another device."""
    ready_run.environment.python_path = "/Volumes/my models/bin/python"
    ready_run.device = "cpu"
    steps = section(markdown(whole_report(ready_run, language="en")), "Next steps")
    assert "`llmenv check --target '/Volumes/my models/bin/python' --device cpu`" in steps


def test_a_missing_package_is_to_be_installed_once(ready_run: Run) -> None:
    """However many checks wait for it."""
    for name in ("torch_basics", "torch_training"):
        result = next(each for each in ready_run.results if each.check_name == name)
        result.status = result_pb2.STATUS_ERROR
        result.error.type, result.error.missing = "ModuleNotFoundError", "torch"
    steps = section(markdown(whole_report(ready_run, language="en")), "Next steps")
    assert steps.count("pip install torch") == 1
    assert "PyTorch basics, Network training: install what is missing" in steps


def test_what_goes_wrong_beside_the_core_checks_stands_in_the_verdict(ready_run: Run) -> None:
    """Ready to train on and computing something wrong is no clean verdict."""
    ready_run.results.add(check_name="ops", status=result_pb2.STATUS_FAIL)
    summary = section(markdown(whole_report(ready_run, language="en")), "Summary")
    assert "! ready by the core checks, with trouble beside them" in summary
    assert "Beside the core checks 1 did not end well: " in summary


def test_run_without_core_checks_says_nothing_of_readiness(ready_run: Run) -> None:
    """A benchmark is neither ready nor not ready, and misses no check."""
    del ready_run.results[:]
    ready_run.planned_checks[:] = ["bench_matmul"]
    ready_run.results.add(check_name="bench_matmul", status=result_pb2.STATUS_PASS)
    summary = section(markdown(whole_report(ready_run, language="en")), "Summary")
    assert "| Checks | 1 |" in summary
    assert "Nothing is said of readiness on mps: this run did not ask for PyTorch basics, " in summary


def test_withheld_measurements_are_said_with_the_reason(ready_run: Run) -> None:
    """At the check, and among what limits the comparison; in both languages."""
    template = "Another process used the GPU meanwhile: {program}, {percent} % of the time."
    reason = result_pb2.Sentence(template=template, values={"program": "python3.12", "percent": "37"})
    ready_run.results[0].measurements_withheld.CopyFrom(reason)
    english = markdown(whole_report(ready_run, language="en"))
    said = "Another process used the GPU meanwhile: python3.12, 37 % of the time."
    assert f"Its measurements were not kept: {said}" in english
    assert "Disturbed, so that their measurements were not kept (1): " in section(english, "Conclusions")
    chinese = markdown(whole_report(ready_run, language="zh"))
    assert "未保留其测量值：其间另一进程使用了 GPU：python3.12，占 37% 的时间。" in chinese  # noqa: RUF001 (Chinese punctuation)
