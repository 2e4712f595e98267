"""An MLflow tracking server, over its REST interface: a run is created, its figures logged, the run ended."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import statistics
import subprocess
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from systems import postgres
from systems.feeding import HttpClient, feed
from systems.runs import ASKED_CHECK, ASKED_NAME, PACKAGES
from systems.server import LOOPBACK, PEERS, NotInstalledError, Server, answers, free_ports, served
from systems.system import Shape

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from systems.runs import Answer, Run

PYTHON = PEERS / "bin" / "python"
EXPERIMENT = "0"
PAGE = 5_000
WORKERS = os.cpu_count() or 1
MOST_CLIENTS = 5 * WORKERS
"""As many connections to its database as it keeps; with many more it answers that there are none left."""
_API = "/api/2.0/mlflow"
_ENVIRONMENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


class MlflowOnSqlite:
    """As PyPI has it, with a worker a core."""

    name = "MLflow, SQLite"
    durability = "fsync at each commit, three a run (SQLite's defaults: rollback journal, synchronous FULL)"
    shapes = (Shape.ONE_RUN,)

    def version(self) -> str:
        return version()

    @contextlib.contextmanager
    def serve(self, folder: Path) -> Iterator[RunningMlflow]:
        path = folder / "mlflow.db"
        with tracking(f"sqlite:///{path}", folder) as (server, port):
            yield RunningMlflow(port, pids=[server.pid], stored_bytes=lambda: path.stat().st_size)


class MlflowOnPostgres:
    """The same with a PostgreSQL of its own."""

    name = "MLflow, PostgreSQL"
    durability = f"three commits a run, each with {postgres.Postgres.durability}"
    shapes = (Shape.ONE_RUN,)

    def version(self) -> str:
        return f"{version()}, {postgres.version()}"

    @contextlib.contextmanager
    def serve(self, folder: Path) -> Iterator[RunningMlflow]:
        with postgres.postmaster(folder) as (database, database_port):
            uri = f"postgresql+psycopg://{postgres.USER}@{LOOPBACK}:{database_port}/postgres"
            with tracking(uri, folder) as (server, port):
                psql = postgres.Psql(database_port)
                yield RunningMlflow(
                    port, pids=[server.pid, database.pid], stored_bytes=lambda: postgres.table_bytes(psql)
                )
                psql.close()


def version() -> str:
    if not (PEERS / ".ready").exists():
        raise NotInstalledError("not installed: mlflow, of PyPI, in .venv-peers")
    said = subprocess.run([PYTHON, "-m", "mlflow", "--version"], capture_output=True, text=True, check=True)
    return f"MLflow {said.stdout.split()[-1]}"


@contextlib.contextmanager
def tracking(backend: str, folder: Path) -> Iterator[tuple[Server, int]]:
    (port,) = free_ports(1)
    stores = ["--backend-store-uri", backend, "--default-artifact-root", str(folder / "artifacts")]
    network = ["--host", LOOPBACK, "--port", str(port), "--workers", str(WORKERS)]
    command = [PYTHON, "-m", "mlflow", "server", *stores, *network, "--no-serve-artifacts"]
    with served(*command, folder=folder, environment=_ENVIRONMENT) as server:
        server.wait_until(answers(port, "/health"), "MLflow")
        yield server, port


class RunningMlflow:
    """See `Running`."""

    def __init__(self, port: int, *, pids: Sequence[int], stored_bytes: Callable[[], int]) -> None:
        self._port = port
        self._clients: list[HttpClient] = []
        self._queues: Sequence[Sequence[Run]] = []
        self.pids, self.stored_bytes = pids, stored_bytes

    def prepare(self, histories: Sequence[Sequence[Run]], shape: Shape) -> None:  # noqa: ARG002 # it has one
        count = min(MOST_CLIENTS, len(histories))
        self._queues = [list(itertools.chain(*histories[start::count])) for start in range(count)]
        self._clients = [HttpClient(self._port) for _ in self._queues]

    def ingest(self) -> None:
        feed([Tracking(client).log for client in self._clients], self._queues)

    def settle(self) -> None:
        """It does nothing by itself."""

    def ask(self, since: dt.datetime) -> Answer:
        """It has no medians: the runs are read, and the median is the asker's."""
        values = defaultdict[tuple[str, str], list[float]](list)
        for run in Tracking(HttpClient(self._port)).found(since):
            figures = {each["key"]: each["value"] for each in run["data"].get("metrics", [])}
            tags, parameters = (
                {each["key"]: each["value"] for each in run["data"][kind]} for kind in ("tags", "params")
            )
            values[tags["chip"], parameters["torch"]] += [
                value for name, value in figures.items() if is_asked(name)
            ]
        return {key: statistics.median(each) for key, each in values.items() if each}


class Tracking:
    """One client of the REST interface."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    def log(self, run: Run) -> None:
        labels = run.labels()
        parameters = {name: labels.pop(name) for name in PACKAGES}
        created = self._post(
            "runs/create",
            experiment_id=EXPERIMENT,
            run_name=run.run_id,
            start_time=run.started_ms,
            tags=keyed(labels),
        )
        run_id = created["run"]["info"]["run_id"]
        figures = [
            {
                "key": key_of(each.check, each.case, each.name),
                "value": each.value,
                "timestamp": run.started_ms,
            }
            for each in run.figures
        ]
        self._post("runs/log-batch", run_id=run_id, metrics=figures, params=keyed(parameters))
        self._post("runs/update", run_id=run_id, status="FINISHED", end_time=run.started_ms)

    def found(self, since: dt.datetime) -> Iterator[dict[str, Any]]:
        condition = f"attributes.start_time >= {round(since.timestamp() * 1000)}"
        page: dict[str, Any] = {}
        while True:
            said = self._post(
                "runs/search", experiment_ids=[EXPERIMENT], filter=condition, max_results=PAGE, **page
            )
            yield from said.get("runs", [])
            if not said.get("next_page_token"):
                return
            page = {"page_token": said["next_page_token"]}

    def _post(self, path: str, **body: Any) -> dict[str, Any]:
        content = json.dumps(body).encode()
        said = self._client.request("POST", f"{_API}/{path}", content, {"Content-Type": "application/json"})
        found: dict[str, Any] = json.loads(said)
        return found


def keyed(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def key_of(check: str, case: str, name: str) -> str:
    return "/".join(part for part in (check, case, name) if part)


def is_asked(key: str) -> bool:
    return key.startswith(f"{ASKED_CHECK}/") and key.endswith(f"/{ASKED_NAME}")
