"""A Prometheus that scrapes a pushgateway: a run is pushed as a group of its own, and wiped once scraped.

A pushgateway keeps the last push of a group and takes no times. So that no run is lost, a round of them is
pushed, Prometheus is waited for, and the round is wiped; when a run began is a figure of it.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import urllib.parse
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING, Any

from systems.feeding import HttpClient, feed
from systems.runs import ASKED_CHECK, ASKED_NAME
from systems.server import (
    LOOPBACK,
    NotMeasuredError,
    answers,
    free_ports,
    program,
    served,
    size_of,
)
from systems.system import Shape

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from systems.runs import Answer, Run

ROUND = 200
"""Runs that are pushed between two scrapes."""
_SCRAPE_SECONDS = 300.0
CONFIGURATION = """
scrape_configs:
  - job_name: pushgateway
    honor_labels: true
    scrape_interval: 1s
    scrape_timeout: 1s
    static_configs:
      - targets: ["{loopback}:{port}"]
"""
BEGUN, NUMBER = "llmenv_run_started_seconds", "llmenv_round"
QUESTION = f"""
quantile by (chip, torch) (0.5,
  last_over_time({ASKED_CHECK}_{ASKED_NAME}[1d])
  and on (run) (last_over_time({BEGUN}[1d]) >= {{since}}))
"""


class Prometheus:
    """As Debian packages the two."""

    name = "Prometheus"
    durability = (
        "none: the pushgateway keeps a run in memory and writes a file at intervals, and Prometheus syncs"
        " its log when a segment of 128 MiB is full (prometheus/prometheus#5869)"
    )
    shapes = (Shape.ONE_RUN,)

    def version(self) -> str:
        gateway = _version_of(program("prometheus-pushgateway", package="prometheus-pushgateway"))
        return f"Prometheus {_version_of(_prometheus())}, pushgateway {gateway}"

    @contextlib.contextmanager
    def serve(self, folder: Path) -> Iterator[RunningPrometheus]:
        push_port, port = free_ports(2)
        settings = folder / "prometheus.yml"
        settings.write_text(CONFIGURATION.format(loopback=LOOPBACK, port=push_port))
        pushing = ["--persistence.file", folder / "pushed", "--web.enable-admin-api"]
        gateway = program("prometheus-pushgateway", package="prometheus-pushgateway")
        scraping = [
            f"--config.file={settings}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            "--web.enable-admin-api",
        ]
        with (
            served(gateway, _listening(push_port), *pushing, folder=folder) as first,
            served(_prometheus(), _listening(port), *scraping, folder=folder) as second,
        ):
            first.wait_until(answers(push_port, "/-/ready"), "the pushgateway")
            second.wait_until(answers(port, "/-/ready"), "Prometheus")
            yield RunningPrometheus(push_port, port, folder / "tsdb", pids=[first.pid, second.pid])


class RunningPrometheus:
    """See `Running`."""

    def __init__(self, push_port: int, port: int, data: Path, *, pids: Sequence[int]) -> None:
        self._push_port, self._client, self._data = push_port, HttpClient(port), data
        self._clients: list[HttpClient] = []
        self._rounds: list[list[tuple[str, bytes]]] = []
        self.pids = pids

    def prepare(self, histories: Sequence[Sequence[Run]], shape: Shape) -> None:  # noqa: ARG002 # it has one
        runs = [run for each in zip_longest(*histories) for run in each if run is not None]
        rounds = [runs[start : start + ROUND] for start in range(0, len(runs), ROUND)]
        self._rounds = [
            [(pushed_to(run), exposed(run, number=number)) for run in each]
            for number, each in enumerate(rounds, 1)
        ]
        self._clients = [HttpClient(self._push_port) for _ in histories]

    def ingest(self) -> None:
        count = len(self._clients)
        for number, pushes in enumerate(self._rounds, 1):
            queues = [pushes[start::count] for start in range(count)]
            feed([pushing(client) for client in self._clients], queues)
            self._await_scrape(number, len(pushes))
            self._clients[0].request("PUT", "/api/v1/admin/wipe")

    def _await_scrape(self, number: int, count: int) -> None:
        deadline = time.monotonic() + _SCRAPE_SECONDS
        while (
            not (found := self._query(f"count({NUMBER} == {number})")) or float(found[0]["value"][1]) < count
        ):
            if time.monotonic() > deadline:
                raise NotMeasuredError(f"Prometheus did not scrape a round within {_SCRAPE_SECONDS:g} s")
            time.sleep(0.05)

    def settle(self) -> None:
        """The newest two hours lie in memory and its log: a snapshot writes the block that they will be."""
        self._client.request("POST", "/api/v1/admin/tsdb/snapshot")

    def ask(self, since: dt.datetime) -> Answer:
        found = self._query(QUESTION.format(since=since.timestamp()))
        return {(each["metric"]["chip"], each["metric"]["torch"]): float(each["value"][1]) for each in found}

    def stored_bytes(self) -> int:
        """Of the block alone."""
        return size_of(self._data / "snapshots")

    def _query(self, query: str) -> list[dict[str, Any]]:
        asked = urllib.parse.urlencode({"query": query})
        said = json.loads(self._client.request("GET", f"/api/v1/query?{asked}"))
        found: list[dict[str, Any]] = said["data"]["result"]
        return found


def pushed_to(run: Run) -> str:
    """The group: a run, with its labels."""
    labels = {"run": run.run_id, **run.labels()}
    parts = (f"{name}/{urllib.parse.quote(value, safe='')}" for name, value in labels.items())
    return f"/metrics/job/llmenv/{'/'.join(parts)}"


def exposed(run: Run, *, number: int) -> bytes:
    """In Prometheus' text format, figures of one name together."""
    lines = [f"{BEGUN} {run.started_at.timestamp()!r}", f"{NUMBER} {number}"]
    named = sorted(run.figures, key=lambda each: (each.check, each.name))
    for (check, name), figures in groupby(named, key=lambda each: (each.check, each.name)):
        lines.append(f"# TYPE {check}_{name} gauge")
        lines += [f'{check}_{name}{{case="{each.case}"}} {each.value!r}' for each in figures]
    return "\n".join([*lines, ""]).encode()


def pushing(client: HttpClient) -> Callable[[tuple[str, bytes]], object]:
    return lambda push: client.request("PUT", *push)


def _prometheus() -> Path:
    return program("prometheus", package="prometheus")


def _listening(port: int) -> str:
    return f"--web.listen-address={LOOPBACK}:{port}"


def _version_of(path: Path) -> str:
    """Prometheus and its pushgateway say it in the same words, the one on stdout and the other on stderr."""
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
    return (said.stdout or said.stderr).split()[2].partition("+")[0]
