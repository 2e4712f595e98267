"""Runs one check in a target and always comes back with a verdict.

Each check has a process of its own in the target interpreter.  A case that ends
or hangs its process costs its own row: the rest continues in a fresh process.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmenv.catalog.status import WORDS
from llmenv.fleet.v1 import machine_pb2, result_pb2
from llmenv.ids import new_id

from llmenv_agent import leftover, verdict
from llmenv_agent.check_process import Asked, CheckProcess, Watch
from llmenv_agent.disturbance import watched
from llmenv_agent.environment_variables import allowed, replaced
from llmenv_agent.machine_limits import machine_limits
from llmenv_agent.process import Stop
from llmenv_agent.surroundings import surroundings

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from llmenv_agent.definitions import Definition
    from llmenv_agent.disturbance import Watched
    from llmenv_agent.targets import Target

# Processes of one check at most: more crashing cases than this are one finding.
MOST_PROCESSES = 20
_REMEDY_LOG_CHARACTERS = 8 * 1024
_HEALTHY = (result_pb2.STATUS_PASS, result_pb2.STATUS_SKIP)


class CheckCancelledError(Exception):
    """The check was ended on request and has no result."""


def run_check(
    definition: Definition,
    *,
    target: Target,
    device: str,
    parameters: Mapping[str, Any] | None = None,
    seed: int = 0,
    variables: Mapping[str, str] | None = None,
    only_cases: Sequence[str] = (),
    machine: machine_pb2.Machine | None = None,
    bad_combinations: Sequence[Mapping[str, str]] = (),
    result_id: str | None = None,
    read_conditions: Callable[[], machine_pb2.Conditions] = machine_pb2.Conditions,
    find_remedy: Callable[[str], str] = lambda _: "",
    on_progress: Callable[[str], None] = lambda _: None,
    cancelled: threading.Event | None = None,
    leftover_file: Path | None = None,
    watch_machine: Callable[[str], AbstractContextManager[Watched]] = watched,
) -> result_pb2.Result:
    """Run `definition` in `target` on `device` ("mps", "cuda" or "cpu").

    `seed` is that of every random number, `machine` what the check may size itself by,
    `bad_combinations` what is known to go wrong with these versions here.
    `variables` stand in place of all recorded variables (environment_variables.py)
    that its process would have had; of a table `only_cases` are run where there are any.
    `find_remedy` maps the text of what went wrong to the id of a known issue or
    "".  `on_progress` is given the name of each case as it begins.
    `leftover_file` lets the next agent end the check if this one dies.
    `watch_machine` sees what else happens on the machine meanwhile.  Raises
    DefinitionError for parameters that the check does not have, and
    CheckCancelledError once `cancelled` is set.
    """
    complete = definition.complete(parameters or {})
    start = time.monotonic()
    result = _begun(read_conditions())
    asked = Asked(
        definition=definition,
        python=target.python,
        environment=_environment(definition, target, variables),
        device=device,
        parameters=complete,
        seed=seed,
        only_cases=only_cases,
        machine=machine_limits(machine or machine_pb2.Machine(), result.conditions_before),
        surroundings=surroundings(target, result.conditions_before, bad_combinations),
    )
    with leftover.noted(leftover_file) as note, watch_machine(device) as machine_watch:
        watch = Watch(note=note, on_progress=on_progress, cancelled=cancelled)
        result.MergeFrom(_verdict_on(asked, watch))
    result.conditions_after.CopyFrom(read_conditions())
    machine_watch.mark(result)
    result.result_id = result_id or new_id()
    result.wall_seconds = result.wall_seconds or time.monotonic() - start
    _note_asked(result, asked)
    _add_remedies(result, find_remedy)
    return result


def _begun(conditions: machine_pb2.Conditions) -> result_pb2.Result:
    result = result_pb2.Result(conditions_before=conditions)
    result.started_at.GetCurrentTime()
    return result


def _verdict_on(asked: Asked, watch: Watch) -> result_pb2.Result:
    """In a folder that only its processes know, and that is gone afterwards."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=leftover.FOLDER_PREFIX))
    except OSError as error:
        return _not_started(asked, error)
    try:
        return _Check(asked=asked, folder=folder, watch=watch).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _note_asked(result: result_pb2.Result, asked: Asked) -> None:
    """What a replay needs: the check with its parameters, seed and environment."""
    result.check_name = asked.definition.name
    result.definition_hash = asked.definition.definition_hash
    result.parameters_json = json.dumps(asked.parameters, sort_keys=True)
    result.device = asked.device
    result.seed = asked.seed
    result.environment_variables.update(allowed(asked.environment))


def _environment(
    definition: Definition, target: Target, variables: Mapping[str, str] | None
) -> dict[str, str]:
    environment = target.environment(definition.environment)
    return environment if variables is None else replaced(environment, variables)


def _add_remedies(result: result_pb2.Result, find_remedy: Callable[[str], str]) -> None:
    """A case is known by its name too: wrong numbers print nothing that could be recognised."""
    for case in result.cases:
        if not case.remedy_id and case.status not in _HEALTHY:
            what = f"{WORDS[case.status]} of {result.check_name} {case.name} on {result.device}"
            case.remedy_id = find_remedy(f"{what}: {case.reason.text}")
    if not result.remedy_id and result.status not in _HEALTHY:
        log = result.log_tail[-_REMEDY_LOG_CHARACTERS:]
        said = f"{result.reason.text}\n{result.error.message}\n{log}"
        result.remedy_id = find_remedy(said) or _remedy_of_first_case(result)


def _remedy_of_first_case(result: result_pb2.Result) -> str:
    """Of the first case that ended as the check did; "" where that has none."""
    return next((case.remedy_id for case in result.cases if case.status == result.status), "")


def _not_started(asked: Asked, error: OSError) -> result_pb2.Result:
    why = error.strerror or str(error)
    if error.filename is None or Path(error.filename) == asked.python:
        template = "The interpreter {python} cannot be started: {why}."
        reason = verdict.spoken(template, python=str(asked.python), why=why)
    else:
        template = "Its process cannot be started, because of {path}: {why}."
        reason = verdict.spoken(template, path=error.filename, why=why)
    return result_pb2.Result(status=result_pb2.STATUS_ERROR, reason=reason)


@dataclasses.dataclass(kw_only=True)
class _Check:
    """One check in progress, over as many processes as its cases need."""

    asked: Asked
    folder: Path
    watch: Watch
    cases: list[result_pb2.Case] = dataclasses.field(default_factory=list)
    wall_seconds: float = 0.0
    children_left_behind: int = 0

    def run(self) -> result_pb2.Result:
        for number in range(1, MOST_PROCESSES + 1):
            try:
                process = self._run_process(number)
            except OSError as error:
                return _not_started(self.asked, error)
            if not process.can_continue:
                break
        result = process.result
        result.cases.extend(self.cases)
        verdict.blame_cases(result)
        if process.can_continue:
            template = "Gave up after {count} processes, each ended by a case; the rest was not run."
            result.reason.CopyFrom(verdict.spoken(template, count=MOST_PROCESSES))
        result.wall_seconds = self.wall_seconds
        result.process_end.children_left_behind = self.children_left_behind
        return result

    def _run_process(self, number: int) -> CheckProcess:
        folder = self.folder / str(number)
        folder.mkdir()
        process = CheckProcess(self.asked, folder, self.watch, spent_seconds=self.wall_seconds)
        ended = process.run({case.name: WORDS[case.status] for case in self.cases})
        if ended.stopped is Stop.CANCELLED:
            raise CheckCancelledError(f"{self.asked.definition.name} was cancelled")
        self.wall_seconds += ended.wall_seconds
        self.children_left_behind += ended.children_left_behind
        self.cases.extend(process.cases)
        return process
