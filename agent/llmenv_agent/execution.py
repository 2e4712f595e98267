"""Executes a suite in a target and emits everything that happens, as it happens."""

from __future__ import annotations

import dataclasses
import functools
import time
from typing import TYPE_CHECKING, Any, TypeAlias

from llmenv import __version__
from llmenv.catalog import known_issues
from llmenv.fleet.v1 import machine_pb2, record_pb2, result_pb2, run_pb2
from llmenv.ids import new_id

from llmenv_agent import record_size
from llmenv_agent.remedy_trials import RemedyTrials
from llmenv_agent.runner import CheckCancelledError, run_check
from llmenv_agent.surroundings import bad_combinations

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from llmenv.fleet.v1 import environment_pb2

    from llmenv_agent.definitions import Definition
    from llmenv_agent.suites import Suite
    from llmenv_agent.targets import Target

Event: TypeAlias = (
    record_pb2.RunStarted
    | record_pb2.CheckStarted
    | record_pb2.CheckFinished
    | record_pb2.CaseBatch
    | record_pb2.RemedyTried
    | record_pb2.RunFinished
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Execution:
    """One run to be: a suite, where it runs, and who is told.

    `emit` is given each message of record.proto in order, `CheckStarted` before
    the process of its check starts.  `parameters` maps check names to what
    differs from their defaults.  `seed` is that of every random number.
    `on_case` is given the names of a check and of its case that begins.
    `leave_out` says of a check, just before it would start, why it is not run.
    """

    suite: Suite
    target: Target
    device: str
    machine: machine_pb2.Machine
    environment: environment_pb2.Environment
    emit: Callable[[Event], None]
    trigger: run_pb2.Trigger.ValueType = run_pb2.TRIGGER_LOCAL
    schedule_name: str = ""
    schedule_id: str = ""
    parameters: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    seed: int = 0
    read_conditions: Callable[[], machine_pb2.Conditions] = machine_pb2.Conditions
    on_case: Callable[[str, str], None] = lambda _check, _case: None
    leave_out: Callable[[str], result_pb2.Sentence | None] = lambda _check: None
    cancelled: threading.Event | None = None
    leftover_file: Path | None = None


def execute(execution: Execution) -> run_pb2.Run:
    """Run every check of the suite in order; returns the run with all its results.

    Raises DefinitionError, before anything is emitted, for parameters that a
    check does not have.
    """
    for definition in execution.suite.definitions:
        definition.complete(execution.parameters.get(definition.name, {}))
    start = time.monotonic()
    run = _planned(execution)
    execution.emit(record_pb2.RunStarted(run=run))
    outcome = _execute_checks(execution, run)
    run.outcome = outcome
    run.ended_at.GetCurrentTime()
    run.wall_seconds = time.monotonic() - start
    execution.emit(
        record_pb2.RunFinished(
            run_id=run.run_id, outcome=outcome, ended_at=run.ended_at, wall_seconds=run.wall_seconds
        )
    )
    return run


def default_device(machine: machine_pb2.Machine) -> str:
    """The device when nobody names one: `mps` on Apple Silicon, else `cpu`.

    The agent does not load torch, so it does not look for other accelerators.
    """
    return "mps" if machine.is_apple_silicon else "cpu"


def _planned(execution: Execution) -> run_pb2.Run:
    run = run_pb2.Run(
        run_id=new_id(),
        suite=execution.suite.name,
        suite_version=execution.suite.version,
        trigger=execution.trigger,
        machine=execution.machine,
        environment=execution.environment,
        device=execution.device,
        planned_checks=[definition.name for definition in execution.suite.definitions],
        agent_version=__version__,
        schedule_name=execution.schedule_name,
        schedule_id=execution.schedule_id,
    )
    run.started_at.GetCurrentTime()
    return run


def _execute_checks(execution: Execution, run: run_pb2.Run) -> run_pb2.RunOutcome.ValueType:
    trials = RemedyTrials()
    for definition in execution.suite.definitions:
        if execution.cancelled is not None and execution.cancelled.is_set():
            return run_pb2.RUN_OUTCOME_CANCELLED
        if (reason := execution.leave_out(definition.name)) is not None:
            _leave_out(execution, definition, run, reason)
            continue
        try:
            _execute_check(execution, definition, run, trials)
        except CheckCancelledError:
            return run_pb2.RUN_OUTCOME_CANCELLED
    return run_pb2.RUN_OUTCOME_COMPLETED


def _execute_check(
    execution: Execution, definition: Definition, run: run_pb2.Run, trials: RemedyTrials
) -> None:
    """A trial may panic the Mac as the check did not: the verdict is emitted before the first begins."""
    result_id = new_id()
    parameters = definition.complete(execution.parameters.get(definition.name, {}))
    execution.emit(
        record_pb2.CheckStarted(
            run_id=run.run_id,
            result_id=result_id,
            check_name=definition.name,
            timeout_seconds=definition.deadline_seconds(parameters),
        )
    )
    run_again = functools.partial(
        run_check,
        target=execution.target,
        machine=execution.machine,
        cancelled=execution.cancelled,
        leftover_file=execution.leftover_file,
    )
    result = run_again(
        definition,
        device=execution.device,
        parameters=parameters,
        seed=execution.seed,
        bad_combinations=bad_combinations(execution.machine, execution.environment),
        result_id=result_id,
        read_conditions=execution.read_conditions,
        find_remedy=functools.partial(_find_remedy, execution),
        on_progress=functools.partial(execution.on_case, definition.name),
    )
    records = record_size.split(run.run_id, result)
    execution.emit(records.finished)
    for batch in records.batches:
        execution.emit(batch)
    run.results.append(records.whole())
    for trial in trials.of(result, definition, run_again):
        tried = record_size.tried(run.run_id, result_id, trial)
        execution.emit(tried)
        run.results[-1].remedy_trials.append(tried.trial)


def _leave_out(
    execution: Execution, definition: Definition, run: run_pb2.Run, reason: result_pb2.Sentence
) -> None:
    result = result_pb2.Result(
        result_id=new_id(),
        check_name=definition.name,
        definition_hash=definition.definition_hash,
        device=execution.device,
        status=result_pb2.STATUS_SKIP,
        reason=reason,
    )
    result.started_at.GetCurrentTime()
    execution.emit(record_pb2.CheckFinished(run_id=run.run_id, result=result))
    run.results.append(result)


def _find_remedy(execution: Execution, error_text: str) -> str:
    """The id of the known issue behind `error_text` here, or ""."""
    machine = execution.machine
    issue = known_issues.match(
        error_text,
        package_versions={each.name: each.version for each in execution.environment.packages},
        chip=machine.chip,
        os_version=machine.os_version if machine.os_name == "macOS" else "",
    )
    return issue.id if issue else ""
