"""llmenv beside what else could keep such runs: each gets the same runs, and is asked the same question.

MLflow's tracking server on SQLite and on PostgreSQL, InfluxDB 1, Prometheus with its pushgateway, and plain
PostgreSQL by COPY, each served on loopback in a folder of its own, one after the other. The runs are those of
a simulated fleet. Peers are given the figures of a run with its labels; llmenv is given all that an agent
sends of it: reasons, conditions, facts, log tails, and in the first row raw trials. A client a machine sends
its runs in order, the next message once the server has said that the last one is kept. The question is the
median decode rate by chip and version of torch in the last 90 days; who answers it otherwise than Python's
own statistics module has no figures. The last line is JSON.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import math
import os
import platform
import statistics
import sys
import tempfile
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmenv_agent.simulation.fleet import Fleet
from systems.collector import Collector
from systems.influxdb import InfluxDb
from systems.mlflow_server import MlflowOnPostgres, MlflowOnSqlite
from systems.postgres import Postgres
from systems.prometheus import Prometheus
from systems.runs import Answer, Run, expected_answer, histories
from systems.server import NotMeasuredError, Watch
from systems.system import Running, Shape, System
from systems.table import Row, table

if TYPE_CHECKING:
    from collections.abc import Sequence

WINDOW = dt.timedelta(days=90)
ASKED_TIMES = 5
"""After one that warms up."""
TARGET = 1.0
"""llmenv over the best peer: a rate, and a peer's time over llmenv's."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What every system is given and asked."""

    histories: list[list[Run]]
    since: dt.datetime
    expected: Answer

    @property
    def runs(self) -> int:
        return sum(len(each) for each in self.histories)

    @property
    def measurements(self) -> int:
        return sum(len(run.figures) for each in self.histories for run in each)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="8 machines, 100 days, a run in 8 days")
    parser.add_argument("--machines", type=int, default=40)
    parser.add_argument("--days", type=int, default=180)
    parser.add_argument("--runs-per-day", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="llmenv, and systems whose name begins so"
    )
    options = parser.parse_args()
    if options.quick:
        options.machines, options.days, options.runs_per_day = 8, 100, 0.125
    begins_at = dt.datetime.now(dt.UTC).replace(microsecond=0) - dt.timedelta(days=options.days)
    fleet = Fleet(
        seed=options.seed,
        machines=options.machines,
        days=options.days,
        runs_per_day=options.runs_per_day,
        begins_at=begins_at,
    )
    work = made(fleet)
    rows = [measured(system, work) for system in systems(fleet) if is_wanted(system, options.only)]
    show(rows, work)
    print(json.dumps(figures(rows)))
    return 0


def systems(fleet: Fleet) -> list[System]:
    return [
        Collector(fleet.machines),
        Collector(fleet.machines, with_trials=False),
        MlflowOnSqlite(),
        MlflowOnPostgres(),
        InfluxDb(),
        Prometheus(),
        Postgres(is_indexed=False),
        Postgres(is_indexed=True),
    ]


def is_wanted(system: System, names: Sequence[str] | None) -> bool:
    wanted = [Collector.name, *(names or [""])]
    return any(system.name.lower().startswith(each.lower()) for each in wanted)


def made(fleet: Fleet) -> Work:
    each = histories(fleet)
    since = fleet.begins_at + dt.timedelta(days=fleet.days) - WINDOW
    runs = [run for history in each for run in history]
    return Work(histories=each, since=since, expected=expected_answer(runs, since=since))


def measured(system: System, work: Work) -> Row:
    """The first shape is asked the question; why there are no more figures, where there are not."""
    row = Row(system=system)
    try:
        row.version = system.version()
        for shape in system.shapes:
            print(f"{system.name}: {shape.value} ...", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(prefix="llmenv-") as name:
                Path(name).chmod(0o755)  # PostgreSQL's own user looks for its folder in there
                with system.serve(Path(name)) as running, Watch(running.pids) as watch:
                    fed(running, watch, work, shape, row)
                row.peak_bytes = max(row.peak_bytes or 0.0, watch.peak_bytes)
    except NotMeasuredError as error:
        row.reason = str(error)
        print(f"{system.name}: {error}", file=sys.stderr)
    return row


def fed(running: Running, watch: Watch, work: Work, shape: Shape, row: Row) -> None:
    running.prepare(work.histories, shape)
    cpu, began = watch.cpu_seconds(), time.perf_counter()
    running.ingest()
    row.rates[shape] = work.measurements / (time.perf_counter() - began)
    cpu = watch.cpu_seconds() - cpu
    running.settle()
    if shape is Shape.ONE_RUN:
        row.cpu_microseconds = 1e6 * cpu / work.measurements
        row.answer_seconds = asked(running, work)
        row.bytes_each = running.stored_bytes() / work.measurements
    else:
        require_agreement(running.ask(work.since), work.expected)


def asked(running: Running, work: Work) -> float:
    """The median of several."""
    seconds: list[float] = []
    for _ in range(1 + ASKED_TIMES):
        began = time.perf_counter()
        answer = running.ask(work.since)
        seconds.append(time.perf_counter() - began)
        require_agreement(answer, work.expected)
    return statistics.median(seconds[1:])


def require_agreement(answer: Answer, expected: Answer) -> None:
    """What was kept is what was sent. Raises NotMeasuredError."""
    if answer.keys() != expected.keys():
        lacking, more = expected.keys() - answer.keys(), answer.keys() - expected.keys()
        raise NotMeasuredError(f"it answers otherwise than Python: it lacks {lacking}, and has {more}")
    for key, value in expected.items():
        if not math.isclose(answer[key], value, rel_tol=1e-9):
            raise NotMeasuredError(
                f"it answers otherwise than Python: {answer[key]!r} for {key}, not {value!r}"
            )


def show(rows: Sequence[Row], work: Work) -> None:
    machines = len(work.histories)
    print(f"{work.runs:,} runs, {work.measurements:,} measurements, {machines} machines with a client each")
    print(f"{processor()}, {os.cpu_count()} cores; fsync of 4 KiB takes {1e3 * sync_seconds():.2f} ms")
    print(f"load of the machine now: {os.getloadavg()[0]:.1f} processes\n")
    print("\n".join(table(rows)))
    print("\nRatios are to llmenv's. What holds when a system says that a message is kept:")
    for row in rows:
        if row.version:
            words = f"- {row.system.name} ({row.version}): {row.system.durability}"
            print(textwrap.fill(words, 110, subsequent_indent="  "))


def processor() -> str:
    """As Linux names it; elsewhere the architecture alone."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def sync_seconds() -> float:
    """What every durable message waits for: the median of 100, in the folder that the servers had."""
    seconds: list[float] = []
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(100):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fsync(file.fileno())
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def figures(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Against the best of the peers that were measured."""
    ours = rows[0]
    peers = [row for row in rows if not row.reason and not isinstance(row.system, Collector)]
    if ours.reason or not peers:
        return []
    rate = ours.rates[Shape.ONE_RUN] / max(each.rates[Shape.ONE_RUN] for each in peers)
    answer = min(each.answer_seconds or math.inf for each in peers) / (ours.answer_seconds or math.inf)
    return [
        {
            "benchmark": f"peers {name}",
            "figure": round(figure, 3),
            "unit": "ratio",
            "target": f">= {TARGET}",
            "holds": figure >= TARGET,
        }
        for name, figure in (("ingest", rate), ("question", answer))
    ]


if __name__ == "__main__":
    sys.exit(main())
