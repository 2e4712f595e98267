"""Runs one check in a target and always comes back with a verdict.

Each check has a process of its own in the target interpreter.  A case that ends
or hangs its process costs its own row: the rest continues in a fresh process.
"""

from __future__ import annotations

import contextlib
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
from llmenv_agent.case_file import CaseFile
from llmenv_agent.environment_variables import allowed, replaced
from llmenv_agent.machine_limits import machine_limits
from llmenv_agent.memory_kills import read_memory_kills
from llmenv_agent.process import LOG_TAIL_BYTES, Ended, Stop, run_process
from llmenv_agent.surroundings import surroundings

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from llmenv_agent.definitions import Definition
    from llmenv_agent.targets import Target

PROBE = Path(__file__).parent / "probe" / "__main__.py"
# Processes of one check at most: more crashing cases than this are one finding.
MOST_PROCESSES = 20
_MOST_RESULT_BYTES = 64 * 1024 * 1024
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
) -> result_pb2.Result:
    """Run `definition` in `target` on `device` ("mps", "cuda" or "cpu").

    `seed` is that of every random number, `machine` what the check may size itself by,
    `bad_combinations` what is known to go wrong with these versions here.
    `variables` stand in place of all recorded variables (environment_variables.py)
    that its process would have had; of a table `only_cases` are run where there are any.
    `find_remedy` maps the text of what went wrong to the id of a known issue or
    "".  `on_progress` is given the name of each case as it begins.
    `leftover_file` lets the next agent end the check if this one dies.  Raises
    DefinitionError for parameters that the check does not have, and
    CheckCancelledError once `cancelled` is set.
    """
    complete = definition.complete(parameters or {})
    start = time.monotonic()
    result = result_pb2.Result()
    result.started_at.GetCurrentTime()
    result.conditions_before.CopyFrom(read_conditions())
    with _private_folder() as folder, leftover.noted(leftover_file) as note:
        limits = machine_limits(machine or machine_pb2.Machine(), result.conditions_before)
        around = surroundings(target, result.conditions_before, bad_combinations)
        check = _Check(
            definition=definition,
            target=target,
            environment=_environment(definition, target, variables),
            device=device,
            parameters=complete,
            seed=seed,
            only_cases=only_cases,
            machine=limits,
            surroundings=around,
            folder=folder,
            note=note,
            on_progress=on_progress,
            cancelled=cancelled,
        )
        result.MergeFrom(check.run())
        result.environment_variables.update(allowed(check.environment))
    result.conditions_after.CopyFrom(read_conditions())
    result.result_id = result_id or new_id()
    result.check_name = definition.name
    result.definition_hash = definition.definition_hash
    result.parameters_json = json.dumps(complete, sort_keys=True)
    result.device = device
    result.seed = seed
    if not result.wall_seconds:
        result.wall_seconds = time.monotonic() - start
    _add_remedies(result, find_remedy)
    return result


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=leftover.FOLDER_PREFIX))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _environment(
    definition: Definition, target: Target, variables: Mapping[str, str] | None
) -> dict[str, str]:
    environment = target.environment(definition.environment)
    return environment if variables is None else replaced(environment, variables)


def _add_remedies(result: result_pb2.Result, find_remedy: Callable[[str], str]) -> None:
    for case in result.cases:
        if not case.remedy_id and case.status not in _HEALTHY:
            case.remedy_id = find_remedy(case.reason.text)
    if not result.remedy_id and result.status not in _HEALTHY:
        log = result.log_tail[-_REMEDY_LOG_CHARACTERS:]
        result.remedy_id = find_remedy(f"{result.reason.text}\n{result.error.message}\n{log}")


@dataclasses.dataclass(kw_only=True)
class _Check:
    """One check in progress, over as many processes as its cases need."""

    definition: Definition
    target: Target
    environment: Mapping[str, str]
    device: str
    parameters: Mapping[str, Any]
    seed: int
    only_cases: Sequence[str]
    machine: Mapping[str, Any]
    surroundings: Mapping[str, Any]
    folder: Path
    note: leftover.Note
    on_progress: Callable[[str], None]
    cancelled: threading.Event | None
    cases: list[result_pb2.Case] = dataclasses.field(default_factory=list)
    wall_seconds: float = 0.0
    children_left_behind: int = 0

    def run(self) -> result_pb2.Result:
        for number in range(1, MOST_PROCESSES + 1):
            try:
                process = self._run_process(number)
            except OSError as error:
                return self._not_started(error)
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

    def _run_process(self, number: int) -> _Process:
        folder = self.folder / str(number)
        folder.mkdir()
        process = _Process(self, folder)
        ended = process.run()
        if ended.stopped is Stop.CANCELLED:
            raise CheckCancelledError(f"{self.definition.name} was cancelled")
        self.wall_seconds += ended.wall_seconds
        self.children_left_behind += ended.children_left_behind
        self.cases.extend(process.take_cases())
        return process

    def _not_started(self, error: OSError) -> result_pb2.Result:
        template = "The interpreter {python} cannot be started: {why}."
        reason = verdict.spoken(template, python=str(self.target.python), why=error.strerror or str(error))
        return result_pb2.Result(status=result_pb2.STATUS_ERROR, reason=reason)

    @property
    def deadline_seconds(self) -> float:
        return self.definition.deadline_seconds(self.parameters)

    def bounds(self, memory_kills: int | None = None) -> verdict.Bounds:
        return verdict.Bounds(
            timeout_seconds=self.deadline_seconds,
            case_timeout_seconds=self.definition.case_timeout_seconds,
            memory_kills=memory_kills,
        )


class _Process:
    """One process of a check: its files, its end, its result."""

    def __init__(self, check: _Check, folder: Path) -> None:
        self._check = check
        self._folder = folder
        self._result_path = folder / "result.json"
        cases_path = folder / "result.json.cases"
        self._cases = CaseFile(cases_path, on_begin=check.on_progress)

    def run(self) -> Ended:
        kills_before = read_memory_kills()
        ended = run_process(
            self._command(),
            environment=self._check.environment,
            folder=self._folder,
            should_stop=self._should_stop,
            on_start=lambda pid: self._check.note.write(pid, self._folder.parent),
        )
        kills_after = read_memory_kills()
        kills = None if kills_before is None or kills_after is None else kills_after - kills_before
        self._conclude(ended, self._check.bounds(kills))
        return ended

    def _command(self) -> list[str]:
        request = {
            "device": self._check.device,
            "parameters": dict(self._check.parameters),
            "seed": self._check.seed,
            "machine": dict(self._check.machine),
            "surroundings": dict(self._check.surroundings),
            "only_cases": list(self._check.only_cases),
            "completed_cases": {case.name: WORDS[case.status] for case in self._check.cases},
            "watch_stdin": True,
        }
        request_path = self._folder / "request.json"
        request_path.write_text(json.dumps(request), encoding="utf-8")
        interpreter = [str(self._check.target.python), "-X", "utf8", "-u", "-I", str(PROBE)]
        return [*interpreter, str(self._check.definition.path), str(request_path), str(self._result_path)]

    def _should_stop(self, elapsed: float) -> Stop | None:
        if self._check.cancelled is not None and self._check.cancelled.is_set():
            return Stop.CANCELLED
        if self._check.wall_seconds + elapsed > self._check.deadline_seconds:
            return Stop.DEADLINE
        self._cases.look()
        if self._cases.running_seconds() > self._check.definition.case_timeout_seconds:
            return Stop.CASE_DEADLINE
        return None

    def _conclude(self, ended: Ended, bounds: verdict.Bounds) -> None:
        log, bytes_cut = _log_text(ended)
        self._cases.look_to_the_end()
        try:
            written = self._read_result()
        except ValueError as error:
            reason = verdict.spoken("Its result file cannot be used: {why}.", why=str(error))
            written = result_pb2.Result(status=result_pb2.STATUS_ERROR, reason=reason)
        blamed = None
        if written is None and self._cases.running is not None:
            blamed = verdict.blamed_case(self._cases.running, ended, log=log, bounds=bounds)
            self._cases.ended.append(blamed)
        self.can_continue = blamed is not None and ended.stopped in (None, Stop.CASE_DEADLINE)
        self.result = verdict.judge(written, ended, log=log, bounds=bounds)
        self.result.process_end.CopyFrom(verdict.process_end(ended))
        self.result.log_tail = log
        self.result.log_bytes_cut = bytes_cut

    def _read_result(self) -> result_pb2.Result | None:
        try:
            size = self._result_path.stat().st_size
        except FileNotFoundError:
            return None
        if size > _MOST_RESULT_BYTES:
            raise ValueError(f"it has {size} bytes, more than {_MOST_RESULT_BYTES}")
        content = json.loads(self._result_path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it is no JSON object")  # noqa: TRY004 # the file is wrong, not our types
        return verdict.result_from_file(content)

    def take_cases(self) -> list[result_pb2.Case]:
        return self._cases.ended


def _log_text(ended: Ended) -> tuple[str, int]:
    """The log's end as text of at most 64 KiB of UTF-8, and the bytes before it."""
    encoded = ended.log_tail.decode("utf-8", errors="replace").encode("utf-8")
    kept = encoded[-LOG_TAIL_BYTES:].decode("utf-8", errors="ignore")
    return kept, ended.log_bytes_cut + max(0, len(encoded) - LOG_TAIL_BYTES)
