"""Reruns one recorded result as it ran: its check, parameters, seed, device, variables and interpreter."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmenv_agent.comparison import Difference, case_differences, circumstances, outcome_differences
from llmenv_agent.configuration import DEVICES
from llmenv_agent.environment_variables import can_be_set
from llmenv_agent.environments import describe
from llmenv_agent.errors import UsageError
from llmenv_agent.facts import read_conditions, read_machine
from llmenv_agent.foreground import LEFTOVER_NAME, InterruptedByPersonError, foreground
from llmenv_agent.local_check import choose_target
from llmenv_agent.repertoire import read_repertoire
from llmenv_agent.runner import CheckCancelledError, run_check
from llmenv_agent.surroundings import bad_combinations
from llmenv_agent.targets import TargetError, target_from

if TYPE_CHECKING:
    from pathlib import Path

    from llmenv.fleet.v1 import result_pb2

    from llmenv_agent.configuration import Configuration
    from llmenv_agent.recorded import Recorded
    from llmenv_agent.targets import Target


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What came of it: `differences` of the outcome, `circumstances` that are not as they were."""

    recorded: Recorded
    result: result_pb2.Result
    case: str
    differences: tuple[Difference, ...]
    circumstances: tuple[Difference, ...]

    @property
    def is_same(self) -> bool:
        return not self.differences


def replay(recorded: Recorded, configuration: Configuration, *, target: str, case: str) -> Replay | None:
    """Run it again, or one `case` of it where that is named; None when interrupted.

    `target` stands in place of the interpreter that was recorded, where it is named. Raises UsageError for
    a check, a case or an interpreter that is not there.
    """
    known = read_repertoire(_folders(recorded, configuration), configuration.suites)
    definition = known.custom([recorded.result.check_name]).definitions[0]
    _require_startable(recorded.result)
    was = _case_of(recorded.result, case) if case else None
    parameters = _parameters(recorded.result)
    interpreter = _interpreter(recorded, configuration, target)
    leftover_file = configuration.state_dir / LEFTOVER_NAME
    try:
        with foreground("llmenv-agent replay", leftover_file=leftover_file) as cancelled:
            environment, machine = describe(interpreter), read_machine()
            result = run_check(
                definition,
                target=interpreter,
                device=recorded.result.device,
                parameters=parameters,
                seed=recorded.result.seed,
                variables=recorded.result.environment_variables,
                only_cases=[case] if case else (),
                machine=machine,
                bad_combinations=bad_combinations(machine, environment),
                read_conditions=read_conditions,
                cancelled=cancelled,
                leftover_file=leftover_file,
            )
    except (InterruptedByPersonError, CheckCancelledError):
        return None
    return Replay(
        recorded=recorded,
        result=result,
        case=case,
        differences=case_differences(was, find_case(result, case))
        if was is not None
        else outcome_differences(recorded.result, result),
        circumstances=circumstances(recorded, result, environment=environment, machine=machine),
    )


def _require_startable(result: result_pb2.Result) -> None:
    """A process can be started with what the file says. Raises UsageError."""
    if result.device not in DEVICES:
        known = ", ".join(DEVICES)
        raise UsageError(
            f"The result of {result.check_name} is of the device {result.device!r}; there are {known}."
        )
    for name, value in result.environment_variables.items():
        if not can_be_set(name, value):
            raise UsageError(f"The result of {result.check_name} has {name!r}, which no variable can be.")


def _parameters(result: result_pb2.Result) -> dict[str, Any]:
    """Somebody may have edited the file."""
    try:
        parameters = json.loads(result.parameters_json or "{}")
    except (ValueError, RecursionError):
        parameters = None
    if not isinstance(parameters, dict):
        raise UsageError(f"The parameters of {result.check_name} in this result are no JSON object.")
    return parameters


def _folders(recorded: Recorded, configuration: Configuration) -> list[Path]:
    """Of checks: those configured or asked for, and those of the recorded run that are still there."""
    configured = {each.resolve() for each in configuration.checks_folders}
    of_the_run = (each for each in recorded.checks_folders if each.is_dir() and each not in configured)
    return [*configuration.checks_folders, *of_the_run]


def find_case(result: result_pb2.Result, name: str) -> result_pb2.Case | None:
    return next((case for case in result.cases if case.name == name), None)


def _case_of(result: result_pb2.Result, name: str) -> result_pb2.Case:
    case = find_case(result, name)
    if case is None:
        names = [each.name for each in result.cases]
        listed = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
        listed = listed or "none"
        raise UsageError(f"{result.check_name} has no case {name!r} in this result; it has: {listed}.")
    return case


def _interpreter(recorded: Recorded, configuration: Configuration, asked: str) -> Target:
    """The one asked for, else the one recorded; with what is configured for it, where it is."""
    if asked:
        return choose_target(asked, configuration.targets)
    environment = recorded.run.environment
    if not environment.python_path:
        raise UsageError("The run does not say which interpreter it ran in: name one with --target.")
    for settings in configuration.targets:
        with contextlib.suppress(TargetError):  # another one is broken, not this
            configured = choose_target(settings.name or settings.python, (settings,))
            if str(configured.python) == environment.python_path:
                return configured
    try:
        return target_from(environment.python_path, name=environment.name)
    except TargetError as error:
        raise TargetError(f"{error} It is the one recorded; name another with --target.") from error
