"""Which two sides `llmenv fleet compare A B` means, and the runs of each.

Machines by id or hostname, chips, versions of one package, or days; both have to be of
one kind.  `lay_out` makes the table `side_run`: one row a run, side 0 or 1.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from llmenv_collector.errors import NotFoundError, UsageError
from llmenv_collector.fleet_report.question import Release, release_of
from llmenv_collector.fleet_report.versions import MACOS

if TYPE_CHECKING:
    import duckdb

Kind = Literal["machine", "chip", "package", "date"]

DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
MACHINES = """
SELECT DISTINCT machine_id::VARCHAR FROM period_run
WHERE machine_id::VARCHAR = $name UNION
SELECT DISTINCT machine_id::VARCHAR FROM period_run WHERE hostname = $name UNION
SELECT machine_id::VARCHAR FROM shared_name
WHERE hostname = $name AND machine_id IN (SELECT machine_id FROM period_run)
"""
CHIPS = "SELECT DISTINCT chip FROM period_run WHERE lower(chip) = lower($name)"
CONDITIONS: dict[Kind, str] = {
    "machine": "machine_id::VARCHAR = ${side}",
    "chip": "chip = ${side}",
    "date": "started_at::DATE::VARCHAR = ${side}",
    "package": """environment_id IN (
      SELECT environment_id FROM store.environment_package WHERE name = $package AND version = ${side})""",
}
MACOS_CONDITION = "os_name = 'macOS' AND os_build = ${side}"
SIDES = """
CREATE OR REPLACE TEMP TABLE side_run AS
SELECT run_no, machine_id, run_id, side FROM (
  SELECT run_no::INTEGER AS run_no, machine_id, run_id,
         CASE WHEN {baseline} THEN 0 WHEN {candidate} THEN 1 END AS side FROM period_run
) WHERE side IS NOT NULL
"""


@dataclass(frozen=True)
class TwoSides:
    """Names as the store has them: ids of machines, chips, versions, or days."""

    kind: Kind
    baseline: str
    candidate: str
    package: str = ""


def days_of(baseline: str, candidate: str) -> tuple[dt.date, dt.date] | None:
    """None when these are not days.  Raises UsageError for one day and something else."""
    are_days = [DAY.fullmatch(text.strip()) is not None for text in (baseline, candidate)]
    if not any(are_days):
        return None
    if not all(are_days):
        raise UsageError("A date is compared with a date, such as 2026-11-24 with 2026-11-25.")
    try:
        first, second = (dt.date.fromisoformat(text.strip()) for text in (baseline, candidate))
    except ValueError as error:
        raise UsageError(f"That is no date: {error}.") from error
    return first, second


def understood(connection: duckdb.DuckDBPyConnection, baseline: str, candidate: str) -> TwoSides:
    """After period.lay_out.  Raises UsageError or NotFoundError."""
    if not baseline.strip() or not candidate.strip():
        raise UsageError("Two sides are compared: say both.")
    if baseline.strip() == candidate.strip():
        raise UsageError("Both sides are the same: there is nothing to compare.")
    days = days_of(baseline, candidate)
    if days is not None:
        return dates(connection, *days)
    if "==" in baseline or "==" in candidate:
        return versions(connection, baseline, candidate)
    (kind, one), (other_kind, other) = (named(connection, text.strip()) for text in (baseline, candidate))
    if kind != other_kind:
        raise UsageError(
            f"{baseline!r} is a {kind} and {candidate!r} a {other_kind}: compare two of one kind."
        )
    if one == other:
        raise UsageError(f"{baseline!r} and {candidate!r} are the same {kind}.")
    return TwoSides(kind, one, other)


def dates(connection: duckdb.DuckDBPyConnection, *days: dt.date) -> TwoSides:
    for day in days:
        query = "SELECT count(*) FROM period_run WHERE started_at::DATE = $day"
        if connection.execute(query, {"day": day}).fetchall() == [(0,)]:
            raise NotFoundError(f"No machine ran anything on {day}, UTC.")
    return TwoSides("date", *(day.isoformat() for day in days))


def versions(connection: duckdb.DuckDBPyConnection, baseline: str, candidate: str) -> TwoSides:
    try:
        releases = [release_of(text) for text in (baseline, candidate)]
    except UsageError as error:
        raise UsageError(f"A version is compared with a version: {error}") from error
    one, other = (release or Release("", "") for release in releases)
    if one.package != other.package:
        raise UsageError(f"Two versions of one package are compared, not {one.package} and {other.package}.")
    for release in (one, other):
        require_seen(connection, release)
    return TwoSides("package", one.version, other.version, package=one.package)


def require_build(connection: duckdb.DuckDBPyConnection, release: Release) -> None:
    """Raises NotFoundError for a version of macOS, with its builds: these are what is compared."""
    if release.package != MACOS:
        return
    query = (
        "SELECT DISTINCT os_build FROM period_run"
        " WHERE os_name = 'macOS' AND os_version = $version ORDER BY os_build"
    )
    builds = [build for (build,) in connection.execute(query, {"version": release.version}).fetchall()]
    if builds:
        raise NotFoundError(
            f"Builds of macOS are compared, and {release.version} is a version of it:"
            f" here it has {', '.join(builds)}, so ask for macos=={builds[-1]}."
        )


def require_seen(connection: duckdb.DuckDBPyConnection, release: Release) -> None:
    """Raises NotFoundError when no run of the period had it."""
    require_build(connection, release)
    condition = MACOS_CONDITION if release.package == MACOS else CONDITIONS["package"]
    known = {"version": release.version} | ({} if release.package == MACOS else {"package": release.package})
    query = f"SELECT count(*) FROM period_run WHERE {condition.format(side='version')}"  # noqa: S608 (our own)
    ((runs,),) = connection.execute(query, known).fetchall()
    if not runs:
        raise NotFoundError(f"No run of the period had {release.package} {release.version}.")


def named(connection: duckdb.DuckDBPyConnection, name: str) -> tuple[Kind, str]:
    chips = connection.execute(CHIPS, {"name": name}).fetchall()
    if chips:
        return "chip", str(chips[0][0])
    machines = connection.execute(MACHINES, {"name": name}).fetchall()
    if len(machines) > 1:
        raise UsageError(f"{name!r} names {len(machines)} machines: give the machine's id.")
    if not machines:
        raise NotFoundError(
            f"No machine, chip, version or date with runs in the period is called {name!r}:"
            " see `llmenv fleet machines`."
        )
    return "machine", str(machines[0][0])


def lay_out(connection: duckdb.DuckDBPyConnection, sides: TwoSides) -> None:
    condition = MACOS_CONDITION if sides.package == MACOS else CONDITIONS[sides.kind]
    statement = SIDES.format(
        baseline=condition.format(side="baseline"), candidate=condition.format(side="candidate")
    )
    known = {"baseline": sides.baseline, "candidate": sides.candidate}
    if sides.package and sides.package != MACOS:
        known["package"] = sides.package
    connection.execute(statement, known)
