"""Asks statements one after the other, each in a process that is bounded as an analyst's is.

`python hostile_run.py < REQUESTS`: a JSON list of requests of sql_worker; it prints a list of what each ended
with.  The processes are forked from one that has loaded everything, which an analyst's has to do itself.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from llmenv_collector.sql import worker as sql_worker
from llmenv_collector.sql.arrow_frames import HEADER, Kind
from llmenv_collector.sql.process import death


def main() -> None:
    sql_worker.load()
    sys.stdout.write(json.dumps([outcome(request) for request in json.loads(sys.stdin.read())]))


def outcome(request: dict[str, Any]) -> dict[str, Any]:
    """The last frame, or the sentence that the death of the process becomes."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, sys.stdout.fileno())
        try:
            sql_worker.serve(request)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as frames:
        content = frames.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return closing(content) or {"died": str(death(status, request))}


def closing(content: bytes) -> dict[str, Any] | None:
    start = 0
    while start < len(content):
        kind, length = HEADER.unpack_from(content, start)
        start += HEADER.size + length
        if kind == Kind.END:
            return json.loads(content[start - length : start])
    return None


if __name__ == "__main__":
    main()
