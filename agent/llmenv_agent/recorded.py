"""A result as it was recorded, with its run around it: from a run's JSON, or by its id from what is kept."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import result_pb2, run_pb2
from llmenv.named_file import refuse_pipes

from llmenv_agent.errors import UsageError
from llmenv_agent.saved_runs import saved_runs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmenv.fleet.v1 import record_pb2

STDIN = "-"
SHORTEST_PREFIX = 8


@dataclass(frozen=True)
class Recorded:
    """`run` has the machine and the environment of `result`; its other results are of no account.

    `checks_folders` are those beside ours that its check may lie in, where that is known.
    """

    result: result_pb2.Result
    run: run_pb2.Run
    checks_folders: tuple[Path, ...] = ()


def is_file(source: str) -> bool:
    """Whether what was named is a file (or stdin) rather than the id of a result."""
    return source == STDIN or "/" in source or source.endswith(".json") or Path(source).exists()


def from_file(source: str, *, check: str = "", result_id: str = "") -> Recorded:
    """The result of `check`, or the one whose id begins with `result_id`, in a run's JSON file or stdin.

    Neither is needed where the run has one result. Raises UsageError.
    """
    run = _parsed(_content(source), source)
    chosen = [
        result
        for result in run.results
        if check in {"", result.check_name} and result.result_id.startswith(result_id)
    ]
    if len(chosen) == 1:
        return Recorded(chosen[0], run)
    names = ", ".join(result.check_name for result in run.results) or "none"
    if not chosen:
        raise UsageError(f"{source} has no result of {check or result_id!r}; it has: {names}.")
    raise UsageError(f"{source} has several results ({names}): name one with --check or --result.")


def by_id(prefix: str, state_dir: Path) -> Recorded:
    """The result whose id begins with `prefix`, of the last runs in the foreground or of the agent's spool.

    Raises UsageError where there is none, or several.
    """
    if len(prefix) < SHORTEST_PREFIX:
        raise UsageError(
            f"A result is a file, or {SHORTEST_PREFIX} or more characters of its id; {prefix!r} is neither."
        )
    found = {**_saved(state_dir, prefix.lower()), **_spooled(state_dir / "spool.db", prefix.lower())}
    if not found:
        raise UsageError(f"There is no file {prefix!r}, and no result with that id is kept in {state_dir}.")
    if len(found) > 1:
        raise UsageError(f"Several results begin with {prefix!r}: {', '.join(found)}.")
    return next(iter(found.values()))


def _saved(state_dir: Path, prefix: str) -> dict[str, Recorded]:
    return {
        result.result_id: Recorded(result, run, folders)
        for run, folders in saved_runs(state_dir)
        for result in run.results
        if result.result_id.startswith(prefix)
    }


def _spooled(path: Path, prefix: str) -> dict[str, Recorded]:
    if not path.exists():
        return {}
    from llmenv_agent.spool import Spool

    spool = Spool(path)
    try:
        return _found(spool.records(), prefix)
    finally:
        spool.close()


def _found(records: Iterable[record_pb2.Record], prefix: str) -> dict[str, Recorded]:
    runs: dict[str, run_pb2.Run] = {}
    found: dict[str, Recorded] = {}
    for record in records:
        match record.WhichOneof("kind"):
            case "run_started":
                runs[record.run_started.run.run_id] = record.run_started.run
            case "check_finished" if record.check_finished.result.result_id.startswith(prefix):
                finished = record.check_finished
                run = runs.get(finished.run_id, run_pb2.Run(run_id=finished.run_id))
                found[finished.result.result_id] = Recorded(finished.result, run)
            case "case_batch" if record.case_batch.result_id in found:
                found[record.case_batch.result_id].result.cases.extend(record.case_batch.cases)
    return found


def _content(source: str) -> bytes:
    if source == STDIN:
        return sys.stdin.buffer.read()
    try:
        refuse_pipes(Path(source))
        return Path(source).read_bytes()
    except OSError as error:
        raise UsageError(f"{source} cannot be read: {error.strerror}.") from error


def _parsed(content: bytes, source: str) -> run_pb2.Run:
    from google.protobuf import json_format

    try:
        run = json_format.ParseDict(json.loads(content), run_pb2.Run(), ignore_unknown_fields=True)
    except (ValueError, RecursionError, json_format.ParseError, AttributeError) as error:
        problem = str(error).partition("\n")[0][:200]
        raise UsageError(f"{source} holds no run as `llmenv-agent check` prints it: {problem}.") from error
    if not run.run_id:
        raise UsageError(f"{source} holds no run as `llmenv-agent check` prints it: it has no run_id.")
    return run
