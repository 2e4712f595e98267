"""How the agent talks: one line an event on stderr, as text for people or JSON for machines.

A line names the machine, and the record where it is about one. Tokens and keys are never given to a logger.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys

_EXTRAS = ("record_id", "run_id", "command_id", "trouble")


class JsonFormatter(logging.Formatter):
    def __init__(self, machine_id: str) -> None:
        super().__init__()
        self._machine_id = machine_id

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "machine_id": self._machine_id,
            **{name: getattr(record, name) for name in _EXTRAS if hasattr(record, name)},
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def configure_logging(log_format: str, *, machine_id: str, level: int = logging.INFO) -> None:
    handler = logging.StreamHandler(sys.stderr)
    if log_format == "json":
        handler.setFormatter(JsonFormatter(machine_id))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
