"""How the programs log: one line an event, as text for people or JSON for machines.

A line names what it is about under the same names in every program: the machine, the run, the record. `bind`
says so for what a task logs from there on, `extra` of a call for one line. Tokens and keys are never given to
a logger.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeAlias

from llmenv.harmless import harmless_line

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FORMATS = ("text", "json")
# In the order in which a line has them.
FIELDS = ("machine_id", "run_id", "record_id", "command_id", "trouble")
FILE_BYTES = 5_000_000
OLDER_FILES = 3

Fields: TypeAlias = "Mapping[str, str]"
_BOUND: ContextVar[Fields] = ContextVar("_BOUND", default={})  # noqa: B039 # never changed in place


def bind(**fields: str) -> None:
    """Put these on every line that this task and what it starts log from here on; "" takes one away."""
    _BOUND.set({**_BOUND.get(), **fields})


def configure_logging(
    form: str,
    *,
    fields: Fields | None = None,
    file: Path | None = None,
    level: int = logging.INFO,
) -> None:
    """Log on stderr, or into `file`, which never takes more than (OLDER_FILES + 1) * FILE_BYTES.

    `fields` stand on every line. Raises OSError where the file cannot be used.
    """
    handler = _rotating(file) if file else logging.StreamHandler(sys.stderr)
    handler.setFormatter((JsonFormatter if form == "json" else TextFormatter)(fields or {}))
    logging.raiseExceptions = False  # a disk that is full for the log must not fill stderr with tracebacks
    logging.basicConfig(level=level, handlers=[handler], force=True)


class _LineFormatter(logging.Formatter):
    def __init__(self, fields: Fields) -> None:
        super().__init__()
        self._fields = fields

    def fields_of(self, record: logging.LogRecord) -> dict[str, str]:
        known = {**self._fields, **_BOUND.get(), **vars(record)}
        return {name: str(known[name]) for name in FIELDS if known.get(name)}


class JsonFormatter(_LineFormatter):
    """Keys: time, level, logger, message, those of FIELDS that there are, exception."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self.fields_of(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class TextFormatter(_LineFormatter):
    """Time, level and message, then name=value."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in self.fields_of(record).items())
        message = harmless_line(record.getMessage())  # it may quote what a check or a machine wrote
        line = f"{_time(record)} {record.levelname:7} {message}{' ' if fields else ''}{harmless_line(fields)}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _time(record: logging.LogRecord) -> str:
    return dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")


def _rotating(file: Path) -> logging.Handler:
    from logging.handlers import RotatingFileHandler

    file.parent.mkdir(parents=True, exist_ok=True)
    return RotatingFileHandler(file, maxBytes=FILE_BYTES, backupCount=OLDER_FILES, encoding="utf-8")
