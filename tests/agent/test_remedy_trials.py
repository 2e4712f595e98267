"""Remedies are tried in a second process: with real check files that fail until a variable is set."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import pytest
from llmenv.catalog import known_issues
from llmenv.catalog.status import WORDS
from llmenv.fleet.v1 import environment_pb2, machine_pb2, record_pb2, result_pb2, run_pb2
from llmenv_agent import record_size, remedy_trials
from llmenv_agent.definitions import read_definition
from llmenv_agent.execution import Event, Execution, execute
from llmenv_agent.remedy_trials import RemedyTrials, remedies_of
from llmenv_agent.suites import Suite
from llmenv_agent.targets import target_from

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import AgentFolder
    from llmenv.catalog.known_issues import Application

HEADER = '''"""Does it work with the remedy alone?"""

import os
import time

SUITES = ()
REQUIRES = ()
TIMEOUT_SECONDS = 60
PARAMETERS = {"rows": 3}


def run(probe):
    tf32 = os.environ.get("MLX_ENABLE_TF32")
'''
FAILS = """
    if tf32 != "0":
        probe.fail("It is wrong.", remedy="KI065")
    rows = probe.parameters["rows"]
    probe.passed("It is right with {rows} rows and seed {seed}.", rows=rows, seed=probe.seed)
"""
NEVER_RIGHT = """
    probe.fail("It is wrong with {tf32}.", remedy="KI065", tf32=tf32)
"""
CRASHES = """
    if os.environ.get("PYTORCH_ENABLE_MPS_FALLBACK") != "1":
        print("The operator 'aten::foo' is not currently implemented for the MPS device", flush=True)
        os.abort()
    probe.passed("It is right.")
"""
ROWS = """
    for name in ("sound", "exact", "broken"):
        if probe.is_completed(name):
            continue
        with probe.case(name) as case:
            if name == "exact" and tf32 != "0":
                case.fail("Too coarse.", remedy="KI065")
            if name == "broken":
                case.fail("Broken.")
            case.passed("Right.")
"""
ON_THE_CPU = """
    if probe.device != "cpu":
        probe.warn("It does not work on {device}.", remedy="KI072", device=probe.device)
        return
    probe.passed("It works.")
"""
HANGS = """
    if tf32 == "0":
        time.sleep(600)
    probe.fail("It is wrong.", remedy="KI065")
"""


def ran(
    tmp_path: Path,
    body: str,
    *,
    device: str = "cpu",
    variables: dict[str, str] | None = None,
    emit: Callable[[Event], None] = lambda _event: None,
) -> result_pb2.Result:
    """The one result of a run of the check with this body."""
    path = tmp_path / "remedied.py"
    path.write_text(HEADER + body.strip("\n"))
    execution = Execution(
        suite=Suite("custom", (read_definition(path),)),
        target=target_from(sys.executable, variables=variables),
        device=device,
        machine=machine_pb2.Machine(),
        environment=environment_pb2.Environment(),
        emit=emit,
        parameters={"remedied": {"rows": 5}},
        seed=11,
    )
    return execute(execution).results[0]


def told(trial: result_pb2.RemedyTrial) -> tuple[str, dict[str, str], str, list[str]]:
    words = WORDS[trial.status]
    return trial.remedy_id, dict(trial.environment_variables), words, list(trial.case_names)


def test_a_remedy_that_helps_is_reported_and_the_verdict_stays(tmp_path: Path) -> None:
    """With the parameters and the seed of the result."""
    result = ran(tmp_path, FAILS)
    assert (WORDS[result.status], result.reason.text) == ("fail", "It is wrong.")
    assert [told(trial) for trial in result.remedy_trials] == [
        ("KI065", {"MLX_ENABLE_TF32": "0"}, "pass", [])
    ]
    assert result.remedy_trials[0].reason.text == "It is right with 5 rows and seed 11."
    assert result.remedy_trials[0].device == "cpu"
    assert 0 < result.remedy_trials[0].wall_seconds < 120
    assert "MLX_ENABLE_TF32" not in result.environment_variables


def test_the_verdict_is_delivered_before_the_trial_begins(tmp_path: Path) -> None:
    """A Mac that panics in the trial has told what it found; the trial is a record of its own."""
    spooled: list[tuple[Event, bool]] = []
    marker = tmp_path / "tried"
    body = f"""
    if tf32 == "0":
        open({str(marker)!r}, "w").close()
    probe.fail("It is wrong.", remedy="KI065")
"""
    result = ran(tmp_path, body, emit=lambda event: spooled.append((event, marker.exists())))
    _, _, (finished, had_begun), (tried, _), _ = spooled
    assert isinstance(finished, record_pb2.CheckFinished)
    assert isinstance(tried, record_pb2.RemedyTried)
    assert (had_begun, marker.exists()) == (False, True)
    assert list(finished.result.remedy_trials) == []
    assert (tried.result_id, [tried.trial]) == (result.result_id, list(result.remedy_trials))


def test_a_trial_names_no_more_cases_than_a_record_has_room_for(tmp_path: Path) -> None:
    """Those it does not name are not run in it; its reason is shortened, whatever the check says."""
    path = tmp_path / "remedied.py"
    path.write_text(HEADER + FAILS.strip("\n"))
    result = failed("")
    for number in range(20_000):
        result.cases.add(name=f"{number:0100}", status=result_pb2.STATUS_FAIL, remedy_id="KI065")
    asked: list[list[str]] = []

    def run_again(*_: object, only_cases: list[str], **__: object) -> result_pb2.Result:
        asked.append(only_cases)
        sentence = result_pb2.Sentence(text="It is wrong. " * 100_000)
        return result_pb2.Result(status=result_pb2.STATUS_FAIL, reason=sentence)

    (trial,) = RemedyTrials().of(result, read_definition(path), run_again)
    record = record_size.tried("a run", "a result", trial)
    assert [list(record.trial.case_names)] == asked
    assert 1_000 < len(record.trial.case_names) < 20_000
    assert record.ByteSize() < record_size.MOST_RECORD_BYTES
    assert len(record.trial.reason.text) == 1024


def test_a_remedy_that_does_not_help_is_reported(tmp_path: Path) -> None:
    """By what was observed with it."""
    trial = ran(tmp_path, NEVER_RIGHT).remedy_trials[0]
    assert (WORDS[trial.status], trial.reason.text) == ("fail", "It is wrong with 0.")


def test_a_crash_is_tried_with_the_remedy_of_its_last_words(tmp_path: Path) -> None:
    """The process aborted; the catalogue knows the message, and what to start the next one with."""
    result = ran(tmp_path, CRASHES)
    assert (WORDS[result.status], result.remedy_id) == ("crash", "KI069")
    assert [told(trial) for trial in result.remedy_trials] == [
        ("KI069", {"PYTORCH_ENABLE_MPS_FALLBACK": "1"}, "pass", [])
    ]


def test_only_the_cases_that_name_the_remedy_run_again(tmp_path: Path) -> None:
    """What another case does says nothing about the remedy."""
    result = ran(tmp_path, ROWS)
    assert {case.name: WORDS[case.status] for case in result.cases} == {
        "sound": "pass",
        "exact": "fail",
        "broken": "fail",
    }
    assert [told(trial) for trial in result.remedy_trials] == [
        ("KI065", {"MLX_ENABLE_TF32": "0"}, "pass", ["exact"])
    ]
    assert result.remedy_trials[0].reason.text == "Right."


def test_another_device_is_a_remedy_too(tmp_path: Path) -> None:
    """A warning on one device is tried on the CPU."""
    trial = ran(tmp_path, ON_THE_CPU, device="mps").remedy_trials[0]
    assert (trial.remedy_id, trial.device, WORDS[trial.status]) == ("KI072", "cpu", "pass")


def test_what_was_set_anyway_is_not_tried(tmp_path: Path) -> None:
    """It would be the same process once more."""
    assert list(ran(tmp_path, NEVER_RIGHT, variables={"MLX_ENABLE_TF32": "0"}).remedy_trials) == []


def test_a_trial_ends_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that hangs is a timeout, and costs no more than its bound."""
    monkeypatch.setattr(remedy_trials, "MOST_TRIAL_SECONDS", 12.0)
    trial = ran(tmp_path, HANGS).remedy_trials[0]
    assert WORDS[trial.status] == "timeout"
    assert 12 <= trial.wall_seconds < 120


def failed(remedy_id: str) -> result_pb2.Result:
    return result_pb2.Result(
        status=result_pb2.STATUS_FAIL, remedy_id=remedy_id, device="mps", parameters_json="{}"
    )


def never_run(*_: object, **__: object) -> result_pb2.Result:
    pytest.fail("a check ran")


def test_a_run_spends_no_more_than_its_time_on_trials(tmp_path: Path) -> None:
    """When it is spent, no further remedy is tried."""
    path = tmp_path / "remedied.py"
    path.write_text(HEADER + FAILS.strip("\n"))
    trials = RemedyTrials(run_seconds=remedy_trials.LEAST_TRIAL_SECONDS - 1)
    assert list(trials.of(failed("KI065"), read_definition(path), never_run)) == []


def test_a_check_that_runs_as_long_as_it_is_told_is_not_tried_in_less(tmp_path: Path) -> None:
    """A trial that its own bound would end teaches nothing."""
    path = tmp_path / "remedied.py"
    source = HEADER.replace('{"rows": 3}', '{"seconds": 600}\nTIMEOUT_PARAMETER = "seconds"')
    path.write_text(source + FAILS.strip("\n"))
    soaked = failed("KI065")
    soaked.parameters_json = '{"seconds": 600}'
    assert list(RemedyTrials().of(soaked, read_definition(path), never_run)) == []


def test_a_remedy_that_cannot_be_applied_is_not_tried(tmp_path: Path) -> None:
    """An upgrade, other code, or what may freeze the Mac."""
    path = tmp_path / "remedied.py"
    path.write_text(HEADER + FAILS.strip("\n"))
    definition = read_definition(path)
    for remedy_id in ("KI009", "KI040", "KI000", ""):
        assert list(RemedyTrials().of(failed(remedy_id), definition, never_run)) == []


def test_a_healthy_result_has_nothing_to_remedy() -> None:
    """Though it may name an issue that applies."""
    assert remedies_of(result_pb2.Result(status=result_pb2.STATUS_PASS, remedy_id="KI065")) == {}


def test_the_person_at_the_machine_sees_what_was_tried(agent: AgentFolder, tmp_path: Path) -> None:
    """Below the verdict, on stderr; the run on stdout has it too."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "remedied.py").write_text(HEADER + FAILS.strip("\n"))
    done = agent.call("check", "--checks", str(tmp_path / "own"), "--check", "remedied")
    assert "remedied ... fail (" in done.stderr
    assert "\n      tried MLX_ENABLE_TF32=0: pass  It is right with 3 rows and seed 0.\n" in done.stderr
    assert '"remedy_trials"' in done.stdout


def test_cancelled_while_trying_keeps_the_result(tmp_path: Path) -> None:
    """The verdict is there already; the run ends as cancelled, with it."""
    path = tmp_path / "remedied.py"
    path.write_text(HEADER + HANGS.strip("\n"))
    cancelled = threading.Event()
    timer = threading.Timer(4.0, cancelled.set)
    events: list[Event] = []
    execution = Execution(
        suite=Suite("custom", (read_definition(path), read_definition(path))),
        target=target_from(sys.executable),
        device="cpu",
        machine=machine_pb2.Machine(),
        environment=environment_pb2.Environment(),
        emit=events.append,
        cancelled=cancelled,
    )
    timer.start()
    run = execute(execution)
    timer.cancel()
    assert run.outcome == run_pb2.RUN_OUTCOME_CANCELLED
    assert [WORDS[result.status] for result in run.results] == ["fail"]
    assert [type(event) for event in events[1:3]] == [record_pb2.CheckStarted, record_pb2.CheckFinished]


def applied() -> dict[str, Application]:
    return {issue.id: issue.apply for issue in known_issues.catalogue().values() if issue.apply is not None}


def test_nothing_dangerous_and_nothing_useless_is_applied() -> None:
    """No memory limit is lifted, and what is known not to help is not tried."""
    for issue_id, application in applied().items():
        issue = known_issues.find(issue_id)
        assert issue is not None
        assert "PYTORCH_MPS_HIGH_WATERMARK_RATIO" not in application.environment
        warned = issue.does_not_help.en if issue.does_not_help else ""
        assert [name for name in application.environment if name in warned] == []


def test_what_is_applied_is_what_the_remedy_says() -> None:
    """Each variable stands in the sentence with its value or, where there is a choice, its values."""
    for issue_id, application in applied().items():
        issue = known_issues.find(issue_id)
        assert issue is not None
        assert application.environment or application.device == "cpu"
        for name, value in application.environment.items():
            said = {f"{name}={value}", f"{name} to {value}", f"{name} to 1 or {value}"}
            assert [each for each in said if each in issue.remedy.en]
        if application.device:
            assert "cpu" in issue.remedy.en.lower()
