"""Versions in use against those that are wanted, and how they differ where nothing is."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from llmenv.catalog.packages import WATCHED
from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_collector.fleet_report.inventory import read_inventory
from llmenv_collector.fleet_report.specifier import satisfies
from llmenv_collector.fleet_report.versions import order

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import duckdb

    from llmenv_collector.fleet_report.inventory import Holding
    from llmenv_collector.fleet_report.period import Period
    from llmenv_collector.fleet_report.question import Pin


def drifts(
    connection: duckdb.DuckDBPyConnection, period: Period, pins: Sequence[Pin]
) -> list[messages.DriftRow]:
    packages = {*WATCHED, *(pin.package for pin in pins)}
    return rows_of(read_inventory(connection, period, packages=packages), pins)


def rows_of(inventory: Iterable[Holding], pins: Sequence[Pin]) -> list[messages.DriftRow]:
    """Pinned packages as they were given, then the watched ones that somebody has.

    A machine differs when one of its environments does, and misses a package when none of them has it.
    """
    holdings = list(inventory)
    hostnames = {one.machine_id: one.hostname for one in holdings}
    versions: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for one in holdings:
        for package, version in one.versions.items():
            versions[package][one.machine_id].add(version)
    pinned = {pin.package: pin.specifier for pin in pins}
    rest = [name for name in WATCHED if name in versions and name not in pinned]
    return [
        drift_row(package, pinned.get(package, ""), versions.get(package, {}), hostnames)
        for package in (*pinned, *rest)
    ]


def drift_row(
    package: str, wanted: str, versions: Mapping[str, set[str]], hostnames: Mapping[str, str]
) -> messages.DriftRow:
    counts = Counter(version for owned in versions.values() for version in owned)
    if wanted:
        is_right = {version: satisfies(version, wanted) for version in counts}
    else:
        usual = max(counts, key=lambda version: (counts[version], order(version)), default="")
        is_right = {version: version == usual for version in counts}
    differing = [
        machine_id for machine_id, owned in versions.items() if not all(is_right[one] for one in owned)
    ]
    missing = hostnames.keys() - versions.keys() if wanted else ()
    return messages.DriftRow(
        package=package,
        wanted=wanted,
        versions=counts,
        differing=sorted(hostnames[one] for one in differing),
        missing=sorted(hostnames[one] for one in missing),
    )
