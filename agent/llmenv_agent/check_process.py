"""One process of a check: what it is started with, when it is ended, and the result it leaves."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import result_pb2

from llmenv_agent import verdict
from llmenv_agent.caffeinate import kept_awake
from llmenv_agent.case_file import CaseFile
from llmenv_agent.memory_kills import read_memory_kills
from llmenv_agent.privacy import scrubbed
from llmenv_agent.process import LOG_TAIL_BYTES, Ended, Stop, run_process

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence

    from llmenv_agent.definitions import Definition
    from llmenv_agent.leftover import Note

PROBE = Path(__file__).parent / "probe" / "__main__.py"
_MOST_RESULT_BYTES = 64 * 1024 * 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """What every process of a check is started with; `parameters` are complete."""

    definition: Definition
    python: Path
    environment: Mapping[str, str]
    device: str
    parameters: Mapping[str, Any]
    seed: int
    only_cases: Sequence[str]
    machine: Mapping[str, Any]
    surroundings: Mapping[str, Any]

    @property
    def deadline_seconds(self) -> float:
        return self.definition.deadline_seconds(self.parameters)

    def bounds(self, memory_kills: int | None) -> verdict.Bounds:
        return verdict.Bounds(
            timeout_seconds=self.deadline_seconds,
            case_timeout_seconds=self.definition.case_timeout_seconds,
            memory_kills=memory_kills,
        )

    def request(self, completed_cases: Mapping[str, str]) -> dict[str, Any]:
        """What the probe reads; `completed_cases` are those of earlier processes, with their words."""
        return {
            "device": self.device,
            "parameters": dict(self.parameters),
            "seed": self.seed,
            "machine": dict(self.machine),
            "surroundings": dict(self.surroundings),
            "only_cases": list(self.only_cases),
            "completed_cases": dict(completed_cases),
            "watch_stdin": True,
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Watch:
    """Who is told of a check's processes, and what may end them."""

    note: Note
    on_progress: Callable[[str], None]
    cancelled: threading.Event | None


class CheckProcess:
    """Runs once. Afterwards `result` has its verdict, `cases` its rows, and `can_continue` says whether
    a case alone ended it.
    """

    def __init__(self, asked: Asked, folder: Path, watch: Watch, *, spent_seconds: float) -> None:
        self._asked = asked
        self._folder = folder
        self._watch = watch
        self._spent_seconds = spent_seconds
        self._result_path = folder / "result.json"
        cases_path = folder / "result.json.cases"
        self._cases = CaseFile(cases_path, on_begin=watch.on_progress)

    @property
    def cases(self) -> list[result_pb2.Case]:
        return self._cases.ended

    def run(self, completed_cases: Mapping[str, str]) -> Ended:
        """Raises OSError where the interpreter cannot be started."""
        request_path = self._folder / "request.json"
        request_path.write_text(json.dumps(self._asked.request(completed_cases)), encoding="utf-8")
        kills_before = read_memory_kills()
        with contextlib.ExitStack() as while_it_runs:

            def on_start(pid: int) -> None:
                self._watch.note.write(pid, self._folder.parent)
                while_it_runs.enter_context(kept_awake(pid))

            ended = run_process(
                self._command(request_path),
                environment=self._asked.environment,
                folder=self._folder,
                should_stop=self._should_stop,
                on_start=on_start,
            )
        kills_after = read_memory_kills()
        kills = None if kills_before is None or kills_after is None else kills_after - kills_before
        self._conclude(ended, self._asked.bounds(kills))
        return ended

    def _command(self, request_path: Path) -> list[str]:
        interpreter = [str(self._asked.python), "-X", "utf8", "-u", "-I", str(PROBE)]
        return [*interpreter, str(self._asked.definition.path), str(request_path), str(self._result_path)]

    def _should_stop(self, elapsed: float) -> Stop | None:
        if self._watch.cancelled is not None and self._watch.cancelled.is_set():
            return Stop.CANCELLED
        if self._spent_seconds + elapsed > self._asked.deadline_seconds:
            return Stop.DEADLINE
        self._cases.look()
        if self._cases.running_seconds() > self._asked.definition.case_timeout_seconds:
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
        verdict.doubt_rows(self.result, unreadable=self._cases.unreadable)
        self.result.process_end.CopyFrom(verdict.process_end(ended))
        self.result.log_tail = log
        if self.result.HasField("error"):
            self.result.error.message = scrubbed(self.result.error.message)
            self.result.error.traceback = scrubbed(self.result.error.traceback)
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


def _log_text(ended: Ended) -> tuple[str, int]:
    """The log's end as text of at most 64 KiB of UTF-8, without people, and the bytes before it."""
    encoded = scrubbed(ended.log_tail.decode("utf-8", errors="replace")).encode("utf-8")
    kept = encoded[-LOG_TAIL_BYTES:].decode("utf-8", errors="ignore")
    return kept, ended.log_bytes_cut + max(0, len(encoded) - LOG_TAIL_BYTES)
