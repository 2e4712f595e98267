"""Remedies that are tried: the check again in a process of its own, with what the remedy changes.

What is tried is what the catalogue says can be applied to a process.  A trial never changes the verdict that
led to it, runs only the cases that name the remedy (the first of them, where a record has no room to name
them all), and is bounded in time, as all trials of a run are.
"""

from __future__ import annotations

import dataclasses
import json
import time
from typing import TYPE_CHECKING

from llmenv.catalog import known_issues
from llmenv.fleet.v1 import result_pb2

from llmenv_agent.record_size import names_that_fit
from llmenv_agent.runner import CheckCancelledError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmenv.catalog.known_issues import Application

    from llmenv_agent.definitions import Definition

MOST_TRIAL_SECONDS = 180.0
MOST_RUN_SECONDS = 300.0
# What is left of a run's time below this is too little to learn anything.
LEAST_TRIAL_SECONDS = 10.0

_BEST_FIRST = (
    result_pb2.STATUS_PASS,
    result_pb2.STATUS_SKIP,
    result_pb2.STATUS_WARN,
    result_pb2.STATUS_FAIL,
    result_pb2.STATUS_ERROR,
    result_pb2.STATUS_TIMEOUT,
    result_pb2.STATUS_CRASH,
)
_TROUBLE = _BEST_FIRST[2:]


class RemedyTrials:
    """The trials of one run, which share its time."""

    def __init__(self, run_seconds: float = MOST_RUN_SECONDS) -> None:
        self._seconds_left = run_seconds

    def of(
        self,
        result: result_pb2.Result,
        definition: Definition,
        run_again: Callable[..., result_pb2.Result],
    ) -> Iterator[result_pb2.RemedyTrial]:
        """One trial, as it ends, for each remedy that `result` names and that would change something.

        None after a cancellation.
        `run_again` is `runner.run_check` with everything but definition, device, parameters, seed,
        variables and cases.
        """
        asked = definition.deadline_seconds(json.loads(result.parameters_json)) - definition.timeout_seconds
        for remedy in _applicable(result):
            seconds = min(asked + definition.timeout_seconds, MOST_TRIAL_SECONDS, self._seconds_left)
            if seconds < asked + LEAST_TRIAL_SECONDS:
                return
            bounded = dataclasses.replace(definition, timeout_seconds=seconds, timeout_parameter=None)
            start = time.monotonic()
            try:
                trial = _trial(result, remedy, bounded, run_again)
            except CheckCancelledError:
                return
            finally:
                self._seconds_left -= time.monotonic() - start
            yield trial


@dataclasses.dataclass(frozen=True)
class _Remedy:
    id: str
    application: Application
    case_names: list[str]

    def changes(self, result: result_pb2.Result) -> bool:
        """Whether it is not what the check ran with anyway."""
        if self.application.device not in {"", result.device}:
            return True
        return bool(self.application.environment.items() - result.environment_variables.items())


def _applicable(result: result_pb2.Result) -> Iterator[_Remedy]:
    for remedy_id, case_names in remedies_of(result).items():
        issue = known_issues.find(remedy_id)
        if issue is not None and issue.apply is not None:
            remedy = _Remedy(remedy_id, issue.apply, names_that_fit(case_names))
            if remedy.changes(result):
                yield remedy


def remedies_of(result: result_pb2.Result) -> dict[str, list[str]]:
    """Remedies that a result in trouble names, each with the cases that name it; none for the whole check."""
    if result.status not in _TROUBLE:
        return {}
    named: dict[str, list[str]] = {result.remedy_id: []} if result.remedy_id else {}
    for case in result.cases:
        if case.remedy_id and case.status in _TROUBLE:
            named.setdefault(case.remedy_id, []).append(case.name)
    return named


def _trial(
    result: result_pb2.Result,
    remedy: _Remedy,
    definition: Definition,
    run_again: Callable[..., result_pb2.Result],
) -> result_pb2.RemedyTrial:
    device = remedy.application.device or result.device
    again = run_again(
        definition,
        device=device,
        parameters=json.loads(result.parameters_json),
        seed=result.seed,
        variables={**result.environment_variables, **remedy.application.environment},
        only_cases=remedy.case_names,
    )
    judged = _judged(again, remedy.case_names)
    return result_pb2.RemedyTrial(
        remedy_id=remedy.id,
        environment_variables=remedy.application.environment,
        device=device,
        status=judged.status,
        reason=judged.reason,
        case_names=remedy.case_names,
        wall_seconds=again.wall_seconds,
    )


def applied(trial: result_pb2.RemedyTrial) -> str:
    """What the remedy changed, such as "MLX_ENABLE_TF32=0" or "device cpu"."""
    variables = [f"{name}={value}" for name, value in sorted(trial.environment_variables.items())]
    return " ".join(variables or [f"device {trial.device}"])


def _judged(again: result_pb2.Result, case_names: list[str]) -> result_pb2.Result | result_pb2.Case:
    """The worst of the cases that were to be run again, if all of them were; else the check."""
    cases = [case for case in again.cases if case.name in case_names]
    if not cases or len(cases) < len(case_names):
        return again
    return max(cases, key=lambda case: _BEST_FIRST.index(case.status))
