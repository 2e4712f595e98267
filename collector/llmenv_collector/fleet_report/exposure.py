"""Known issues against what is installed and what was tried.

A machine is exposed when every condition that the catalogue states of an issue (versions, macOS, chip)
holds for one of its environments.  The issue is reproduced where the newest result of a check, or a case of
it, on the accelerator names it, and not reproduced where a canary of it passed and nothing else shows it.
Where it was reproduced although its conditions do not say so, or it has none, the machine counts as exposed.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmenv.catalog import known_issues
from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_collector.fleet_report.inventory import read_inventory

if TYPE_CHECKING:
    from collections.abc import Iterable

    import duckdb

    from llmenv_collector.fleet_report.inventory import Holding
    from llmenv_collector.fleet_report.period import Period

TRIED = """
WITH latest AS (
  SELECT machine_id, result_id, hostname, status, remedy_id FROM latest_result WHERE device <> 'cpu'
), canary AS (
  SELECT machine_id, result_id, case_name, text AS issue_id FROM store.fact
  WHERE name = 'issue' AND text IS NOT NULL AND (machine_id, result_id) IN (
    SELECT (machine_id, result_id) FROM latest_result WHERE check_name = 'canaries')
), found AS (
  SELECT machine_id, hostname, remedy_id AS issue_id, true AS is_reproduced FROM latest
  WHERE remedy_id <> '' AND status NOT IN ('pass', 'skip', 'unknown')
  UNION ALL
  SELECT machine_id, hostname, case_row.remedy_id, true FROM latest
  JOIN store.result_case AS case_row USING (machine_id, result_id)
  WHERE case_row.remedy_id <> '' AND case_row.status NOT IN ('pass', 'skip', 'unknown')
  UNION ALL
  SELECT machine_id, hostname, canary.issue_id, false FROM latest
  JOIN store.result_case AS case_row USING (machine_id, result_id)
  JOIN canary ON canary.machine_id = case_row.machine_id AND canary.result_id = case_row.result_id
    AND canary.case_name = case_row.name
  WHERE case_row.status = 'pass'
)
SELECT machine_id::VARCHAR, any_value(hostname), issue_id, bool_or(is_reproduced) FROM found
GROUP BY machine_id, issue_id
"""


@dataclass(frozen=True)
class Trial:
    """What the newest results of one machine say of one issue."""

    machine_id: str
    hostname: str
    issue_id: str
    is_reproduced: bool


@dataclass
class Exposure:
    """One issue's machines; hostnames by id, for two may be called the same."""

    exposed: dict[str, str] = field(default_factory=dict)
    reproduced: dict[str, str] = field(default_factory=dict)
    not_reproduced: dict[str, str] = field(default_factory=dict)
    versions: set[str] = field(default_factory=set)


def exposures(connection: duckdb.DuckDBPyConnection, period: Period) -> list[messages.ExposureRow]:
    """After period.lay_out."""
    packages = {name for issue in known_issues.catalogue().values() for name in issue.versions}
    trials = [Trial(*row) for row in connection.execute(TRIED).fetchall()]
    return rows_of(join(read_inventory(connection, period, packages=packages), trials))


def join(inventory: Iterable[Holding], trials: Iterable[Trial]) -> dict[str, Exposure]:
    """By issue."""
    found: dict[str, Exposure] = defaultdict(Exposure)
    applying: dict[tuple[object, ...], tuple[known_issues.KnownIssue, ...]] = {}
    for one in inventory:
        state = (one.chip, one.macos, frozenset(one.versions.items()))
        if state not in applying:
            applying[state] = known_issues.applying(
                package_versions=one.versions, chip=one.chip, os_version=one.macos
            )
        for issue in applying[state]:
            found[issue.id].exposed[one.machine_id] = one.hostname
            found[issue.id].versions |= affected(issue, one)
    for trial in trials:
        if known_issues.find(trial.issue_id) is None:
            continue
        exposure = found[trial.issue_id]
        if trial.is_reproduced:
            exposure.reproduced[trial.machine_id] = trial.hostname
            exposure.exposed.setdefault(trial.machine_id, trial.hostname)
        elif trial.machine_id in exposure.exposed:
            exposure.not_reproduced[trial.machine_id] = trial.hostname
    return {issue_id: exposure for issue_id, exposure in found.items() if exposure.exposed}


def affected(issue: known_issues.KnownIssue, holding: Holding) -> set[str]:
    """What of this environment the issue speaks of, in words."""
    versions = {f"{name} {holding.versions[name]}" for name in issue.versions if name in holding.versions}
    return versions | ({f"macOS {holding.macos}"} if issue.macos else set())


def rows_of(exposures_by_issue: dict[str, Exposure]) -> list[messages.ExposureRow]:
    """What was reproduced on most machines first, then by severity."""

    def rank(issue_id: str) -> tuple[int, int, int, str]:
        exposure, issue = exposures_by_issue[issue_id], known_issues.find(issue_id)
        severity = known_issues.SEVERITIES.index(issue.severity) if issue else 0
        return -len(exposure.reproduced), -severity, -len(exposure.exposed), issue_id

    return [
        messages.ExposureRow(
            issue_id=issue_id,
            exposed=sorted(exposures_by_issue[issue_id].exposed.values()),
            reproduced=sorted(exposures_by_issue[issue_id].reproduced.values()),
            not_reproduced=sorted(exposures_by_issue[issue_id].not_reproduced.values()),
            versions=sorted(exposures_by_issue[issue_id].versions),
        )
        for issue_id in sorted(exposures_by_issue, key=rank)
    ]
