"""How much one collector takes in: beside bare DuckDB, over its port, draining backlogs, at a steady pace.

First, in this process: records of a simulated fleet go through the collector's group writer in groups, and
the columns that it made go into another file through DuckDB alone, with a commit for each group too. Then
a collector in a process of its own takes over mutual TLS what `llmenv-agent simulate` delivers: throughput
is of what was acknowledged, and so durable, on cores that the load generator shares. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmenv_collector.delivery.group import GroupWriter
from llmenv_collector.storage import migrate
from processes.delivered_fleet import arrivals_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa
    from llmenv_collector.delivery.ingest import Arrival

BIN = Path(sys.executable).parent
GROUP_RECORDS = 8_192
MACHINES, DAYS, QUICK_DAYS = 40, 60, 12
OF_BARE, RUN_A_MESSAGE, BACKLOG, STEADY_MS = 0.5, 100_000, 200_000, 250


@dataclass(frozen=True)
class Spent:
    """For the same rows, seconds."""

    measurements: int
    ours: float
    bare: float

    @property
    def ratio(self) -> float:
        return self.bare / self.ours


class Kept(GroupWriter):
    """Remembers the tables of each group, with how they were written."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.groups: list[list[tuple[str, pa.Table]]] = []
        insert = self._tables.insert

        def kept(name: str, rows: pa.Table, **how: Any) -> None:
            self.groups[-1].append((name, rows))
            insert(name, rows, **how)

        self._tables.insert = kept  # type: ignore[method-assign]

    def write(self, arrivals: Sequence[Arrival]) -> None:
        self.groups.append([])
        self.commit(arrivals)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_DAYS} days instead of {DAYS}, and shorter play"
    )
    is_quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder:
        spent = beside_bare(Path(folder), days=QUICK_DAYS if is_quick else DAYS)
        show_spent(spent)
        plays = {}
        for name, options in played(is_quick).items():
            plays[name] = over_the_port(Path(folder) / name, options)
            show_play(name, plays[name])
    print(json.dumps(figures(spent, plays)))
    return 0


def figures(spent: Spent, plays: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    rates = {name: plays[name]["measurements_per_second"] for name in ("a run a message", "backlog")}
    late = plays["steady"]["acknowledgement_p99_ms"]
    return [
        figure("of_bare_duckdb", round(spent.ratio, 3), "ratio", f">= {OF_BARE}", spent.ratio >= OF_BARE),
        *(
            figure(
                name.replace(" ", "_"),
                round(rates[name]),
                "measurements/s",
                f">= {least}",
                rates[name] >= least,
            )
            for name, least in (("a run a message", RUN_A_MESSAGE), ("backlog", BACKLOG))
        ),
        figure("steady_p99", round(late), "ms", f"<= {STEADY_MS}", late <= STEADY_MS),
    ]


def figure(name: str, value: float, unit: str, target: str, holds: bool) -> dict[str, Any]:
    return {"benchmark": f"ingest_{name}", "figure": value, "unit": unit, "target": target, "holds": holds}


def show_spent(spent: Spent) -> None:
    print(
        f"{spent.measurements:,} measurements in groups of {GROUP_RECORDS:,} records:"
        f" ours {spent.ours:.2f} s, bare DuckDB {spent.bare:.2f} s, ratio {spent.ratio:.2f}"
    )


def show_play(name: str, said: dict[str, Any]) -> None:
    print(
        f"{name:>16}: {said['measurements_per_second']:>9,.0f} measurements/s,"
        f" {said['runs_per_second']:>7,.1f} runs/s, acknowledgement"
        f" p50 {said['acknowledgement_p50_ms']:,.0f} ms, p99 {said['acknowledgement_p99_ms']:,.0f} ms;"
        f" {said['collector_cpu']:.0%} of a core in the collector"
    )


def played(is_quick: bool) -> dict[str, list[str]]:
    """Options of simulate for each play."""
    days, machines, seconds = ("5", "200", "15s") if is_quick else ("40", "1000", "60s")
    common = ["--copied-runs", "--no-ask"]
    return {
        "a run a message": ["--machines", "100", "--days", days, "--a-run-a-message", *common],
        "backlog": ["--machines", "100", "--days", days, "--backlog", *common],
        "steady": [
            "--machines",
            machines,
            "--rate",
            "20/s",
            "--duration",
            seconds,
            "--connect-over",
            "10s",
            *common,
        ],
    }


def beside_bare(folder: Path, *, days: int, machines: int = MACHINES, group: int = GROUP_RECORDS) -> Spent:
    """What both wrote is in `folder`; the first group of each warms up and is not counted."""
    arrivals = arrivals_of(machines, days, trials=0)
    groups = [arrivals[at : at + group] for at in range(0, len(arrivals), group)]
    with closing(opened(folder / "ours.duckdb")) as connection:
        writer = Kept(connection)
        writer.write(groups[0])
        begun = time.perf_counter()
        for each in groups[1:]:
            writer.write(each)
        ours = time.perf_counter() - begun
    with closing(opened(folder / "bare.duckdb")) as connection:
        insert_bare(connection, writer.groups[:1])
        begun = time.perf_counter()
        insert_bare(connection, writer.groups[1:])
        bare = time.perf_counter() - begun
    measurements = sum(
        rows.num_rows for group in writer.groups[1:] for name, rows in group if name == "measurement"
    )
    return Spent(measurements, ours, bare)


def opened(path: Path) -> Any:
    connection = migrate.connect(path)
    migrate.migrate(connection)
    return connection


def insert_bare(connection: Any, groups: Sequence[Sequence[tuple[str, pa.Table]]]) -> None:
    for group in groups:
        connection.execute("BEGIN")
        for name, rows in group:
            connection.register("incoming", rows)
            connection.execute(f"INSERT INTO store.{name} BY NAME SELECT * FROM incoming")
            connection.unregister("incoming")
        connection.execute("COMMIT")


def over_the_port(folder: Path, options: Sequence[str]) -> dict[str, Any]:
    """What simulate measured, and the collector's share of a core meanwhile."""
    environment = {**os.environ, "LLMENV_DATA_DIR": str(folder / "collector")}
    with served(folder, environment) as collector:
        machines = options[options.index("--machines") + 1]
        create = [str(BIN / "llmenv-collector"), "token", "create", "--count", machines, "--ttl", "1h"]
        tokens = subprocess.run(create, env=environment, check=True, capture_output=True, text=True).stdout
        command = [
            str(BIN / "llmenv-agent"),
            "simulate",
            "--state-dir",
            str(folder / "agents"),
            "--tokens",
            "-",
        ]
        begun, used = time.perf_counter(), cpu_seconds(collector.pid)
        done = subprocess.run(
            [*command, *options, "--format", "json"],
            input=tokens,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
        )
        share = (cpu_seconds(collector.pid) - used) / (time.perf_counter() - begun)
    if done.returncode:
        sys.exit(f"simulate ended with {done.returncode}: {done.stderr[-500:]}")
    return {**json.loads(done.stdout), "collector_cpu": share}


@contextmanager
def served(folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    program = str(BIN / "llmenv-collector")
    subprocess.run([program, "init"], env=environment, check=True, capture_output=True)
    ports = ["--listen", "127.0.0.1:0", "--agents-listen", "127.0.0.1:0"]
    collector = subprocess.Popen([program, "serve", *ports], env=environment, stderr=subprocess.DEVNULL)
    try:
        while not (folder / "collector" / "serving.json").exists():
            time.sleep(0.05)
        yield collector
    finally:
        collector.terminate()
        collector.wait(60)


def cpu_seconds(pid: int) -> float:
    import psutil

    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


if __name__ == "__main__":
    sys.exit(main())
