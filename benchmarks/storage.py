"""What a measurement takes on disk, and what it costs to remove old trials while records come in.

Two databases are filled by the same simulated fleet through the collector's ingest: with ten raw trials a
measurement, and with none. After a checkpoint the bytes of each table and column are read from DuckDB, beside
Parquet (zstd) of the same table. Then a year of trials is removed down to 90 days and the database compacted,
while records are delivered one group after the other; their commits are shown beside those before it. One may
meet a checkpoint, and at the end of a compaction the exchange of files. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
from llmenv_collector.compaction.upkeep import Compaction
from llmenv_collector.retention.policies import policies_of
from llmenv_collector.retention.upkeep import Retention
from llmenv_collector.settings import Settings
from llmenv_collector.storage.store import Store
from processes import delivered_fleet
from snapshot import Commits

if TYPE_CHECKING:
    from collections.abc import Awaitable

MACHINES, DAYS = 40, 365
QUICK_MACHINES, QUICK_DAYS = 8, 120
TRIALS = 10
PLAIN_BYTES, TEN_BYTES, COMMIT_SECONDS = 20.0, 100.0, 1.0
CALM_SECONDS = 5.0
BLOCK_BYTES = 262_144
SHOWN = 8
SEGMENTS = """
SELECT column_name, block_id, block_offset, len(additional_block_ids)
FROM pragma_storage_info('store.{table}') WHERE persistent AND block_id >= 0
"""


@dataclass(frozen=True)
class Taken:
    """Bytes on disk of one database."""

    name: str
    measurements: int
    file: int
    parquet: int
    """Of the measurements alone."""
    columns: dict[tuple[str, str], int]
    """By table and column."""

    def of_table(self, table: str) -> int:
        return sum(size for (name, _), size in self.columns.items() if name == table)

    @property
    def each(self) -> float:
        """A measurement, in its own table."""
        return self.of_table("measurement") / self.measurements


@dataclass(frozen=True)
class Wait:
    """Commits beside some work; seconds and bytes."""

    work: str
    took: float
    commits: int
    median: float
    p99: float
    longest: float
    sizes: tuple[int, int]
    outcome: object


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_MACHINES} machines and {QUICK_DAYS} days"
    )
    is_quick = parser.parse_args().quick
    machines, days = (QUICK_MACHINES, QUICK_DAYS) if is_quick else (MACHINES, DAYS)
    with tempfile.TemporaryDirectory() as folder:
        plain, ten = (
            filled(Path(folder) / f"{trials}.duckdb", machines=machines, days=days, trials=trials)
            for trials in (0, TRIALS)
        )
        taken = [
            measured("no trials", plain),
            measured(f"{TRIALS} trials", ten),
        ]
        waits = asyncio.run(removed_and_compacted(ten))
        taken.append(measured(f"{TRIALS}, 90 days", ten))
    show(taken)
    show_waits(waits)
    print(json.dumps(figures(taken, waits)))
    return 0


def filled(path: Path, *, machines: int, days: int, trials: int) -> Path:
    print(f"{machines} machines deliver {days} days with {trials} trials ...", file=sys.stderr, flush=True)
    delivered_fleet.deliver(path, machines=machines, days=days, trials=trials)
    return path


def measured(name: str, path: Path) -> Taken:
    """Of a database that nobody has open."""
    with closing(duckdb.connect(str(path), read_only=True)) as connection:
        tables = connection.sql(
            "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'store'"
        ).fetchall()
        ((count,),) = connection.sql("SELECT count(*) FROM store.measurement").fetchall()
        parquet = path.with_suffix(".parquet")
        connection.execute(f"COPY store.measurement TO '{parquet}' (FORMAT parquet, COMPRESSION zstd)")
        columns = column_bytes(connection, [table for (table,) in tables])
    return Taken(name, count, path.stat().st_size, parquet.stat().st_size, columns)


def column_bytes(connection: duckdb.DuckDBPyConnection, tables: list[str]) -> dict[tuple[str, str], int]:
    """A segment ends where the next one of its block begins, or with the block."""
    blocks: dict[int, dict[int, tuple[str, str]]] = defaultdict(dict)
    sizes: dict[tuple[str, str], int] = defaultdict(int)
    for table in tables:
        for column, block, offset, more in connection.execute(SEGMENTS.format(table=table)).fetchall():
            blocks[block][offset] = (table, column)
            sizes[table, column] += (more or 0) * BLOCK_BYTES
    for segments in blocks.values():
        offsets = sorted(segments)
        for offset, end in zip(offsets, [*offsets[1:], BLOCK_BYTES], strict=True):
            sizes[segments[offset]] += end - offset
    return sizes


async def removed_and_compacted(path: Path) -> list[Wait]:
    """Commits before it, beside the removal, and beside the compaction."""
    store = Store(path)
    commits = Commits(store)
    thread = threading.Thread(target=commits.run)
    thread.start()
    retention = Retention(store, policies_of(Settings()))
    compaction = Compaction(store, percent=0, least_free_bytes=0)
    try:
        return [
            await beside(commits, "nothing", asyncio.sleep(CALM_SECONDS)),
            await beside(commits, "removal", retention.round()),
            await beside(commits, "compaction", compaction.round()),
        ]
    finally:
        commits.is_over = True
        thread.join()
        store.close()


async def beside(commits: Commits, work: str, done: Awaitable[object]) -> Wait:
    begin, size = time.monotonic(), commits.store.path.stat().st_size
    outcome = await done
    end = time.monotonic()
    took = sorted(took for ended, took in commits.took if begin < ended <= end)
    longest = commits.longest(begin, end)
    sizes = (size, commits.store.path.stat().st_size)
    return Wait(
        work, end - begin, len(took), quantile(took, 0.5), quantile(took, 0.99), longest, sizes, outcome
    )


def quantile(values: list[float], share: float) -> float:
    return values[int(share * (len(values) - 1))] if values else 0.0


def show(taken: list[Taken]) -> None:
    print(f"{'database':14} {'measurements':>12} {'table':>9} {'parquet':>9} {'ratio':>6} {'whole file':>11}")
    for one in taken:
        parquet = one.parquet / one.measurements
        print(
            f"{one.name:14} {one.measurements:>12,} {one.each:>7.1f} B {parquet:>7.1f} B"
            f" {one.each / parquet:>6.2f} {one.file / one.measurements:>9.1f} B"
        )
    print("all a measurement; of each database the largest columns:")
    for one in taken:
        print(f"{one.name:14} {largest(one, one.columns)}")
    tables = {(table, ""): one.of_table(table) for one in taken[:1] for table, _ in one.columns}
    print(f"tables, {taken[0].name}: {largest(taken[0], tables)}")


def largest(one: Taken, sizes: dict[tuple[str, str], int]) -> str:
    chosen = sorted(sizes, key=lambda name: -sizes[name])[:SHOWN]
    return ", ".join(
        f"{'.'.join(filter(None, name))} {sizes[name] / one.measurements:.1f}" for name in chosen
    )


def show_waits(waits: list[Wait]) -> None:
    print(
        f"{'beside':12} {'took':>8} {'commits':>8} {'median':>9} {'p99':>9} {'longest':>9} {'file':>20}"
        "  outcome"
    )
    for one in waits:
        before, after = (size / 1e6 for size in one.sizes)
        print(
            f"{one.work:12} {one.took:>6.1f} s {one.commits:>8,} {one.median:>7.4f} s {one.p99:>7.4f} s"
            f" {one.longest:>7.3f} s {before:>7.1f} to {after:>6.1f} MB  {one.outcome}"
        )


def figures(taken: list[Taken], waits: list[Wait]) -> list[dict[str, object]]:
    judged = [
        ("storage without trials", taken[0].each, "B", PLAIN_BYTES),
        (f"storage with {TRIALS} trials", taken[1].each, "B", TEN_BYTES),
        ("longest commit beside retention", waits[1].longest, "s", COMMIT_SECONDS),
        ("longest commit beside compaction", waits[2].longest, "s", COMMIT_SECONDS),
    ]
    return [
        {
            "benchmark": name,
            "figure": round(figure, 3),
            "unit": unit,
            "target": f"<= {target:g}",
            "holds": figure <= target,
        }
        for name, figure, unit, target in judged
    ]


if __name__ == "__main__":
    sys.exit(main())
