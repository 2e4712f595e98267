"""Reads a run from a file or stdin, in the JSON that `llmenv-agent check` prints."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from llmenv.named_file import refuse_pipes

from llmenv_cli.errors import UsageError

if TYPE_CHECKING:
    from llmenv.fleet.v1.run_pb2 import Run

STDIN = "-"


def read_run(source: str) -> Run:
    """The run in a file, or on stdin for "-". Raises UsageError when there is none."""
    if source == STDIN:
        return parse_run(sys.stdin.buffer.read(), source="stdin")
    try:
        refuse_pipes(Path(source))
        content = Path(source).read_bytes()
    except OSError as error:
        raise UsageError(f"{source} cannot be read: {error.strerror}.") from error
    return parse_run(content, source=source)


def parse_run(content: bytes, *, source: str) -> Run:
    """A run from its JSON; fields of a newer agent are passed over.

    Raises UsageError when it is not JSON, or JSON of something else.
    """
    from google.protobuf import json_format
    from llmenv.fleet.v1.run_pb2 import Run

    if not content.strip():
        raise UsageError(
            f"There is nothing in {source}: a run as `llmenv-agent check --format json` prints it is needed."
        )
    if not isinstance(parsed := _json(content, source=source), dict):
        raise UsageError(f"{_capital(source)} is JSON, but not of a run: it is no object.")
    try:
        run = json_format.ParseDict(parsed, Run(), ignore_unknown_fields=True)
    except json_format.ParseError as error:
        raise UsageError(f"{_capital(source)} is JSON, but not of a run: {_first_line(error)}") from error
    if not run.run_id or not (run.planned_checks or run.results):
        raise UsageError(f"{_capital(source)} is JSON, but not of a run: it has no run_id with checks.")
    return run


def _json(content: bytes, *, source: str) -> object:
    try:
        parsed: object = json.loads(content)
    except UnicodeDecodeError as error:
        raise UsageError(f"{_capital(source)} holds no run: it is no text.") from error
    except RecursionError as error:
        raise UsageError(f"{_capital(source)} holds no run: its JSON is nested too deeply.") from error
    except ValueError as error:
        raise UsageError(
            f"{_capital(source)} holds no run: it is not JSON ({_first_line(error)[:-1]})."
        ) from error
    return parsed


def looks_like_a_file(text: str) -> bool:
    """Whether the argument of `run show` means a file rather than the id of a run."""
    return text == STDIN or Path(text).exists() or "/" in text or text.endswith(".json")


def _first_line(error: Exception) -> str:
    line = str(error).partition("\n")[0].rstrip(".")
    return f"{line[:200]}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:] if text.startswith("the ") else text
