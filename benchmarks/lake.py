"""How much several collectors on one lake take in, beside one collector with a file, and how that grows.

PostgreSQL on loopback, which syncs its commits, is the catalog, and a folder holds the Parquet; collectors
are processes of one authority. One simulated fleet is enrolled, its machines are shared out among the
collectors, and `llmenv-agent simulate` drains the same backlog into them over mutual TLS: throughput is of
what was acknowledged, and so durable. All share the cores of one machine, so the table says who used them.
Without PostgreSQL or `.venv-lake` a row says what is not installed. The last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from systems.postgres import USER, Psql, postmaster, version
from systems.server import LOOPBACK, NotInstalledError, NotMeasuredError, Server, Watch, served, size_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

BIN = Path(__file__).resolve().parents[1] / ".venv-lake" / "bin"
DATABASE = "lake"
MACHINES, DAYS, QUICK_MACHINES, QUICK_DAYS = 100, 40, 8, 2
DAY_SECONDS, WIDTH = 86_400, 9
OWN_FILES = ("serve.lock", "serving.json", "server.pem", "server-key.pem")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Who takes it in; without a lake there is one collector, with a file."""

    collectors: int
    is_lake: bool = True

    @property
    def name(self) -> str:
        kind = "lake" if self.is_lake else "file"
        return f"{kind}, {self.collectors} collector{'s' * (self.collectors > 1)}"


SHAPES = (Shape(collectors=1, is_lake=False), *(Shape(collectors=count) for count in (1, 2, 4)))


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Of one shape."""

    played: dict[str, Any]
    """What simulate measured."""
    collectors_cpu: float
    """Seconds, of all of them."""
    catalog_cpu: float
    snapshots: int | None
    """States of the lake that the play made; a file has none."""
    stored_bytes: int
    """After the collectors ended, with the catalog's."""

    @property
    def rate(self) -> float:
        return float(self.played["measurements_per_second"])

    @property
    def seconds(self) -> float:
        return float(self.played["seconds"])

    @property
    def late_ms(self) -> float:
        return float(self.played["round_trip_p99_ms"])

    def processors(self) -> tuple[float, float, float]:
        """Seconds of the collectors, of PostgreSQL, and of what makes the load."""
        return self.collectors_cpu, self.catalog_cpu, float(self.played["cpu_seconds"])


@dataclass(frozen=True)
class Catalog:
    """PostgreSQL, where there is a lake."""

    server: Server
    psql: Psql
    port: int

    def snapshots(self) -> int:
        ((count,),) = self.psql.ask("SELECT max(snapshot_id) FROM ducklake_snapshot")
        return int(count)

    def stored_bytes(self) -> int:
        ((size,),) = self.psql.ask(f"SELECT pg_database_size('{DATABASE}')")
        return int(size)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_MACHINES} machines, {QUICK_DAYS} days")
    parser.add_argument("--machines", type=int, default=MACHINES)
    parser.add_argument("--days", type=int, default=DAYS)
    options = parser.parse_args()
    if options.quick:
        options.machines, options.days = QUICK_MACHINES, QUICK_DAYS
    print(f"{options.machines} machines with {options.days} days each, on {os.cpu_count()} cores")
    rows: dict[Shape, Measured] = {}
    show_heads()
    for shape in SHAPES:
        try:
            rows[shape] = measured(shape, machines=options.machines, days=options.days)
        except NotMeasuredError as error:
            print(f"{shape.name:<20} {error}", flush=True)
        else:
            show(shape, rows[shape], beside=rows.get(SHAPES[0]))
    print(json.dumps([each for shape, row in rows.items() for each in figures(shape, row)]))
    return 0


def measured(shape: Shape, *, machines: int, days: int) -> Measured:
    """Raises NotMeasuredError."""
    require_programs()
    with tempfile.TemporaryDirectory(prefix="llmenv-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL's own user looks for its folder in there
        with cataloged(folder) if shape.is_lake else contextlib.nullcontext() as catalog:
            environment = lake_settings(folder, catalog) if catalog else {}
            return on_collectors(folder, shape, catalog, environment, machines=machines, days=days)


def require_programs() -> None:
    if not (BIN / "llmenv-collector").exists():
        raise NotInstalledError("not installed: .venv-lake, which make test-lake makes")


@contextlib.contextmanager
def cataloged(folder: Path) -> Iterator[Catalog]:
    version()
    with postmaster(folder) as (server, port):
        with contextlib.closing(Psql(port)) as psql:
            psql.tell(f"CREATE DATABASE {DATABASE};")
        with contextlib.closing(Psql(port, DATABASE)) as psql:
            yield Catalog(server, psql, port)


def lake_settings(folder: Path, catalog: Catalog) -> dict[str, str]:
    return {
        "LLMENV_STORE": "ducklake",
        "LLMENV_LAKE_CATALOG": f"host={LOOPBACK} port={catalog.port} user={USER} dbname={DATABASE}",
        "LLMENV_LAKE_DATA": str(folder / "parquet"),
    }


def on_collectors(
    folder: Path,
    shape: Shape,
    catalog: Catalog | None,
    environment: Mapping[str, str],
    *,
    machines: int,
    days: int,
) -> Measured:
    folders = made_folders(folder, shape.collectors)
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(collector(each, environment)) for each in folders]
        for each, server in zip(folders, servers, strict=True):
            server.wait_until((each / "serving.json").exists, f"serving.json of {each.name}")
        enrol(folder, folders, machines=machines)
        theirs = stack.enter_context(Watch([server.pid for server in servers]))
        catalogs = stack.enter_context(Watch([catalog.server.pid] if catalog else []))
        before = (theirs.cpu_seconds(), catalogs.cpu_seconds(), catalog.snapshots() if catalog else 0)
        played = simulate(folder, "--machines", str(machines), "--days", str(days), "--seed", "2")
        after = (theirs.cpu_seconds(), catalogs.cpu_seconds(), catalog.snapshots() if catalog else 0)
    kept = folders[0].glob("llmenv.duckdb*") if catalog is None else ()
    parquet = size_of(folder / "parquet") + catalog.stored_bytes() if catalog else 0
    return Measured(
        played=played,
        collectors_cpu=after[0] - before[0],
        catalog_cpu=after[1] - before[1],
        snapshots=after[2] - before[2] if catalog else None,
        stored_bytes=sum(path.stat().st_size for path in kept) + parquet,
    )


def made_folders(folder: Path, count: int) -> list[Path]:
    """Data folders of one authority."""
    folders = [folder / f"collector-{number}" for number in range(count)]
    call("llmenv-collector", "init", "--data", str(folders[0]))
    for other in folders[1:]:
        shutil.copytree(folders[0], other, ignore=shutil.ignore_patterns(*OWN_FILES))
    return folders


@contextlib.contextmanager
def collector(folder: Path, environment: Mapping[str, str]) -> Iterator[Server]:
    ports = ("--listen", f"{LOOPBACK}:0", "--agents-listen", f"{LOOPBACK}:0")
    command = (BIN / "llmenv-collector", "serve", "--data", folder, *ports)
    with served(*command, folder=folder, environment=environment, end_by=signal.SIGTERM) as server:
        yield server


def enrol(folder: Path, folders: Sequence[Path], *, machines: int) -> None:
    """At the first one, with a run each, which warms it up; then each machine is led to one of them all."""
    count = str(machines)
    tokens = call("llmenv-collector", "token", "create", "--data", str(folders[0]), "--count", count)
    simulate(folder, "--machines", count, "--days", "1", "--tokens", "-", given=tokens)
    addresses = [json.loads((each / "serving.json").read_text())["agents_address"] for each in folders]
    for number, path in enumerate(sorted((folder / "agents").glob("*/identity.json"))):
        identity = json.loads(path.read_text())
        identity["agent_addresses"] = [addresses[number % len(addresses)]]
        path.write_text(json.dumps(identity))


def simulate(folder: Path, *arguments: str, given: str = "") -> dict[str, Any]:
    common = ("--backlog", "--copied-runs", "--no-ask", "--format", "json")
    state = ("--state-dir", str(folder / "agents"))
    said: dict[str, Any] = json.loads(
        call("llmenv-agent", "simulate", *state, *arguments, *common, given=given)
    )
    return said


def call(program: str, *arguments: str, given: str = "") -> str:
    done = subprocess.run(
        [BIN / program, *arguments], input=given, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise NotMeasuredError(f"{program} {arguments[0]} ended with {done.returncode}: {said[-200:]}")
    return done.stdout


def show_heads() -> None:
    """The last three say how many cores each kept busy."""
    heads = ("stored", "beside", "ack p50", "p99", "commits", "snap-", "on disk", "collec-", "Post-", "load")
    units = ("meas./s", "a file", "ms", "ms", "/s", "shots", "B/meas.", "tors", "greSQL", "cores")
    for line in (heads, units):
        print(f"{'':<20}" + "".join(f"{word:>{WIDTH}}" for word in line))


def show(shape: Shape, row: Measured, *, beside: Measured | None) -> None:
    cells = (
        f"{row.rate:,.0f}",
        f"{row.rate / beside.rate:.2f}" if beside else "-",
        f"{row.played['round_trip_p50_ms']:,.0f}",
        f"{row.late_ms:,.0f}",
        "-" if row.snapshots is None else f"{row.snapshots / row.seconds:.2f}",
        "-" if row.snapshots is None else f"{row.snapshots:,}",
        f"{row.stored_bytes / row.played['measurements']:,.0f}",
        *(f"{used / row.seconds:.2f}" for used in row.processors()),
    )
    print(f"{shape.name:<20}" + "".join(f"{cell:>{WIDTH}}" for cell in cells), flush=True)
    if row.snapshots is not None:
        print(f"{'':<20} at this pace {row.snapshots / row.seconds * DAY_SECONDS:,.0f} snapshots a day")


def figures(shape: Shape, row: Measured) -> Iterator[dict[str, Any]]:
    """No target: what a rate is compared with is in the table, and a backlog's messages wait in a queue."""
    name = f"{'lake' if shape.is_lake else 'lake_beside_file'}_{shape.collectors}"
    for kind, found, unit in (
        ("rate", row.rate, "measurements/s"),
        ("acknowledgement_p99", row.late_ms, "ms"),
    ):
        yield {
            "benchmark": f"{name}_{kind}",
            "figure": round(found),
            "unit": unit,
            "target": "none",
            "holds": None,
        }


if __name__ == "__main__":
    sys.exit(main())
