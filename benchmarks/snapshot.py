"""How long commits take while a snapshot of a large database is copied.

A database is filled inside DuckDB, a tenth of its rows is deleted, and records are then delivered one group
after the other, as agents do. Meanwhile snapshots are taken: a first one, which copies the file; one of what
was committed since, which copies the log; and one after a checkpoint, which copies what it changed. The
last line is JSON: the longest commit while a copy was made.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
from llmenv.fleet.v1 import record_pb2
from llmenv.ids import new_id
from llmenv_collector.delivery.ingest import Arrival
from llmenv_collector.snapshots.snapshot import Snapshots
from llmenv_collector.storage.store import Store

TARGET_SECONDS = 0.1
BLOB_BYTES = 32_000
STEP_ROWS = 5_000
GROUP_RECORDS = 64
WARM_UP_SECONDS = 10.0


@dataclass
class Commits:
    """Groups of records that are delivered one after the other, from a thread."""

    store: Store
    took: list[tuple[float, float]] = field(default_factory=list)
    """When each ended, monotonic, and how long it took, seconds."""
    is_over: bool = False

    def run(self) -> None:
        spool_id, machine_id, sequence = new_id(), new_id(), 0
        while not self.is_over:
            arrivals = []
            for _ in range(GROUP_RECORDS):
                sequence += 1
                record = record_pb2.Record(record_id=new_id(), machine_id=machine_id)
                record.check_started.run_id = record.check_started.result_id = new_id()
                arrivals.append(
                    Arrival(spool_id, machine_id, 1, sequence, record.SerializeToString(), received_at=1)
                )
            begin = time.monotonic()
            self.store.deliver(arrivals).result()
            end = time.monotonic()
            self.took.append((end, end - begin))
            time.sleep(0.005)

    def longest(self, since: float, until: float) -> float:
        return max((took for end, took in self.took if end > since and end - took < until), default=0.0)

    def count(self, since: float, until: float) -> int:
        return sum(since < end <= until for end, _ in self.took)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="0.2 GB of records instead of 7")
    size = 200_000_000 if parser.parse_args().quick else 7_000_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "llmenv.duckdb"
        Store(path).close()
        fill(path, size)
        print(
            f"{path.stat().st_size / 1e9:.2f} GB, of which a tenth of the rows was deleted", file=sys.stderr
        )
        store = Store(path)
        try:
            asyncio.run(measure(store, Path(folder) / "snapshots"))
        finally:
            store.close()
    return 0


def fill(path: Path, size: int) -> None:
    """With bytes that do not compress, then holes."""
    with duckdb.connect(str(path)) as connection:
        connection.execute("SET memory_limit = '4GB'")
        rows = size // BLOB_BYTES
        text = " || ".join(["md5(random()::VARCHAR)"] * 16)
        for _ in range(0, rows, STEP_ROWS):
            connection.execute(
                "INSERT INTO store.record_raw SELECT uuid(), uuid(), range, uuid(), 999,"
                f" array_to_string(list_transform(range({BLOB_BYTES // 512}), lambda x: {text}), '')::BLOB,"
                f" now() FROM range({STEP_ROWS})"
            )
        connection.execute("DELETE FROM store.record_raw WHERE hash(record_id) % 10 = 0")
        connection.execute("CHECKPOINT")


async def measure(store: Store, folder: Path) -> None:
    commits = Commits(store)
    thread = threading.Thread(target=commits.run)
    thread.start()
    begin = time.monotonic()
    await asyncio.sleep(WARM_UP_SECONDS)
    calm = commits.longest(begin, time.monotonic())
    snapshots = Snapshots(store, folder)
    lines, longest = [], 0.0
    for what in ("the file", "the log", "changed blocks"):
        if what == "changed blocks":
            await asyncio.wrap_future(store.try_again())
            await asyncio.sleep(1.0)
        begin = time.monotonic()
        async with snapshots.lease() as taken:
            end = time.monotonic()
            taken.keep_until = 0.0
        during = commits.longest(begin, end)
        longest = max(longest, during)
        lines.append((what, end - begin, commits.count(begin, end), during))
        await asyncio.sleep(1.0)
    commits.is_over = True
    thread.join()
    show(lines, calm=calm, longest=longest)


def show(lines: list[tuple[str, float, int, float]], *, calm: float, longest: float) -> None:
    print(f"longest commit without a copy, in {WARM_UP_SECONDS:.0f} s: {calm:.3f} s")
    print(f"{'copied':16} {'took':>9} {'commits':>8} {'longest':>9}")
    for what, took, count, during in lines:
        print(f"{what:16} {took:7.3f} s {count:8} {during:7.3f} s")
    figure = {
        "benchmark": "snapshot",
        "figure": round(longest, 4),
        "unit": "s",
        "target": f"<= {TARGET_SECONDS}",
        "holds": longest <= TARGET_SECONDS,
    }
    print(json.dumps(figure))


if __name__ == "__main__":
    sys.exit(main())
