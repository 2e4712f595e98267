"""What a spool of a million records costs: from start until it is ready, and in memory.

A million records wait, as after a month without a collector. A process of its own opens the spool, asks it
all that an agent asks before and while it connects, spools one more record and offers a batch; then the same
spool forks, which renumbers every record. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from llmenv.fleet.v1 import record_pb2
from llmenv_agent import spool_rows
from llmenv_agent.spool import Spool
from llmenv_agent.spool_bounds import Bounds

RECORDS, QUICK_RECORDS = 1_000_000, 100_000
READY_SECONDS, MORE_MIB = 5.0, 50.0
MACHINE = "019c6120-0000-7000-8000-000000000001"
BOUNDS = Bounds(total_bytes=4 << 30)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_RECORDS:,} records")
    parser.add_argument("--open", metavar="SPOOL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        print(json.dumps(opened(Path(options.open))))
        return 0
    records = QUICK_RECORDS if options.quick else RECORDS
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder) / "small" / "spool.db", Path(folder) / "large" / "spool.db"
        fill(small, 1)
        fill(large, records)
        size = large.stat().st_size / 2**20
        beside, figures = measured(small), measured(large)
    report(records, size, beside, figures)
    return 0


def fill(path: Path, records: int) -> None:
    """Written at once: a transaction a record would take an hour."""
    spool = Spool(path, machine_id=MACHINE, bounds=BOUNDS)
    started = record_pb2.CheckStarted(run_id=MACHINE, result_id=MACHINE, check_name="torch_training")
    record = record_pb2.Record(check_started=started)
    spool.append(record)
    content, now = record.SerializeToString(), time.time()
    with spool._file.transaction() as connection:  # noqa: SLF001 # no agent needs to append a million at once
        rows = (
            (number, content, spool_rows.checksum(number, 0, content), now)
            for number in range(2, records + 1)
        )
        connection.executemany(
            "INSERT INTO record (sequence, record, checksum, spooled_at) VALUES (?, ?, ?, ?)", rows
        )
        connection.execute(
            "UPDATE spool SET last_sequence = ?, record_bytes = ?", (records, records * len(content))
        )
    spool.close()


def measured(path: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--open", str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def opened(path: Path) -> dict[str, float]:
    """Seconds of each step, and the peak of memory before and after the fork in MiB."""
    figures: dict[str, float] = {}
    began = time.perf_counter()
    spool = Spool(path, machine_id=MACHINE, bounds=BOUNDS)
    spool.unfinished(), spool.marks(), spool.ledger(), spool.is_delivered()
    figures["ready_seconds"] = time.perf_counter() - began
    began = time.perf_counter()
    spool.append(record_pb2.Record(command_outcome=record_pb2.CommandOutcome(command_id=MACHINE)))
    figures["append_seconds"] = time.perf_counter() - began
    began = time.perf_counter()
    batch = spool.offer_after(0)
    spool.acknowledge(batch[-1].sequence)
    figures["batch_seconds"] = time.perf_counter() - began
    figures["peak_mib"] = peak_mib()
    began = time.perf_counter()
    spool.fork(0)
    figures["fork_seconds"] = time.perf_counter() - began
    figures["fork_peak_mib"] = peak_mib()
    spool.close()
    return figures


def peak_mib() -> float:
    unit = 1 if sys.platform == "darwin" else 1_024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def report(records: int, size: float, beside: dict[str, float], figures: dict[str, float]) -> None:
    print(f"{records:,} records, {size:.0f} MiB on disk, beside a spool of one record")
    for name, value in figures.items():
        print(f"{name:>16} {value:9.4f} {beside[name]:9.4f}")
    more = max(figures["peak_mib"] - beside["peak_mib"], figures["fork_peak_mib"] - beside["fork_peak_mib"])
    judged = [
        ("spool_ready", figures["ready_seconds"], "s", READY_SECONDS),
        ("spool_more_memory", more, "MiB", MORE_MIB),
    ]
    lines = [
        {
            "benchmark": name,
            "figure": round(figure, 3),
            "unit": unit,
            "target": f"<= {bound:g}",
            "holds": figure <= bound,
        }
        for name, figure, unit, bound in judged
    ]
    print(json.dumps(lines))


if __name__ == "__main__":
    sys.exit(main())
