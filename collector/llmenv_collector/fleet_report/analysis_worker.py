"""The process in which statistics run: `python -m ... FD MEMORY_BYTES`, asked over the socket FD.

A request is (function, arguments, keyword arguments), an answer what the function returns or a Failure.
Neither gRPC nor DuckDB is imported here.  The process ends when the socket closes.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import traceback
from multiprocessing.connection import Connection
from typing import Any

from llmenv_collector.errors import CollectorError
from llmenv_collector.fleet_report.analysis import MEMORY_EXIT, Failure
from llmenv_collector.sql import process_memory


def main() -> int:
    connection, memory_bytes = Connection(int(sys.argv[1])), int(sys.argv[2])
    limit(memory_bytes)
    import_what_answers_need()
    while True:
        try:
            request = connection.recv()
        except (EOFError, OSError):
            return 0
        except Exception as error:  # noqa: BLE001 (a request that cannot be unpickled raises anything)
            connection.send(failure_of(error))
            continue
        answer(connection, request)


def limit(memory_bytes: int) -> None:
    # A terminal's interrupt is for the collector, which then closes the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(5)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    process_memory.end_above(memory_bytes, exit_code=MEMORY_EXIT)


def import_what_answers_need() -> None:
    import numpy as np  # noqa: F401 (the first answer does not wait for it)

    from llmenv_collector.statistics import bootstrap, outliers, permutation  # noqa: F401


def answer(connection: Connection, request: tuple[Any, ...]) -> None:
    function, args, kwargs = request
    try:
        connection.send(function(*args, **kwargs))
    except CollectorError as error:
        connection.send(error)
    except Exception as error:  # noqa: BLE001 (whatever it is, the asker is told and the process stays)
        connection.send(failure_of(error))


def failure_of(error: Exception) -> Failure:
    return Failure(
        sentence=f"{type(error).__name__}: {error}"[:500],
        traceback=traceback.format_exc(limit=-20),
        is_out_of_memory=isinstance(error, MemoryError),
    )


if __name__ == "__main__":
    sys.exit(main())
