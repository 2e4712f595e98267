"""What changed where a figure or a verdict did, ranked by evidence from the whole fleet.

Between a result before and one after, whatever differs may be the cause: packages, the build
of macOS, variables of the process, the check's definition, its parameters, and conditions.
For each it is counted how many machines got the same change, how many of them changed the
same way, and how many changed although they did not get it; Fisher's exact p of these four
counts ranks the causes.  Steps between versions that cross the same one are one change.  A
machine's changes of a kind are those from one of its runs to the next in the same environment.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from llmenv.catalog.packages import WATCHED
from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_collector.fleet_report.versions import order, without_companions
from llmenv_collector.statistics.proportions import fisher_exact_p

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    import duckdb

KINDS = ("package", "macos", "variable", "definition", "parameters", "conditions")
CONDITIONS = ("power_source", "low_power_mode", "thermal_pressure", "memory_pressure", "session_type")
AGENT = "agent_version"
MOST_NAMES = 100
"""Packages and variables whose changes are followed through the fleet, the watched ones first."""
STATES = f"""
SELECT result.result_id::VARCHAR, result.machine_id::VARCHAR, run.environment_id, run.os_build,
       run.agent_version, result.definition_hash, result.parameters_json,
       {", ".join(f"coalesce(condition.{name}::VARCHAR, '')" for name in CONDITIONS)}
FROM store.result AS result JOIN store.run AS run USING (machine_id, run_id)
LEFT JOIN (SELECT * FROM store.condition WHERE moment = 'before') AS condition USING (machine_id, result_id)
WHERE result.result_id IN (SELECT unnest($results::UUID[]))
"""  # noqa: S608 (our own names)
VARIABLES = """
SELECT result_id::VARCHAR, machine_id::VARCHAR, name, value FROM store.result_variable
WHERE result_id IN (SELECT unnest($results::UUID[]))
"""
PACKAGES = """
SELECT environment_id, name, version FROM store.environment_package
WHERE environment_id IN (SELECT unnest($environments::VARCHAR[]))
"""
STEPS = """
SELECT DISTINCT machine_id::VARCHAR, former, value FROM (
  SELECT machine_id, value,
         lag(value) OVER (
           PARTITION BY machine_id, environment_name, device, part ORDER BY started_at) AS former
  FROM ({values})
) WHERE former <> value
"""
PACKAGE_VALUES = """
SELECT run.machine_id, run.environment_name, run.device, '' AS part, run.started_at,
       coalesce(package.version, '') AS value
FROM period_run AS run LEFT JOIN (
  SELECT environment_id, any_value(version) AS version FROM store.environment_package WHERE name = $name
  GROUP BY environment_id
) AS package USING (environment_id)
"""
RUN_VALUES = """
SELECT run.machine_id, run.environment_name, run.device, '' AS part, run.started_at, {column} AS value
FROM period_run JOIN store.run AS run USING (machine_id, run_id)
"""
RESULT_VALUES = """
SELECT machine_id, environment_name, device, check_name AS part, started_at, {column} AS value
FROM period_result WHERE check_name = $check
"""
VARIABLE_VALUES = """
SELECT result.machine_id, result.environment_name, result.device, result.check_name AS part,
       result.started_at, coalesce(variable.value, '') AS value
FROM period_result AS result LEFT JOIN (SELECT * FROM store.result_variable WHERE name = $name) AS variable
  USING (machine_id, result_id)
WHERE result.check_name = $check
"""
CONDITION_VALUES = """
SELECT result.machine_id, result.environment_name, result.device, result.check_name AS part,
       result.started_at, coalesce(condition.{column}::VARCHAR, '') AS value
FROM period_result AS result LEFT JOIN (SELECT * FROM store.condition WHERE moment = 'before') AS condition
  USING (machine_id, result_id)
WHERE result.check_name = $check
"""


class Cause(NamedTuple):
    """As CauseRow of the contract names it."""

    kind: str
    name: str
    before: str
    after: str


@dataclass(frozen=True)
class Changed:
    """Something changed on a machine between two of its results."""

    machine_id: str
    check_name: str
    from_result_id: str
    to_result_id: str
    alike: tuple[Any, ...]
    """Equal for changes of the same thing in the same way."""
    thing: tuple[Any, ...]
    """Key of the machines that have it."""


@dataclass(frozen=True)
class State:
    """All that may be a cause, at one result, by kind and name."""

    values: Mapping[tuple[str, str], str]


def causes(
    connection: duckdb.DuckDBPyConnection,
    changed: Sequence[Changed],
    having: Mapping[tuple[Any, ...], Collection[str]],
) -> list[list[messages.CauseRow]]:
    """Of each change, the best supported first; after period.lay_out.  `having`: machines by thing."""
    if not changed:
        return []
    states = read_states(connection, changed)
    found = [list(what_differs(states, one)) for one in changed]
    machines_of = defaultdict(set)
    for one in changed:
        machines_of[one.alike].add(one.machine_id)
    followed = Followed(connection)
    return [
        ranked(
            [
                weighed(
                    cause,
                    followed.machines(cause, one.check_name) | {one.machine_id},
                    changed=machines_of[one.alike],
                    having=having.get(one.thing, ()),
                )
                for cause in causes_of_one
            ]
        )
        for one, causes_of_one in zip(changed, found, strict=True)
    ]


class Followed:
    """Which machines got a change, asked once for each."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._steps: dict[tuple[str, str, str], dict[tuple[str, str], set[str]]] = {}

    def machines(self, cause: Cause, check_name: str) -> set[str]:
        of_check = "" if cause.kind in {"package", "macos"} or cause.name == AGENT else check_name
        key = (cause.kind, cause.name, of_check)
        if key not in self._steps:
            self._steps[key] = self._read(*key) if len(self._steps) < MOST_NAMES else {}
        return pooled(self._steps[key], cause)

    def _read(self, kind: str, name: str, check: str) -> dict[tuple[str, str], set[str]]:
        if kind == "package":
            values, known = PACKAGE_VALUES, {"name": name}
        elif kind == "macos" or name == AGENT:
            column = "run.os_build" if kind == "macos" else "run.agent_version"
            values, known = RUN_VALUES.format(column=column), {}
        elif kind == "variable":
            values, known = VARIABLE_VALUES, {"name": name, "check": check}
        elif kind == "conditions":
            values, known = CONDITION_VALUES.format(column=name), {"check": check}
        else:
            column = "definition_hash" if kind == "definition" else "parameters_json"
            values, known = RESULT_VALUES.format(column=column), {"check": check}
        machines: dict[tuple[str, str], set[str]] = defaultdict(set)
        for machine_id, before, after in self._connection.execute(
            STEPS.format(values=values), known
        ).fetchall():
            machines[before, after].add(machine_id)
        return machines


def pooled(steps: Mapping[tuple[str, str], set[str]], cause: Cause) -> set[str]:
    """Machines that got the change; of versions, whichever step brought them to the newer one or past it.

    A machine that went from 2.9 to 2.11 got what 2.10 to 2.11 brought, and so did one that went back lose it.
    """
    exact = steps.get((cause.before, cause.after), set())
    if cause.kind not in {"package", "macos"} or not (cause.before and cause.after):
        return exact
    newer = max(cause.before, cause.after, key=order)
    is_upwards = newer == cause.after
    crossing = (
        machines
        for (before, after), machines in steps.items()
        if before and after and crosses(before, after, newer, is_upwards=is_upwards)
    )
    return exact.union(*crossing)


def crosses(before: str, after: str, version: str, *, is_upwards: bool) -> bool:
    """Whether a step leads to `version` or past it, or back from it."""
    lower, upper = (before, after) if is_upwards else (after, before)
    return order(lower) < order(version) <= order(upper)


def what_differs(states: Mapping[tuple[str, str], State], one: Changed) -> Iterable[Cause]:
    before, after = (
        states.get((one.machine_id, result_id)) for result_id in (one.from_result_id, one.to_result_id)
    )
    if before is None or after is None:
        return
    differing = {
        key
        for key in before.values.keys() | after.values.keys()
        if before.values.get(key, "") != after.values.get(key, "")
    }
    packages = without_companions({name for kind, name in differing if kind == "package"})
    for kind, name in sorted(differing):
        if kind != "package" or name in packages:
            yield Cause(kind, name, before.values.get((kind, name), ""), after.values.get((kind, name), ""))


def weighed(cause: Cause, got: set[str], *, changed: set[str], having: Collection[str]) -> messages.CauseRow:
    without = set(having) - got
    return messages.CauseRow(
        **cause._asdict(),
        machines_with=len(got & (set(having) | changed)),
        changed_with=len(got & changed),
        machines_without=len(without),
        changed_without=len(without & changed),
    )


def ranked(rows: list[messages.CauseRow]) -> list[messages.CauseRow]:
    """By evidence; where that is equal, what training stands on before what it does not."""
    return sorted(rows, key=lambda row: (p_of(row), KINDS.index(row.kind), place_of(row.name), row.name))


def p_of(row: messages.CauseRow) -> float:
    """1 where those that got the change do not change more often."""
    with_it = row.changed_with * row.machines_without
    without_it = row.changed_without * row.machines_with
    if with_it <= without_it:
        return 1.0
    return fisher_exact_p(
        [
            [row.changed_with, row.machines_with - row.changed_with],
            [row.changed_without, row.machines_without - row.changed_without],
        ]
    )


def place_of(name: str) -> int:
    return WATCHED.index(name) if name in WATCHED else len(WATCHED)


def read_states(
    connection: duckdb.DuckDBPyConnection, changed: Sequence[Changed]
) -> dict[tuple[str, str], State]:
    """By machine and result."""
    results = sorted({result for one in changed for result in (one.from_result_id, one.to_result_id)})
    rows = connection.execute(STATES, {"results": results}).fetchall()
    packages: dict[str, dict[tuple[str, str], str]] = defaultdict(dict)
    for environment_id, name, version in connection.execute(
        PACKAGES, {"environments": sorted({row[2] for row in rows})}
    ).fetchall():
        packages[environment_id]["package", name] = version
    variables: dict[tuple[str, str], dict[tuple[str, str], str]] = defaultdict(dict)
    for result_id, machine_id, name, value in connection.execute(VARIABLES, {"results": results}).fetchall():
        variables[machine_id, result_id]["variable", name] = value
    states = {}
    for result_id, machine_id, environment_id, os_build, agent, definition, parameters, *conditions in rows:
        states[machine_id, result_id] = State(
            {
                **packages[environment_id],
                **variables[machine_id, result_id],
                ("macos", ""): os_build,
                ("definition", ""): definition,
                ("parameters", ""): parameters,
                ("conditions", AGENT): agent,
                **{("conditions", name): value for name, value in zip(CONDITIONS, conditions, strict=True)},
            }
        )
    return states
