"""How long the fleet report takes over a year of a fleet, and what memory.

Databases of 10, 100 and 1,000 machines are made inside DuckDB from a small simulated fleet that was really
delivered: at 1,000 machines a year of runs with about fifty million measurements. Each is opened by a process
of its own, which asks for the default report (everything, of the last 30 days) as the collector does: first
with nothing of the file in memory, then again with everything to be worked out anew, then from what is kept.
Measured are wall time, CPU time of the process that reads, since another program may have the cores, and the
peak memory of all three processes together. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv_collector.fleet_report import report
from llmenv_collector.fleet_report.analysis import PROCESSES, Analysis
from llmenv_collector.fleet_report.answers import Answers
from llmenv_collector.fleet_report.question import period_of, question_of
from llmenv_collector.storage.store import Store
from processes import big_fleet

SIZES, QUICK_SIZES = (10, 100, 1_000), (10, 20)
COLD_SECONDS, AFTER_SECONDS, MEMORY_BYTES = 3.0, 1.0, 1.5e9
CORES = 2
RSS_UNIT = 1 if sys.platform == "darwin" else 1_024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SIZES[-1]} machines at most")
    parser.add_argument("--folder", type=Path, help="keep the databases here, and use those that are there")
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        print(json.dumps(asked(options.open)))
        return 0
    sizes = QUICK_SIZES if options.quick else SIZES
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(exist_ok=True, parents=True)
        rows = [measured(database(folder, machines), machines) for machines in sizes]
    show(rows)
    return 0


def database(folder: Path, machines: int) -> Path:
    path, small = folder / f"fleet-{machines}.duckdb", folder / "small.duckdb"
    if not small.exists():
        big_fleet.deliver_small_fleet(small)
    if not path.exists():
        print(f"making {path} ...", file=sys.stderr, flush=True)
        made = path.with_suffix(".part")
        made.unlink(missing_ok=True)
        big_fleet.make(made, machines=machines, small=small)
        made.rename(path)
    return path


def measured(path: Path, machines: int) -> dict[str, float]:
    drop_from_memory(path)
    done = subprocess.run(
        [sys.executable, __file__, "--open", str(path)], check=True, stdout=subprocess.PIPE, text=True
    )
    return {"machines": machines, "file_bytes": path.stat().st_size, **json.loads(done.stdout)}


def drop_from_memory(path: Path) -> None:
    """As after a restart of the machine; where there is no such call, the first report is a warm one."""
    if hasattr(os, "posix_fadvise"):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def asked(path: Path) -> dict[str, float]:
    """In a process of its own: opens the database and asks three times."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    store, analysis, answers = Store(path), Analysis(), Answers()
    found: dict[str, float] = {}
    for name in ("cold", "anew"):
        found |= {f"{name}_{key}": value for key, value in timed(store, analysis).items()}
    request = messages.GetFleetReportRequest()
    for _ in range(2):
        began = time.perf_counter()
        answers.get(b"", lambda: store.commits, lambda: made(store, analysis, request))
        found["kept_wall"] = time.perf_counter() - began
    with store.reader() as connection:
        ((found["measurements"],),) = connection.execute("SELECT count(*) FROM store.measurement").fetchall()
        ((found["results"],),) = connection.execute("SELECT count(*) FROM store.result").fetchall()
    analysis.close()
    store.close()
    own, largest = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    # Of its children the system tells the largest alone.
    found["peak_bytes"] = (own.ru_maxrss + PROCESSES * largest.ru_maxrss) * RSS_UNIT
    return found


def timed(store: Store, analysis: Analysis) -> dict[str, float]:
    before, began = cpu(), time.perf_counter()
    response = made(store, analysis, messages.GetFleetReportRequest())
    wall = time.perf_counter() - began
    return {"wall": wall, "cpu": cpu() - before, "answer_bytes": response.ByteSize()}


def made(
    store: Store, analysis: Analysis, request: messages.GetFleetReportRequest
) -> messages.GetFleetReportResponse:
    period = period_of(request, machines=None)
    analysis.start()
    with store.reader() as connection:
        return report.fleet_report(connection, period, question_of(request), analysis)


def cpu() -> float:
    """Of this process; the statistics' own is not known before it ends."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def show(rows: list[dict[str, float]]) -> None:
    print(
        f"{'machines':>8} {'measurements':>13} {'file':>8} | {'cold':>8} {'CPU':>7} | {'anew':>8} {'CPU':>7}",
        end="",
    )
    print(f" | {'kept':>8} | {'memory':>8} {'answer':>8}")
    for row in rows:
        print(
            f"{row['machines']:>8,.0f} {row['measurements']:>13,.0f} {row['file_bytes'] / 1e9:>5.2f} GB"
            f" | {row['cold_wall']:>6.2f} s {row['cold_cpu']:>5.2f} s | {row['anew_wall']:>6.2f} s"
            f" {row['anew_cpu']:>5.2f} s | {row['kept_wall'] * 1e3:>5.2f} ms"
            f" | {row['peak_bytes'] / 1e6:>5.0f} MB {row['anew_answer_bytes'] / 1e6:>5.2f} MB"
        )
    load = os.getloadavg()[0]
    print(f"{CORES} cores of {os.cpu_count()}; load of the machine now: {load:.1f} processes")
    last = rows[-1]
    figures = [
        ("report cold", last["cold_wall"], "s", COLD_SECONDS),
        ("report after the first", last["kept_wall"], "s", AFTER_SECONDS),
        ("report anew", last["anew_wall"], "s", AFTER_SECONDS),
        ("report memory", last["peak_bytes"] / 1e9, "GB", MEMORY_BYTES / 1e9),
    ]
    print(
        json.dumps(
            [
                {
                    "benchmark": name,
                    "figure": round(figure, 3),
                    "unit": unit,
                    "target": f"<= {target:g}",
                    "holds": figure <= target,
                }
                for name, figure, unit, target in figures
            ]
        )
    )


if __name__ == "__main__":
    sys.exit(main())
