"""Each section's statement, run where people's SQL runs, gives the section's figures."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import math
import shutil
import statistics
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from llmenv.catalog.status import WORDS
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv.ids import new_id
from llmenv_agent.simulation.fleet import Fleet
from llmenv_collector.changes.upkeep import ChangeUpkeep
from llmenv_collector.delivery.ingest import Arrival
from llmenv_collector.delivery.sighting import Sighting
from llmenv_collector.fleet_report import report
from llmenv_collector.fleet_report.period import Period
from llmenv_collector.fleet_report.question import SECTIONS, Pin, Question
from llmenv_collector.fleet_report.versions import companions
from llmenv_collector.sql.arrow_frames import END_OF_STREAM, HEADER, Form
from llmenv_collector.storage.store import Store

from .built_fleet import Here

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llmenv_collector.fleet_report.analysis import Analysis

DAY = 86_400_000_000
BEGIN = int(dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp()) * 1_000_000


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Ten machines over sixty days, with trouble of every kind."""
    fleet = Fleet(seed=5, machines=10, days=60, runs_per_day=0.5)
    opened = Store(tmp_path_factory.mktemp("played") / "llmenv.duckdb")
    for machine in fleet.machines:
        spool_id = new_id()
        arrivals = [
            Arrival(
                spool_id,
                machine.id,
                1,
                number,
                record.SerializeToString(),
                record.measured_at.ToMicroseconds(),
            )
            for number, record in enumerate(fleet.records(machine), 1)
        ]
        opened.deliver(arrivals).result()
        opened.see(Sighting(machine.id, arrivals[-1].received_at, enrolled_at=BEGIN)).result()
    asyncio.run(ChangeUpkeep(opened, Here()).round())
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def snapshot(played: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("snapshot") / "copy.duckdb"
    played.try_again().result()  # the log goes into the file
    played.hold().result()
    shutil.copyfile(played.path, path)
    played.release().result()
    return path


PERIODS = {
    "whole": Period(since=0, as_of=BEGIN + 400 * DAY),
    "part": Period(
        since=BEGIN + 20 * DAY,
        as_of=BEGIN + 60 * DAY,
        where="chip LIKE 'Apple M%' -- those only",
        checks=frozenset({"bench_matmul", "torch_basics", "peft_lora"}),
    ),
    "then": Period(since=BEGIN, as_of=BEGIN + 30 * DAY, is_now=False),
}


@pytest.fixture(scope="module", params=list(PERIODS))
def answers(
    request: pytest.FixtureRequest, played: Store, snapshot: Path, analysis: Analysis
) -> tuple[Any, dict[str, list[dict[str, Any]]]]:
    """The report, and what each of its statements gives."""
    question = Question(explain=True, pins=(Pin("torch", ">=2.10"), Pin("sentencepiece", "==99")))
    with played.reader() as connection:
        said = report.fleet_report(connection, PERIODS[request.param], question, analysis)
    return said, {one.section: rows_of(snapshot, one.sql) for one in said.explanations}


def rows_of(snapshot: Path, sql: str) -> list[dict[str, Any]]:
    request = {
        "snapshot": str(snapshot),
        "sql": sql,
        "form": Form.STREAM,
        "parameters": [],
        "arrow_parameters": "",
        "metadata": {},
        "describes": False,
        "is_condition": False,
        "max_rows": 100_000,
        "memory_bytes": 1_000_000_000,
        "seconds": 200,
    }
    done = subprocess.run(
        [sys.executable, "-m", "llmenv_collector.sql.worker"],
        input=json.dumps(request).encode(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stderr.decode()}\n{sql}"
    (*messages_of_arrow, closing) = frames(done.stdout)
    assert "error" not in json.loads(closing), f"{closing.decode()}\n{sql}"
    with pa.ipc.open_stream(b"".join(messages_of_arrow) + END_OF_STREAM) as reader:
        rows: list[dict[str, Any]] = reader.read_all().to_pylist()
    return rows


def frames(answer: bytes) -> Iterator[bytes]:
    """What each holds; the last says how it ended."""
    at = 0
    while at < len(answer):
        _, length = HEADER.unpack_from(answer, at)
        at += HEADER.size + length
        yield answer[at - length : at]


def test_every_section_has_a_statement(answers: Any) -> None:
    _, given = answers
    assert given.keys() - {"coverage", "imported chips"} == SECTIONS.keys()


def test_coverage(answers: Any) -> None:
    said, given = answers
    (row,) = given["coverage"]
    counted = (said.coverage.machines, said.coverage.reporting, said.coverage.runs, said.coverage.results)
    assert counted == (row["machines"], row["reporting"], row["runs"], row["results"])
    assert said.coverage.runs > 0


def test_health(answers: Any) -> None:
    said, given = answers
    expected = {
        (row.machine_id, row.environment_name, row.device, name): WORDS[status]
        for row in said.health
        for name, status in row.statuses.items()
    }
    assert expected == {
        (str(row["machine_id"]), row["environment_name"], row["device"], row["check_name"]): row["status"]
        for row in given["health"]
    }


def test_chips(answers: Any) -> None:
    """Medians, extremes and counts of every row, and no row more or less."""
    said, given = answers
    words = {1: "higher", 2: "lower"}
    expected = {
        (
            row.variant.chip,
            row.variant.gpu_cores,
            row.variant.memory_bytes,
            row.series.device,
            row.series.check_name,
            row.series.case_name,
            row.series.measurement,
            row.series.unit,
            words[row.series.direction],
        ): (row.median.value, row.lowest, row.highest, row.machines, row.results)
        for row in said.chips
    }
    found = {
        tuple(row[name] for name in list(row)[:9]): (
            row["median"],
            row["lowest"],
            row["highest"],
            row["machines"],
            row["results"],
        )
        for row in given["chips"]
    }
    assert expected.keys() == found.keys()
    assert expected
    for key, figures in expected.items():
        assert figures == pytest.approx(found[key], rel=1e-12)


def test_packages(answers: Any) -> None:
    said, given = answers
    expected = {
        (row.package, row.version, status, count, row.machines)
        for row in said.packages
        for status, count in (dict(row.status_counts) or {None: 0}).items()
    }
    assert expected == {
        (row["name"], row["version"], row["status"], row["results"], row["machines"])
        for row in given["packages"]
    }


def test_findings(answers: Any) -> None:
    said, given = answers
    expected = [
        (row.check_name, WORDS[row.status], row.remedy_id, row.cause, list(row.hostnames))
        for row in said.findings
    ]
    assert expected == [
        (row["check_name"], row["status"], row["remedy_id"], row["cause"], row["hostnames"])
        for row in given["findings"]
    ]


def test_flaky(answers: Any) -> None:
    said, given = answers
    expected = {
        (row.machine_id, row.environment_name, row.device, row.check_name, row.changes, row.results)
        for row in said.flaky
    }
    assert expected == {
        (
            str(row["machine_id"]),
            row["environment_name"],
            row["device"],
            row["check_name"],
            row["changes"],
            row["results"],
        )
        for row in given["flaky"]
    }


def test_unsteady(answers: Any) -> None:
    said, given = answers
    names = ("declining", "unstable", "under_thermal_pressure", "results")
    expected = [
        (row.machine_id, row.check_name, *(getattr(row, name) for name in names)) for row in said.unsteady
    ]
    assert expected
    found = [
        (str(row["machine_id"]), row["check_name"], *(row[name] for name in names))
        for row in given["unsteady"]
    ]
    assert sorted(expected) == sorted(found)


def test_changes(answers: Any) -> None:
    """Medians, ratio and interval; of an earlier time, as many points as there were."""
    said, given = answers
    expected = {
        (
            row.machine_id,
            row.series.check_name,
            row.series.case_name,
            row.series.measurement,
            row.series.definition_hash,
            row.changed_at.ToMicroseconds(),
        ): (
            row.is_suspected,
            row.points,
            row.before,
            row.after,
            row.ratio.value,
            row.ratio.low,
            row.ratio.high,
        )
        for row in said.changes
    }
    figures = ("is_suspected", "points", "median_before", "median_after", "ratio", "ratio_low", "ratio_high")
    assert expected == {
        (
            str(row["machine_id"]),
            row["check_name"],
            row["case_name"],
            row["measurement"],
            row["definition_hash"],
            round(row["changed_at"].timestamp() * 1e6),
        ): tuple(row[name] for name in figures)
        for row in given["changes"]
    }


def test_some_changes_are_compared(played: Store) -> None:
    """Else the test of their statement would say nothing."""
    with played.reader() as connection:
        ((confirmed, suspected),) = connection.execute(
            "SELECT count(*) FILTER (NOT is_suspected), count(*) FILTER (is_suspected)"
            " FROM store.change_point WHERE abs(ln(median_after / median_before)) >= ln(1.03)"
        ).fetchall()
    assert confirmed > 0
    assert suspected > 0


def test_verdict_changes(answers: Any) -> None:
    said, given = answers
    expected = {
        (
            row.machine_id,
            row.environment_name,
            row.device,
            row.check_name,
            WORDS[row.before],
            WORDS[row.after],
            row.changed_at.ToMicroseconds(),
        )
        for row in said.verdict_changes
    }
    assert expected == {
        (
            str(row["machine_id"]),
            row["environment_name"],
            row["device"],
            row["check_name"],
            row["former_status"],
            row["status"],
            round(row["changed_at"].timestamp() * 1e6),
        )
        for row in given["verdict_changes"]
    }


def test_exposures(answers: Any) -> None:
    said, given = answers
    expected = {
        row.issue_id: (len(row.exposed), len(row.reproduced), len(row.not_reproduced))
        for row in said.exposures
    }
    assert expected
    assert expected == {
        row["issue_id"]: (row["exposed"], row["reproduced"], row["not_reproduced"])
        for row in given["exposures"]
    }


def test_drifts(answers: Any) -> None:
    said, given = answers
    expected = {
        (row.package, version, count) for row in said.drifts for version, count in row.versions.items()
    }
    assert expected
    assert expected == {(row["name"], row["version"], row["machines"]) for row in given["drifts"]}
    missing = {row.package: len(row.missing) for row in said.drifts}
    assert missing["sentencepiece"] > 0 or missing["torch"] == 0


STRATUM = ("chip", "gpu_cores", "memory_bytes", "definition_hash", "parameters_json")


def versions_of(row: dict[str, Any]) -> dict[str, str]:
    """By package, also of Python and macOS."""
    versions = dict(one.split(" ", 1) for one in row["versions"]) | {"python": row["python"]}
    return versions | ({"macos": row["macos"]} if row["macos"] else {})


def cells_of(rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], dict[tuple[Any, ...], dict[str, Any]]]:
    """By series; in each by machine, chip variant and versions."""
    found: dict[tuple[Any, ...], dict[tuple[Any, ...], dict[str, Any]]] = {}
    for row in rows:
        versions = versions_of(row)
        variant = row["chip"], row["gpu_cores"], row["memory_bytes"]
        key = str(row["machine_id"]), variant, frozenset(versions.items())
        series = (row["check_name"], row["case_name"], row["measurement"], row["device"])
        found.setdefault((*series, row["definition_hash"], row["parameters_json"]), {})[key] = row
    return found


def series_of(series: Any) -> tuple[Any, ...]:
    named = series.check_name, series.case_name, series.measurement, series.device
    return (*named, series.definition_hash, series.parameters_json)


def test_effects(answers: Any) -> None:
    """What was compared within machines with all else equal: the same ratio and results, from the medians."""
    said, given = answers
    cells, compared = cells_of(given["effects"]), 0
    for row in said.effects:
        if row.pairing != messages.PAIRING_WITHIN_MACHINE or row.confounded_with:
            continue
        aside = {row.package, *companions(row.package)}
        sides: tuple[dict[Any, Any], dict[Any, Any]] = ({}, {})
        for (machine, variant, versions), cell in cells[series_of(row.series)].items():
            version = dict(versions).get(row.package)
            if version in {row.baseline, row.candidate}:
                rest = frozenset(one for one in versions if one[0] not in aside)
                sides[version == row.candidate][machine, variant, rest] = cell
        pairs = [(sides[1][key], sides[0][key]) for key in sides[0].keys() & sides[1].keys()]
        ratio = statistics.median(math.log(new["median"] / old["median"]) for new, old in pairs)
        assert math.exp(ratio) == pytest.approx(row.ratio.value, rel=1e-9)
        assert sum(new["results"] for new, _ in pairs) == row.candidate_results
        assert sum(old["results"] for _, old in pairs) == row.baseline_results
        compared += 1
    assert compared > 0


def test_outliers(answers: Any) -> None:
    """Each of the report's, with as many others, and with the same ratio where it is the only one."""
    said, given = answers
    if not said.coverage.HasField("since"):
        assert said.outliers
    cells = cells_of(given["outliers"])
    alone = Counter(series_of(row.series) for row in said.outliers)
    for row in said.outliers:
        variant = row.variant.chip, row.variant.gpu_cores, row.variant.memory_bytes
        cell = cells[series_of(row.series)][row.machine_id, variant, frozenset(row.versions.items())]
        assert cell["others"] == row.others
        if alone[series_of(row.series)] == 1:
            assert cell["ratio"] == pytest.approx(row.ratio, rel=1e-9)


def test_verdict_effects(answers: Any) -> None:
    """With all else equal: as many machines, and as many whose last verdict is bad, on each side."""
    said, given = answers
    compared = 0
    for row in said.verdict_effects:
        if row.confounded_with:
            continue
        aside = {row.package, *companions(row.package)}
        sides: tuple[dict[Any, bool], dict[Any, bool]] = ({}, {})
        for one in given["verdict_effects"]:
            versions = versions_of(one)
            version = versions.get(row.package)
            named = (one["check_name"], one["device"]) == (row.check_name, row.device)
            if named and version in {row.baseline, row.candidate}:
                rest = frozenset((name, said) for name, said in versions.items() if name not in aside)
                stratum = (*(one[name] for name in STRATUM), rest)
                sides[version == row.candidate][str(one["machine_id"]), stratum] = one["fails_last"]
        is_paired = row.pairing == messages.PAIRING_WITHIN_MACHINE
        units = [{key if is_paired else key[1] for key in side} for side in sides]
        kept = [
            [
                (key[0], fails)
                for key, fails in side.items()
                if (key if is_paired else key[1]) in units[0] & units[1]
            ]
            for side in sides
        ]
        machines = [{machine for machine, _ in side} for side in kept]
        failing = [{machine for machine, fails in side if fails} for side in kept]
        assert (row.baseline_machines, row.candidate_machines) == tuple(map(len, machines))
        assert (row.baseline_failing, row.candidate_failing) == tuple(map(len, failing))
        compared += 1
    assert compared > 0
