"""The statement behind each section: one SELECT over the views of schema v1 that gives the section's figures.

It is for people to run with `llmenv sql`, and to change.  What a section draws at random, intervals and
p-values, is not SQL's; medians, extremes, counts and verdicts are.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from llmenv.catalog import known_issues
from llmenv.catalog.packages import WATCHED
from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_collector.fleet_report import explain_cells, explain_machines
from llmenv_collector.fleet_report.chips import NOT_OF_THE_CHIP

# ruff: noqa: S608 (text for people to read and run, on a read-only snapshot)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmenv_collector.fleet_report.period import Period
    from llmenv_collector.fleet_report.question import Question

LATEST = """latest AS (
  SELECT * FROM result QUALIFY row_number() OVER (
    PARTITION BY machine_id, environment_name, device, check_name ORDER BY started_at DESC, sequence DESC) = 1
)"""
COMPARED = """compared AS (
  SELECT result.*, coalesce(measured.case_name, '') AS case_name, measured.name AS measurement,
         measured.unit, measured.better, measured.value
  FROM result JOIN v1.measurements AS measured USING (machine_id, result_id)
  LEFT JOIN (SELECT * FROM v1.conditions WHERE moment = 'before') AS condition USING (machine_id, result_id)
  WHERE status IN ('pass', 'warn') AND measurements_withheld = ''
    AND NOT coalesce(low_power_mode, false) AND coalesce(thermal_pressure, '') IN ('', 'nominal')
    AND coalesce(memory_pressure, '') IN ('', 'normal') AND coalesce(power_source, '') <> 'battery'
    AND coalesce(stability, '') <> 'unstable' AND isfinite(measured.value) AND measured.value > 0
)"""
COVERAGE = """SELECT (
         SELECT count(*) FROM v1.machines WHERE {machines} AND coalesce(enrolled_at <= {until}, true)
       ) AS machines,
       count(DISTINCT machine_id) AS reporting, count(*) AS runs, (SELECT count(*) FROM result) AS results,
       max(started_at) AS freshest, min(started_at) AS oldest
FROM run"""
HEALTH = """SELECT hostname, machine_id, environment_name, device, check_name, status FROM latest
ORDER BY hostname, machine_id, environment_name, device, check_name"""
CHIPS = """, by_machine AS (
  SELECT chip, gpu_cores, memory_bytes, device, check_name, case_name, measurement, unit, better,
         definition_hash, parameters_json, machine_id, median(value) AS middle, count(*) AS results
  FROM compared WHERE better IS NOT NULL AND unit NOT IN ({units}) GROUP BY ALL
), chosen AS (
  -- the definition and parameters that most machines of the variant have
  SELECT chip, gpu_cores, memory_bytes, device, check_name, definition_hash, parameters_json,
         count(DISTINCT machine_id) AS machines, max(started_at) AS newest
  FROM compared
  GROUP BY chip, gpu_cores, memory_bytes, device, check_name, definition_hash, parameters_json
  QUALIFY row_number() OVER (
    PARTITION BY chip, gpu_cores, memory_bytes, device, check_name
    ORDER BY machines DESC, newest DESC, definition_hash, parameters_json) = 1
)
SELECT chip, gpu_cores, memory_bytes, device, check_name, case_name, measurement, unit, better,
       median(middle) AS median, min(middle) AS lowest, max(middle) AS highest, count(*) AS machines,
       sum(results)::BIGINT AS results
FROM by_machine WHERE EXISTS (
  SELECT 1 FROM chosen
  WHERE chosen.chip = by_machine.chip AND chosen.gpu_cores IS NOT DISTINCT FROM by_machine.gpu_cores
    AND chosen.memory_bytes IS NOT DISTINCT FROM by_machine.memory_bytes AND chosen.device = by_machine.device
    AND chosen.check_name = by_machine.check_name AND chosen.definition_hash = by_machine.definition_hash
    AND chosen.parameters_json = by_machine.parameters_json)
GROUP BY ALL ORDER BY check_name, case_name, measurement, device, median DESC"""
OF_IMPORTED = "imported "
IMPORTED = """WITH by_machine AS (
  SELECT source, chip, gpu_cores, memory_bytes, device, check_name, definition_hash, case_name, measurement,
         unit, better, machine, median(value) AS middle, count(*) AS results
  FROM v1.imported_measurements
  WHERE imported_at <= {at} AND measured_at <= {at} AND (withdrawn_at IS NULL OR withdrawn_at > {at}){checks}
  GROUP BY ALL
)
SELECT source, chip, gpu_cores, memory_bytes, device, check_name, case_name, measurement, unit, better,
       median(middle) AS median, min(middle) AS lowest, max(middle) AS highest, count(*) AS machines,
       sum(results)::BIGINT AS results
FROM by_machine WHERE unit NOT IN ({units})
GROUP BY ALL ORDER BY source, check_name, case_name, measurement, device, median DESC"""
PACKAGES = """, now_used AS (
  SELECT package.name, package.version, count(DISTINCT holding.machine_id) AS machines
  FROM holding JOIN v1.environment_packages AS package USING (environment_id)
  WHERE package.name IN ({watched}) GROUP BY ALL
), tried AS (
  SELECT package.name, package.version, result.status, count(*) AS results
  FROM result JOIN v1.environment_packages AS package USING (environment_id)
  WHERE package.name IN ({watched}) GROUP BY ALL
)
SELECT name, version, coalesce(any_value(machines), 0) AS machines, status,
       coalesce(any_value(results), 0) AS results
FROM now_used FULL JOIN tried USING (name, version) GROUP BY ALL ORDER BY ALL"""
FINDINGS = """, noted AS (
  SELECT latest.machine_id, latest.result_id, max(known.expires_at) AS acknowledged_until
  FROM latest JOIN v1.acknowledgements AS known ON known.check_name = latest.check_name
    AND list_contains(known.statuses, latest.status)
    AND (known.remedy_id IS NULL OR known.remedy_id = latest.remedy_id)
    AND (known.cause IS NULL OR known.cause = latest.cause)
    AND (len(known.machine_ids) = 0 OR list_contains(known.machine_ids, latest.machine_id))
  WHERE known.acknowledged_at <= {at} AND known.expires_at > {at}
    AND (known.withdrawn_at IS NULL OR known.withdrawn_at > {at})
  GROUP BY ALL
)
SELECT check_name, status, remedy_id, cause, acknowledged_until, count(DISTINCT machine_id) AS machines,
       list_sort(list(DISTINCT hostname)) AS hostnames, any_value(reason) AS a_reason
FROM latest LEFT JOIN noted USING (machine_id, result_id)
WHERE status <> 'pass' GROUP BY ALL ORDER BY machines DESC, check_name, status, cause, acknowledged_until"""
FLAKY = """, step AS (
  SELECT *, status <> lag(status) OVER same AS is_change,
         min(status) OVER whole <> max(status) OVER whole AS is_suspect
  FROM result WHERE status NOT IN ('skip', 'unknown')
  WINDOW whole AS (PARTITION BY machine_id, environment_name, environment_id, os_build, device, check_name,
                                definition_hash, parameters_json),
         same AS (PARTITION BY machine_id, environment_name, environment_id, os_build, device, check_name,
                               definition_hash, parameters_json ORDER BY started_at, sequence)
)
SELECT machine_id, any_value(hostname) AS hostname, environment_name, device, check_name,
       count(*) FILTER (is_change) AS changes, count(*) AS results
FROM step WHERE is_suspect GROUP BY machine_id, environment_name, device, check_name
ORDER BY changes DESC, hostname, environment_name, device, check_name"""
DRIFTS = """SELECT package.name, package.version, count(DISTINCT holding.machine_id) AS machines
FROM holding JOIN v1.environment_packages AS package USING (environment_id)
WHERE package.name IN ({packages}) GROUP BY ALL ORDER BY name, machines DESC"""
EXPOSURES = """, condition(issue_id, subject, operator, bound) AS (VALUES
  {conditions}
), wanted AS (
  SELECT issue_id, count(*) AS conditions FROM condition GROUP BY issue_id
), subject AS (
  SELECT machine_id, name AS environment_name, 'chip' AS subject, chip AS value FROM holding
  UNION ALL
  SELECT machine_id, name, 'macOS', os_version FROM holding WHERE os_name = 'macOS'
  UNION ALL
  SELECT machine_id, holding.name, package.name, package.version
  FROM holding JOIN v1.environment_packages AS package USING (environment_id)
), met AS (
  SELECT issue_id, machine_id, environment_name, count(*) AS conditions
  FROM condition JOIN subject USING (subject)
  WHERE CASE WHEN operator = '~' THEN regexp_matches(value, bound)
             WHEN NOT regexp_matches(value, '^[0-9]') THEN false
             WHEN operator = '>=' THEN {value} >= {bound} WHEN operator = '<=' THEN {value} <= {bound}
             WHEN operator = '>' THEN {value} > {bound} WHEN operator = '<' THEN {value} < {bound}
             ELSE {value} = {bound} END
  GROUP BY ALL
), tried AS (
  SELECT machine_id, remedy_id AS issue_id, true AS is_reproduced FROM latest
  WHERE device <> 'cpu' AND remedy_id <> '' AND status NOT IN ('pass', 'skip', 'unknown')
  UNION ALL
  SELECT machine_id, part.remedy_id, true
  FROM latest JOIN v1.result_cases AS part USING (machine_id, result_id)
  WHERE device <> 'cpu' AND part.remedy_id <> '' AND part.status NOT IN ('pass', 'skip', 'unknown')
  UNION ALL
  SELECT machine_id, fact.text, false
  FROM latest JOIN v1.result_cases AS part USING (machine_id, result_id)
  JOIN v1.facts AS fact ON fact.machine_id = latest.machine_id AND fact.result_id = latest.result_id
    AND fact.case_name = part.name
  WHERE device <> 'cpu' AND check_name = 'canaries' AND part.status = 'pass' AND fact.name = 'issue'
), judged AS (
  SELECT issue_id, machine_id, bool_or(is_reproduced) AS is_reproduced FROM tried GROUP BY ALL
), exposed AS (
  SELECT DISTINCT issue_id, machine_id FROM met JOIN wanted USING (issue_id, conditions)
  UNION
  SELECT issue_id, machine_id FROM judged WHERE is_reproduced AND issue_id IN ({issues})
)
SELECT issue_id, count(*) AS exposed, count(*) FILTER (is_reproduced) AS reproduced,
       count(*) FILTER (NOT is_reproduced) AS not_reproduced
FROM exposed LEFT JOIN judged USING (issue_id, machine_id)
GROUP BY ALL ORDER BY reproduced DESC, exposed DESC, issue_id"""
NUMBERS = (
    "list_resize(list_transform(string_split(regexp_extract({0}, '^[0-9]+([.][0-9]+)*'), '.'),"
    " lambda part: part::BIGINT), 8, 0)"
)


def explanations(period: Period, question: Question) -> list[messages.Explanation]:
    """One a section that was asked for, coverage first."""
    statements = {"coverage": coverage(period), **sections(period, question)}
    return [
        messages.Explanation(section=section, sql=sql)
        for section, sql in statements.items()
        if section == "coverage" or section.removeprefix(OF_IMPORTED) in question.sections
    ]


def coverage(period: Period) -> str:
    filled = COVERAGE.format(machines=machines(period, "machine_id"), until=time(period.as_of))
    return f"WITH {results(period)}\n{filled}"


def imported(period: Period) -> str:
    checks = f" AND check_name IN ({listed(sorted(period.checks))})" if period.checks else ""
    units = listed(sorted(NOT_OF_THE_CHIP))
    return IMPORTED.format(at=time(period.as_of), checks=checks, units=units)


def sections(period: Period, question: Question) -> dict[str, str]:
    runs = f"WITH {results(period)}"
    inventory = f"{runs}, {holdings(period)}"
    context = explain_cells.CONTEXT.format(watched=listed(WATCHED))
    cells = f"{runs}, {COMPARED}{context}{explain_cells.CELL}"
    packages = dict.fromkeys((*(pin.package for pin in question.pins), *WATCHED))
    return {
        "health": f"{runs}, {LATEST}\n{HEALTH}",
        "chips": f"{runs}, {COMPARED}{CHIPS.format(units=listed(sorted(NOT_OF_THE_CHIP)))}",
        **({} if period.where else {OF_IMPORTED + "chips": imported(period)}),
        "packages": f"{inventory}{PACKAGES.format(watched=listed(WATCHED))}",
        "findings": f"{runs}, {LATEST}{FINDINGS.format(at=time(period.as_of))}",
        "flaky": f"{runs}{FLAKY}",
        "effects": f"{cells}{explain_cells.EFFECTS}",
        "verdict_effects": f"{runs}{context}{explain_cells.VERDICT_EFFECTS}",
        "outliers": f"{cells}{explain_cells.OUTLIERS}",
        "unsteady": f"{runs}{explain_machines.UNSTEADY}",
        "changes": f"{runs}{changes(period, question)}",
        "verdict_changes": f"{runs}{explain_machines.VERDICT_CHANGES}",
        "exposures": f"{inventory}, {LATEST}{exposures()}",
        "drifts": f"{inventory}\n{DRIFTS.format(packages=listed(packages))}",
    }


def changes(period: Period, question: Question) -> str:
    """As they were worked out; of an earlier time those of which a result was there, and of how many."""
    now = {"known": "", "is_suspected": "is_suspected", "points": "points"}
    then = {
        "known": explain_machines.KNOWN,
        "is_suspected": explain_machines.IS_SUSPECTED_THEN,
        "points": explain_machines.POINTS_THEN,
    }
    return explain_machines.CHANGES.format(
        **(now if period.is_now else then),
        since=time(period.since),
        until=time(period.as_of),
        machines=machines(period, "change.machine_id"),
        checks=f" AND check_name IN ({listed(sorted(period.checks))})" if period.checks else "",
        minimum_effect=question.minimum_effect,
    )


def results(period: Period) -> str:
    """The tables `run` and `result`, as every section takes them."""
    known = "" if period.is_now else f" AND {received(period)}"
    checks = f" WHERE check_name IN ({listed(sorted(period.checks))})" if period.checks else ""
    received_results = (
        "" if period.is_now else f"{' AND' if checks else ' WHERE'} {received(period, 'results.')}"
    )
    return f"""run AS (
  SELECT * FROM v1.runs
  WHERE started_at BETWEEN {time(period.since)} AND {time(period.as_of)}
    AND {machines(period, "machine_id")}{known}
), result AS (
  SELECT results.* EXCLUDE (device, started_at, record_id), run.hostname, run.chip, run.gpu_cores,
         run.memory_bytes, run.os_name, run.os_build, run.environment_id, run.environment_name, run.device,
         run.started_at
  FROM v1.results JOIN run USING (machine_id, run_id){checks}{received_results}
)"""


def holdings(period: Period) -> str:
    """The table `holding`: the environments that machines have, each with what its machine is."""
    if period.is_now:
        return f"""holding AS (
  SELECT environments.machine_id, environments.name, environments.environment_id, hostname, chip, os_name,
         os_version
  FROM v1.environments LEFT JOIN v1.machines USING (machine_id)
  WHERE {machines(period, "environments.machine_id")}
)"""
    return f"""holding AS (
  SELECT sighting.machine_id, sighting.name, sighting.environment_id,
         coalesce(former.hostname, now.hostname) AS hostname,
         coalesce(former.chip, now.chip) AS chip, coalesce(former.os_name, now.os_name) AS os_name,
         coalesce(former.os_version, now.os_version) AS os_version
  FROM (
    SELECT * FROM v1.environment_sightings WHERE {received(period)}
    QUALIFY row_number() OVER (PARTITION BY machine_id, name ORDER BY seen_at DESC, record_id DESC) = 1
  ) AS sighting
  LEFT JOIN v1.machines AS now USING (machine_id)
  LEFT JOIN (
    SELECT * FROM v1.runs WHERE started_at <= {time(period.as_of)} AND {received(period)}
    QUALIFY row_number() OVER (PARTITION BY machine_id ORDER BY started_at DESC) = 1
  ) AS former USING (machine_id)
  WHERE {machines(period, "sighting.machine_id")}
)"""


def exposures() -> str:
    """Conditions of the catalogue as rows, one a clause."""
    rows = [
        (issue.id, subject, operator, bound)
        for issue in known_issues.catalogue().values()
        for subject, operator, bound in clauses(issue)
    ]
    return EXPOSURES.format(
        conditions=",\n  ".join(f"({listed(row)})" for row in rows),
        issues=listed(known_issues.catalogue()),
        value=NUMBERS.format("value"),
        bound=NUMBERS.format("bound"),
    )


def clauses(issue: known_issues.KnownIssue) -> Iterable[tuple[str, str, str]]:
    """Subject, operator and bound; "~" is a regular expression."""
    ranges = dict(issue.versions) | ({"macOS": issue.macos} if issue.macos else {})
    for subject, version_range in ranges.items():
        for clause in version_range.split(","):
            bound = clause.strip().lstrip("<>=")
            yield subject, clause.strip().removesuffix(bound).strip(), bound.strip()
    if issue.chips:
        yield "chip", "~", issue.chips


def machines(period: Period, column: str) -> str:
    """The condition on machines: that of the question, and none that was revoked."""
    conditions = []
    if period.where:
        conditions.append(f"{column} IN (SELECT machine_id FROM v1.machines WHERE (\n{period.where}\n))")
    elif period.machines is not None:
        conditions.append(f"{column}::VARCHAR IN ({listed(sorted(period.machines)) or 'NULL'})")
    if period.revoked:
        conditions.append(f"{column}::VARCHAR NOT IN ({listed(sorted(period.revoked))})")
    return " AND ".join(conditions) or "true"


def received(period: Period, prefix: str = "") -> str:
    return (
        f"{prefix}record_id IN (SELECT record_id FROM v1.records WHERE received_at <= {time(period.as_of)})"
    )


def time(microseconds: int) -> str:
    """DuckDB's own years are enough for whatever a clock says."""
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=microseconds)
    return f"TIMESTAMPTZ '{moment.isoformat(sep=' ')}'"


def listed(words: Iterable[str]) -> str:
    return ", ".join("'" + word.replace("'", "''") + "'" for word in words)
