"""Commands to machines at an admin's terminal: what is asked, said, listed and exited with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from llmenv.fleet.v1 import fleet_service_pb2 as messages
from llmenv.fleet.v1 import result_pb2
from llmenv.fleet.v1.record_pb2 import CommandOutcome
from llmenv_cli import watched_commands

if TYPE_CHECKING:
    from collections.abc import Callable

FINE, NOT_READY, USAGE = 0, 1, 2
BATCH = "019c6120-0000-7000-8000-00000000000b"
RUN_ID = "019c6120-0000-7000-8000-0000000000aa"
STUDIO = "019c6120-0000-7000-8000-000000000001"


def command(
    number: int, hostname: str, state: CommandOutcome.State.ValueType, **more: Any
) -> messages.IssuedCommand:
    """One of the batch, which runs the quick suite."""
    issued = messages.IssuedCommand(
        command_id=f"019c6120-0000-7000-8000-00000000010{number}",
        batch_id=BATCH,
        machine_id=STUDIO if hostname == "studio-3" else f"019c6120-0000-7000-8000-00000000020{number}",
        hostname=hostname,
        issued_by="laptop",
        state=state,
        **{"is_connected": True, **more},
    )
    issued.run_checks.suite = "quick"
    issued.issued_at.FromJsonString("2026-02-15T16:20:00Z")
    issued.expires_at.FromJsonString("2026-02-16T16:20:00Z")
    return issued


WAITING = command(1, "air-7", CommandOutcome.STATE_UNSPECIFIED, is_connected=False)
EXPIRED = command(1, "air-7", CommandOutcome.STATE_EXPIRED)
STARTED = command(2, "studio-3", CommandOutcome.STATE_STARTED, run_ids=[RUN_ID])
ENDED = command(2, "studio-3", CommandOutcome.STATE_ENDED, run_ids=[RUN_ID])
REFUSED = command(3, "mini-1", CommandOutcome.STATE_REFUSED, reason="There is no suite 'quick'.")


def check_ended(name: str, status: result_pb2.Status.ValueType) -> messages.WatchCommandResponse:
    step = messages.WatchCommandResponse(
        command=STARTED, check_ended=name, status=status, run_id=RUN_ID, environment_name="train"
    )
    step.reason.text = step.reason.template = "It is so."
    return step


def check_began(name: str) -> messages.WatchCommandResponse:
    return messages.WatchCommandResponse(
        command=STARTED, check_began=name, run_id=RUN_ID, environment_name="train"
    )


def steps(*, worst: result_pb2.Status.ValueType, ends: list[Any]) -> list[messages.WatchCommandResponse]:
    """A Studio runs two checks while another machine is awaited."""
    return [
        messages.WatchCommandResponse(command=WAITING),
        messages.WatchCommandResponse(command=STARTED),
        check_began("torch_basics"),
        check_ended("torch_basics", result_pb2.STATUS_PASS),
        check_began("packages"),
        check_ended("packages", worst),
        *(messages.WatchCommandResponse(command=end) for end in ends),
    ]


@pytest.fixture
def servicer(logged_in: Any) -> Any:
    """A collector with three commands, of which one went well, one expired and one was refused."""
    logged_in.servicer.commands = [WAITING, STARTED, REFUSED]
    logged_in.servicer.steps = steps(worst=result_pb2.STATUS_FAIL, ends=[EXPIRED, ENDED, REFUSED])
    return logged_in.servicer


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("output_format", ["table", "md"])
@pytest.mark.parametrize("arguments", [["commands"], ["watch", BATCH]], ids=lambda each: each[0])
def test_listings_for_people(
    llmenv: Callable[..., Any],
    golden: Any,
    servicer: Any,
    *,
    arguments: list[str],
    output_format: str,
    language: str,
) -> None:
    """Titles, states and verdicts in both languages."""
    listed = llmenv("fleet", *arguments, "--format", output_format, "--lang", language)
    assert listed.out == golden(name=f"{arguments[0]}-{output_format}-{language}")


@pytest.mark.parametrize("output_format", ["json", "csv"])
@pytest.mark.parametrize("arguments", [["commands"], ["watch", BATCH]], ids=lambda each: each[0])
def test_listings_for_programs(
    llmenv: Callable[..., Any], golden: Any, servicer: Any, arguments: list[str], output_format: str
) -> None:
    """Whole ids and the words of the contract, whatever the language."""
    listed = llmenv("fleet", *arguments, "--format", output_format, "--lang", "zh")
    assert listed.out == golden(name=f"{arguments[0]}-{output_format}")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_progress_is_talk(llmenv: Callable[..., Any], golden: Any, servicer: Any, language: str) -> None:
    """A line a step on stderr: who is awaited and until when, what begins, and each verdict."""
    watched = llmenv("fleet", "watch", BATCH, "--lang", language)
    assert watched.err == golden(name=f"progress-{language}")


@pytest.mark.parametrize(
    ("worst", "ends", "code"),
    [
        (result_pb2.STATUS_PASS, [ENDED], FINE),
        (result_pb2.STATUS_WARN, [ENDED], FINE),
        (result_pb2.STATUS_SKIP, [ENDED], FINE),
        (result_pb2.STATUS_FAIL, [ENDED], NOT_READY),
        (result_pb2.STATUS_CRASH, [ENDED], NOT_READY),
        (result_pb2.STATUS_PASS, [ENDED, REFUSED], NOT_READY),
    ],
)
def test_the_exit_code_says_whether_all_went_well(
    llmenv: Callable[..., Any],
    servicer: Any,
    worst: result_pb2.Status.ValueType,
    ends: list[messages.IssuedCommand],
    code: int,
) -> None:
    """All ended, and every check well; a check that does not apply may be skipped."""
    servicer.steps = steps(worst=worst, ends=ends)[1:]
    assert llmenv("fleet", "watch", BATCH).code == code


def test_a_command_that_ran_nothing_did_not_go_well(llmenv: Callable[..., Any], servicer: Any) -> None:
    """Never-run is never shown as healthy."""
    servicer.steps = [messages.WatchCommandResponse(command=ENDED)]
    assert llmenv("fleet", "watch", BATCH).code == NOT_READY


def test_a_command_whose_checks_were_all_left_out_did_not_go_well(
    llmenv: Callable[..., Any], servicer: Any
) -> None:
    """It says which and why, and is not shown as healthy either."""
    servicer.steps = [
        messages.WatchCommandResponse(command=STARTED),
        check_ended("packages", result_pb2.STATUS_SKIP),
        messages.WatchCommandResponse(command=ENDED),
    ]
    watched = llmenv("fleet", "watch", BATCH)
    assert watched.code == NOT_READY
    assert "skip 1" in watched.out
    assert "skip Packages: It is so." in watched.err


def test_a_collector_that_was_away_is_asked_again(
    llmenv: Callable[..., Any], servicer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its loss is said once, and what it repeats is not said again."""
    monkeypatch.setattr(watched_commands, "RETRY_SECONDS", 0.01)
    undisturbed = llmenv("fleet", "watch", BATCH)
    servicer.times_lost = 1
    disturbed = llmenv("fleet", "watch", BATCH)
    assert (disturbed.code, disturbed.out) == (undisturbed.code, undisturbed.out)
    talk = disturbed.err.splitlines()
    assert [line for line in talk if "Trying again" not in line] == undisturbed.err.splitlines()
    assert sum("Trying again" in line for line in talk) == 1


def test_options_become_a_request(llmenv: Callable[..., Any], servicer: Any) -> None:
    """Everything that an admin may say arrives as the contract has it."""
    asked = llmenv(
        *("fleet", "run", "--check", "ops", "--check", "leak", "--target", "train", "--device", "mps"),
        *("--where", "gpu_cores > 30", "--machine", "studio-3", "--label", "room=b12", "--label", "loan"),
        *("--set", "ops.cases=12", "--set", "leak.mode=fast", "--expires", "2h", "--regardless-of-use"),
        "--no-wait",
    )
    assert asked.code == FINE
    assert BATCH in asked.err
    request = servicer.requests[-1]
    assert list(request.run_checks.checks) == ["ops", "leak"]
    assert (list(request.run_checks.targets), request.run_checks.device) == (["train"], "mps")
    assert json.loads(request.run_checks.parameters_json) == {"ops": {"cases": 12}, "leak": {"mode": "fast"}}
    assert (request.expires_in_seconds, request.run_checks.regardless_of_use) == (7_200, True)
    selection = request.selection
    assert (list(selection.machines), list(selection.labels)) == (["studio-3"], ["room=b12", "loan"])
    assert (selection.where, selection.all) == ("gpu_cores > 30", False)


def test_a_dry_run_lists_the_machines(llmenv: Callable[..., Any], servicer: Any) -> None:
    """And says that nothing was issued."""
    listed = llmenv("fleet", "run", "--suite", "quick", "--all", "--dry-run", "--format", "csv")
    assert servicer.requests[-1].is_dry_run
    assert "Nothing was issued" in listed.err
    assert listed.out.splitlines()[0] == "machine_id,hostname,connected"
    assert [line.partition(",")[2] for line in listed.out.splitlines()[1:]] == [
        "air-7,false",
        "studio-3,true",
        "mini-1,true",
    ]


def test_what_is_taken_back_is_listed(llmenv: Callable[..., Any], servicer: Any) -> None:
    """Or it is said that there was nothing to take back."""
    taken_back = llmenv("fleet", "cancel", BATCH, "--format", "json")
    assert servicer.requests[-1].id == BATCH
    assert [one["hostname"] for one in json.loads(taken_back.out)] == ["air-7", "studio-3", "mini-1"]
    servicer.commands = []
    nothing = llmenv("fleet", "cancel", BATCH, "--format", "json")
    assert (nothing.code, json.loads(nothing.out)) == (FINE, [])
    assert "all had ended" in nothing.err


@pytest.mark.parametrize("setting", ["seconds=3", "patient.seconds", ".seconds=3", "patient.=3"])
def test_a_setting_that_is_none_is_refused(llmenv: Callable[..., Any], servicer: Any, setting: str) -> None:
    """Before the collector is asked."""
    asked = len(servicer.requests)
    refused = llmenv("fleet", "run", "--check", "patient", "--all", "--set", setting)
    assert refused.code == USAGE
    assert "is not CHECK.PARAM=VALUE" in refused.err
    assert len(servicer.requests) == asked
