"""The arithmetic of scale.md: what was measured, and what a fleet of some size follows to.

`python docs/scale_arithmetic.py --machines 100000 --runs-a-day 2` prints the same for other inputs, and with
prices what it costs.  Limits and intervals are read from the programs, so that they cannot be others here.
What follows from a figure that nobody has measured is left out.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv_agent.reconnect import LONGEST_SECONDS as LONGEST_RECONNECT_SECONDS
from llmenv_collector.delivery.sightings import LONGEST_SECONDS as SIGHTINGS_SECONDS
from llmenv_collector.serving.open_files import MOST_WANTED, RESERVED
from llmenv_collector.serving.peer_limits import ADDRESS
from llmenv_collector.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY_SECONDS = 86_400
GB = 1e9
PORTS = 2
SIZES = (100, 1_000, 10_000, 100_000)
BALANCER_CONNECTIONS_A_SECOND = 250
"""`rate-limit sessions` of deploy/haproxy/haproxy.cfg."""
LAKE_COMMITS_A_SECOND = 2
"""Of a collector on a lake, at most (ducklake.md)."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What was measured, the command that measures it, and the page that says it."""

    value: float
    shown: str
    what: str
    command: str
    page: str


SIMULATION, STORAGE = "llmenv-agent simulate", "benchmarks/storage.py"
CONNECTIONS = "benchmarks/connections.py"
MEASURED = {
    "run_records": Figure(
        value=26,
        shown="26 records",
        what="A run of 12 checks",
        command=SIMULATION,
        page="simulation.md",
    ),
    "run_measurements": Figure(
        value=62,
        shown="62 measurements",
        what="The same",
        command=SIMULATION,
        page="simulation.md",
    ),
    "run_sent_bytes": Figure(
        value=23e3,
        shown="23 kB",
        what="The same, sent, before TLS",
        command=SIMULATION,
        page="simulation.md",
    ),
    "stored_bytes": Figure(
        value=222,
        shown="222 bytes",
        what="A measurement stored, with ten raw trials and all that explains it",
        command=STORAGE,
        page="storage.md",
    ),
    "kept_bytes": Figure(
        value=161,
        shown="161 bytes",
        what="The same on average of a year, of which trials older than 90 days were removed",
        command=STORAGE,
        page="storage.md",
    ),
    "report_seconds": Figure(
        value=2.40,
        shown="2.40 s",
        what="A month's fleet report of 1,000 machines, worked out anew",
        command="benchmarks/report.py",
        page="fleet-report.md",
    ),
    "collector_bytes": Figure(
        value=218e6,
        shown="218 MB",
        what="Memory of a collector that nobody is connected to",
        command=CONNECTIONS,
        page="connections.md",
    ),
    "stream_bytes": Figure(
        value=114e3,
        shown="114 kB",
        what="... and of each connected machine",
        command=CONNECTIONS,
        page="connections.md",
    ),
    "heartbeats_share": Figure(
        value=0.149 / 10_000,
        shown="14.9 % of a core",
        what="Heartbeats of 10,000 machines every 30 s",
        command=CONNECTIONS,
        page="connections.md",
    ),
    "return_seconds": Figure(
        value=7.2e-3,
        shown="7.2 ms",
        what="Processor time of a collector for a machine that comes back with a record",
        command=CONNECTIONS,
        page="connections.md",
    ),
    "lone_record_seconds": Figure(
        value=20e-3,
        shown="20 ms",
        what="A lone record, from the spool to its acknowledgement, median of 20",
        command="benchmarks/lone_record.py",
        page="delivery-promises.md",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """What a lab has; everything else follows."""

    machines: int
    runs_a_day: float = 1.0
    window_seconds: float = 600.0
    """In which all begin a run where one time of day is set for all: the splay."""

    @property
    def runs_a_second(self) -> float:
        return self.machines * self.runs_a_day / DAY_SECONDS

    @property
    def runs_a_second_in_window(self) -> float:
        return self.machines / self.window_seconds

    @property
    def heartbeats_a_second(self) -> float:
        return self.machines / Settings.heartbeat_seconds

    @property
    def seen_rows(self) -> float:
        """Of the transaction that notes who was heard of, once in SIGHTINGS_SECONDS."""
        return self.heartbeats_a_second * SIGHTINGS_SECONDS

    @property
    def collectors(self) -> int:
        """That the files of one process ask for: each stream is one."""
        return math.ceil(self.machines / most_streams())

    @property
    def memory_bytes(self) -> float:
        idle, stream = MEASURED["collector_bytes"].value, MEASURED["stream_bytes"].value
        return self.collectors * idle + self.machines * stream

    @property
    def return_seconds(self) -> float:
        """Of one core, in all; collectors share them."""
        return self.machines * MEASURED["return_seconds"].value

    @property
    def seconds_to_return(self) -> float:
        """The agents' own patience, or the balancer's pace."""
        return max(LONGEST_RECONNECT_SECONDS, self.machines / BALANCER_CONNECTIONS_A_SECOND)

    @property
    def renewals_a_day(self) -> float:
        return self.machines / (Settings.certificate_seconds * 2 / 3 / DAY_SECONDS)

    @property
    def measurements_a_day(self) -> float:
        return self.machines * self.runs_a_day * MEASURED["run_measurements"].value

    @property
    def stored_bytes_a_day(self) -> float:
        return self.measurements_a_day * MEASURED["stored_bytes"].value

    @property
    def kept_bytes_after_a_year(self) -> float:
        return self.measurements_a_day * 365 * MEASURED["kept_bytes"].value

    @property
    def sent_bytes_a_day(self) -> float:
        return self.machines * self.runs_a_day * MEASURED["run_sent_bytes"].value

    @property
    def measurements_a_month(self) -> float:
        return self.measurements_a_day * 30


@dataclass(frozen=True, kw_only=True)
class Prices:
    """Of whoever pays, a month, in any currency."""

    core: float
    stored_gb: float


def most_streams() -> int:
    """Of one collector."""
    return (MOST_WANTED - RESERVED) // PORTS


def rows(fleet: Fleet) -> Iterator[tuple[str, str]]:
    """What follows, and how much."""
    records, measurements = MEASURED["run_records"].value, MEASURED["run_measurements"].value
    yield "Records a second, on average", number(fleet.runs_a_second * records)
    yield "... while all run in the same ten minutes", number(fleet.runs_a_second_in_window * records)
    yield "Measurements a second in those", number(fleet.runs_a_second_in_window * measurements)
    yield "GB a day received", number(fleet.sent_bytes_a_day / GB)
    yield "GB a day stored", number(fleet.stored_bytes_a_day / GB)
    yield "GB after a year", number(fleet.kept_bytes_after_a_year / GB)
    yield "... were every raw trial kept", number(fleet.stored_bytes_a_day * 365 / GB)
    yield "Heartbeats a second", number(fleet.heartbeats_a_second)
    yield (
        f"Rows of the commit every {SIGHTINGS_SECONDS:g} s that says who was heard of",
        number(fleet.seen_rows),
    )
    yield "Such commits a day, each collector", number(DAY_SECONDS / SIGHTINGS_SECONDS)
    yield "Collectors, by open files", number(fleet.collectors)
    yield "Commits of a lake a second, at most", number(fleet.collectors * LAKE_COMMITS_A_SECOND)
    yield "GB of memory of all collectors", number(fleet.memory_bytes / GB)
    yield "Cores for heartbeats", number(fleet.machines * MEASURED["heartbeats_share"].value)
    yield "Processor seconds when all come back", number(fleet.return_seconds)
    yield "Seconds for all to come back, at least", number(fleet.seconds_to_return)
    yield (
        "Seconds to enrol all from one address, at least",
        number(max(0.0, fleet.machines - ADDRESS.burst) / ADDRESS.a_second),
    )
    yield "Certificates renewed a day", number(fleet.renewals_a_day)
    yield "Million measurements in a month's report", number(fleet.measurements_a_month / 1e6)


def cost(fleet: Fleet, prices: Prices) -> float:
    """A month's, of the disk after a year and of two cores a collector."""
    return fleet.kept_bytes_after_a_year / GB * prices.stored_gb + 2 * fleet.collectors * prices.core


def number(value: float) -> str:
    """Three digits, as a person reads them."""
    if value >= 1_000:
        return f"{round(value, 2 - math.floor(math.log10(value))):,.0f}"
    return f"{value:.3g}"


def measured_table() -> str:
    lines = ["| What | Measured | By | Said in |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {one.what} | {one.shown} | `{one.command}` | [{one.page.removesuffix('.md')}]({one.page}) |"
        for one in MEASURED.values()
    ]
    return "\n".join(lines)


def computed_table(*fleets: Fleet) -> str:
    columns = [dict(rows(fleet)) for fleet in fleets]
    heading = " | ".join(f"{fleet.machines:,} Macs" for fleet in fleets)
    lines = [f"| | {heading} |", f"| --- |{' ---: |' * len(fleets)}"]
    lines += [f"| {name} | {' | '.join(column[name] for column in columns)} |" for name in columns[0]]
    return "\n".join(lines)


def page(path: Path) -> str:
    """scale.md with its tables as they are now; what is written around them stays."""
    text = path.read_text(encoding="utf-8")
    tables = {
        "measured": measured_table(),
        "computed": computed_table(*(Fleet(machines=machines) for machines in SIZES)),
    }
    for name, table in tables.items():
        before, opening, rest = text.partition(f"<!-- {name}: docs/scale_arithmetic.py -->\n")
        _, closing, after = rest.partition(f"\n<!-- end of {name} -->")
        if not opening or not closing:
            raise LookupError(f"{path} has no place for the table {name!r}")
        text = f"{before}{opening}\n{table}\n{closing}{after}"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machines", type=int, default=100_000)
    parser.add_argument("--runs-a-day", type=float, default=1.0)
    parser.add_argument("--core-month", type=float, help="price of a core for a month")
    parser.add_argument("--gb-month", type=float, help="price of a GB on disk for a month")
    options = parser.parse_args()
    fleet = Fleet(machines=options.machines, runs_a_day=options.runs_a_day)
    for name, value in rows(fleet):
        print(f"{value:>12}  {name}")
    if options.core_month is not None and options.gb_month is not None:
        prices = Prices(core=options.core_month, stored_gb=options.gb_month)
        print(f"{number(cost(fleet, prices)):>12}  A month, of disk and cores, after a year")


if __name__ == "__main__":
    main()
