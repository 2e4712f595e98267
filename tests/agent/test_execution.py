"""A run emits what happens as it happens, and ends as it is told."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from llmenv.fleet.v1 import environment_pb2, machine_pb2, record_pb2, result_pb2, run_pb2
from llmenv_agent import suites
from llmenv_agent.definitions import DefinitionError, read_definitions
from llmenv_agent.execution import Event, Execution, default_device, execute
from llmenv_agent.targets import target_from

FAULTS = read_definitions(Path(__file__).parent / "fault_checks")


def execution_of(*names: str, emit: Any, **options: Any) -> Execution:
    return Execution(
        suite=suites.custom(names, FAULTS),
        target=target_from(sys.executable),
        device="cpu",
        machine=machine_pb2.Machine(chip="Apple M2 Ultra", os_name="macOS", os_version="26.2"),
        environment=environment_pb2.Environment(name="lab"),
        emit=emit,
        **options,
    )


def test_records_come_in_order_and_carry_the_runs_id() -> None:
    """Started before each check, finished after it, the run around them, all with one run id."""
    emitted: list[Event] = []
    run = execute(execution_of("surroundings", "immediate_exit", emit=emitted.append))
    assert [type(event).__name__ for event in emitted] == [
        "RunStarted",
        "CheckStarted",
        "CheckFinished",
        "CheckStarted",
        "CheckFinished",
        "RunFinished",
    ]
    started, first, first_end, second, _, finished = emitted
    assert isinstance(started, record_pb2.RunStarted)
    assert list(started.run.planned_checks) == ["surroundings", "immediate_exit"]
    assert isinstance(first, record_pb2.CheckStarted)
    assert isinstance(first_end, record_pb2.CheckFinished)
    assert isinstance(second, record_pb2.CheckStarted)
    assert first.result_id == first_end.result.result_id
    assert second.timeout_seconds == 30
    assert isinstance(finished, record_pb2.RunFinished)
    assert {event.run_id for event in emitted[1:]} == {run.run_id}  # type: ignore[union-attr]
    assert finished.outcome == run_pb2.RUN_OUTCOME_COMPLETED


def test_run_holds_every_result() -> None:
    """What comes back is the whole run: each verdict, both times, how it ended."""
    run = execute(execution_of("surroundings", "immediate_exit", emit=lambda _: None))
    assert [(result.check_name, result.status) for result in run.results] == [
        ("surroundings", result_pb2.STATUS_PASS),
        ("immediate_exit", result_pb2.STATUS_CRASH),
    ]
    assert run.outcome == run_pb2.RUN_OUTCOME_COMPLETED
    assert run.started_at.ToNanoseconds() < run.ended_at.ToNanoseconds()
    assert run.wall_seconds > 0


def test_rows_beyond_one_record_follow_in_batches() -> None:
    """The rows of a large result are emitted after it, and the run has them all."""
    emitted: list[Event] = []
    run = execute(execution_of("large_result", emit=emitted.append))
    batches = [event for event in emitted if isinstance(event, record_pb2.CaseBatch)]
    assert len(batches) >= 8
    assert {batch.result_id for batch in batches} == {run.results[0].result_id}
    assert len(run.results[0].cases) == 4000


def test_remedy_comes_from_the_catalogue() -> None:
    """An abort with a message that the catalogue knows carries the known issue's id."""
    run = execute(execution_of("abort", emit=lambda _: None))
    assert run.results[0].remedy_id.startswith("KI")


def test_cancelled_run_ends_its_check_and_says_so(tmp_path: Path) -> None:
    """The running check ends without a result, later ones are not started, the outcome is cancelled."""
    emitted: list[Event] = []
    cancelled = threading.Event()

    def emit(event: Event) -> None:
        emitted.append(event)
        if isinstance(event, record_pb2.CheckStarted):
            threading.Timer(0.5, cancelled.set).start()

    parameters = {"endless": {"note": str(tmp_path / "pid")}}
    run = execute(
        execution_of("endless", "surroundings", emit=emit, cancelled=cancelled, parameters=parameters)
    )
    assert [type(event).__name__ for event in emitted] == ["RunStarted", "CheckStarted", "RunFinished"]
    assert run.outcome == run_pb2.RUN_OUTCOME_CANCELLED
    assert list(run.results) == []


def test_wrong_parameter_is_refused_before_anything_is_emitted() -> None:
    """A parameter that no check has stops the run before it is one."""
    emitted: list[Event] = []
    with pytest.raises(DefinitionError, match="has no parameter 'steps'"):
        execute(execution_of("abort", emit=emitted.append, parameters={"abort": {"steps": 1}}))
    assert emitted == []


def test_device_is_never_the_cpu_on_apple_silicon() -> None:
    """Without a word the device is mps on Apple Silicon and cpu elsewhere."""
    assert default_device(machine_pb2.Machine(is_apple_silicon=True)) == "mps"
    assert default_device(machine_pb2.Machine()) == "cpu"
