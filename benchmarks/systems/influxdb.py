"""InfluxDB 1: a point a case with its figures as fields, labels as tags, over HTTP in line protocol."""

from __future__ import annotations

import contextlib
import json
import subprocess
import urllib.parse
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from systems.feeding import HttpClient, feed
from systems.runs import ASKED_CHECK, ASKED_NAME
from systems.server import LOOPBACK, Server, answers, free_ports, program, served, size_of
from systems.system import Shape, batches

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from systems.runs import Answer, Run

DATABASE = "llmenv"
CONFIGURATION = """
reporting-disabled = true
bind-address = "{loopback}:{backup}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
  wal-fsync-delay = "0s"
  cache-snapshot-write-cold-duration = "2s"
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = "{loopback}:{port}"
  log-enabled = false
"""
QUESTION = (
    f'SELECT median("{ASKED_NAME}") FROM "{ASKED_CHECK}" WHERE time >= {{since}}ms GROUP BY "chip", "torch"'
)
_ESCAPED = str.maketrans({" ": "\\ ", ",": "\\,", "=": "\\="})


class InfluxDb:
    """As Debian packages it."""

    name = "InfluxDB"
    durability = "fsync of its log at each write (wal-fsync-delay 0s, its default)"
    shapes = (Shape.ONE_RUN, Shape.BULK)

    def version(self) -> str:
        said = subprocess.run([_influxd(), "version"], capture_output=True, text=True, check=True)
        return f"InfluxDB {said.stdout.split()[1].removeprefix('v')}"

    @contextlib.contextmanager
    def serve(self, folder: Path) -> Iterator[RunningInfluxDb]:
        port, backup = free_ports(2)
        settings = folder / "influxdb.conf"
        settings.write_text(CONFIGURATION.format(loopback=LOOPBACK, port=port, backup=backup, folder=folder))
        with served(_influxd(), "run", "-config", settings, folder=folder) as server:
            server.wait_until(answers(port, "/ping"), "InfluxDB")
            client = HttpClient(port)
            client.request("POST", f"/query?{urllib.parse.urlencode({'q': f'CREATE DATABASE {DATABASE}'})}")
            yield RunningInfluxDb(server, port, folder)


class RunningInfluxDb:
    """See `Running`."""

    def __init__(self, server: Server, port: int, folder: Path) -> None:
        self._server, self._port, self._folder = server, port, folder
        self._clients: list[HttpClient] = []
        self._queues: list[list[bytes]] = []
        self.pids = [server.pid]

    def prepare(self, histories: Sequence[Sequence[Run]], shape: Shape) -> None:
        self._queues = [
            [
                "\n".join(line for run in batch for line in lines(run)).encode()
                for batch in batches(each, shape)
            ]
            for each in histories
        ]
        self._clients = [HttpClient(self._port) for _ in histories]

    def ingest(self) -> None:
        path = f"/write?db={DATABASE}&precision=ms"
        feed([partial(client.request, "POST", path) for client in self._clients], self._queues)

    def settle(self) -> None:
        """What lies in the log alone is written to the files that are read from."""
        self._server.wait_until(lambda: not size_of(self._folder / "wal"), "InfluxDB's own files")

    def ask(self, since: dt.datetime) -> Answer:
        question = QUESTION.format(since=round(since.timestamp() * 1000))
        asked = urllib.parse.urlencode({"db": DATABASE, "q": question})
        (result,) = json.loads(HttpClient(self._port).request("GET", f"/query?{asked}"))["results"]
        return {
            (each["tags"]["chip"], each["tags"]["torch"]): each["values"][0][1]
            for each in result.get("series", [])
        }

    def stored_bytes(self) -> int:
        return size_of(self._folder / "data") + size_of(self._folder / "wal")


def lines(run: Run) -> Iterator[str]:
    """A line a case: a machine and a time are a run, so that its id is not needed."""
    labels = ",".join(f"{name}={value.translate(_ESCAPED)}" for name, value in run.labels().items())
    for (check, case), figures in groupby(run.figures, key=lambda each: (each.check, each.case)):
        of_case = f",case={case.translate(_ESCAPED)}" if case else ""
        fields = ",".join(f"{each.name}={each.value!r}" for each in figures)
        yield f"{check}{of_case},{labels} {fields} {run.started_ms}"


def _influxd() -> Path:
    return program("influxd", package="influxdb")
