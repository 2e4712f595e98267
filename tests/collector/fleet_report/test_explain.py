"""Each section's statement, run where people's SQL runs, gives the section's figures."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from llmenv.catalog.status import WORDS
from llmenv.ids import new_id
from llmenv_agent.simulation.fleet import Fleet
from llmenv_collector.changes.upkeep import ChangeUpkeep
from llmenv_collector.delivery.ingest import Arrival
from llmenv_collector.delivery.sighting import Sighting
from llmenv_collector.fleet_report import report
from llmenv_collector.fleet_report.period import Period
from llmenv_collector.fleet_report.question import Pin, Question
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
