"""How other systems are compared: the same runs for all, one answer, and no figure of what did not run."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
import sys
from pathlib import Path

import pytest
from llmenv.fleet.v1 import agent_service_pb2 as wire
from llmenv.fleet.v1 import record_pb2, result_pb2
from llmenv_agent.simulation.fleet import Fleet

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
import peers
from systems import collector, influxdb, postgres, prometheus
from systems.runs import ASKED_NAME, Answer, Run, expected_answer, histories
from systems.server import NotInstalledError, NotMeasuredError, program
from systems.system import BULK_RUNS, Shape, System, batches
from systems.table import Row, table

MACHINES = 2


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return Fleet(seed=1, machines=MACHINES, days=120, runs_per_day=0.05)


@pytest.fixture(scope="module")
def work(fleet: Fleet) -> peers.Work:
    return peers.made(fleet)


@pytest.fixture(scope="module")
def run(work: peers.Work) -> Run:
    return work.histories[0][0]


def test_a_run_has_the_measurements_of_its_records(run: Run) -> None:
    """Peers and llmenv get the same figures."""
    records = map(record_pb2.Record.FromString, run.records)
    sent = [one.value for record in records for one in measurements_of(record)]

    assert sorted(sent) == sorted(figure.value for figure in run.figures)
    assert len(sent) > 50


def test_the_answer_is_of_the_window_alone(run: Run) -> None:
    """A run before it does not count, one at its beginning does."""
    since = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    decoding = next(figure for figure in run.figures if figure.name == ASKED_NAME)

    def at(days: float, value: float) -> Run:
        figure = dataclasses.replace(decoding, value=value)
        return dataclasses.replace(run, started_at=since + dt.timedelta(days=days), figures=[figure])

    runs = [at(-0.1, 1000.0), at(0, 10.0), at(1, 20.0), at(2, 40.0)]

    assert expected_answer(runs, since=since) == {(run.chip, run.versions["torch"]): 20.0}


def test_the_same_seed_gives_the_same_runs(work: peers.Work, fleet: Fleet) -> None:
    """So each system is given the same."""
    again = histories(Fleet(seed=1, machines=MACHINES, days=120, runs_per_day=0.05))

    assert again == work.histories
    assert work.since == fleet.begins_at + dt.timedelta(days=30)
    assert any(each.started_at < work.since for each in work.histories[0])


def test_lines_of_influxdb_hold_every_figure(run: Run) -> None:
    """Escaped as its line protocol wants it, in milliseconds."""
    lines = list(influxdb.lines(run))

    values = [
        float(value) for line in lines for value in re.findall(r"[ ,]\w+=([^ ,=]+)(?=[ ,])", fields(line))
    ]
    assert sorted(values) == sorted(figure.value for figure in run.figures)
    assert all(run.chip.replace(" ", "\\ ") in line for line in lines)
    assert {line.rsplit(" ", 1)[1] for line in lines} == {str(run.started_ms)}


def fields(line: str) -> str:
    """What stands between the tags and the time, with a space on both sides."""
    _, found, _ = re.split(r"(?<!\\) ", line)
    return f" {found} "


def test_a_copy_of_postgresql_is_one_transaction(work: peers.Work) -> None:
    """A row a run, and a row a figure."""
    runs = work.histories[0][:2]

    script = postgres.copied(runs)

    assert script.startswith("BEGIN;\n")
    assert script.endswith("COMMIT;\n")
    _, of_runs, of_figures = script.split(" FROM STDIN CSV;\n")
    assert len(of_runs.split("\\.\n")[0].splitlines()) == 2
    assert len(of_figures.split("\\.\n")[0].splitlines()) == sum(len(each.figures) for each in runs)


def test_a_push_is_a_group_of_one_run(run: Run) -> None:
    """Its labels in the path, since a pushgateway takes no times and keeps the last push alone."""
    text = prometheus.exposed(run, number=7).decode()

    assert prometheus.pushed_to(run).startswith(
        f"/metrics/job/llmenv/run/{run.run_id}/machine/{run.machine}/"
    )
    assert " " not in prometheus.pushed_to(run)
    assert len([line for line in text.splitlines() if not line.startswith("#")]) == 2 + len(run.figures)
    assert "llmenv_round 7\n" in text
    assert text.endswith("\n")


@pytest.mark.parametrize("shape", list(Shape), ids=lambda shape: shape.name.lower())
def test_messages_to_the_collector_are_contiguous(work: peers.Work, shape: Shape) -> None:
    """A run each or as many records as an agent puts together, in the order of the spool."""
    runs = [list(each.records) for each in work.histories[0]]

    messages = list(collector.messages(runs, shape))

    sent = [wire.ConnectRequest.FromString(each.content).records.records for each in messages]
    records = [record for batch in sent for record in batch]
    assert [each.record for each in records] == [record for each in runs for record in each]
    assert [each.sequence for each in records] == list(range(1, len(records) + 1))
    assert [each.last_sequence for each in messages] == [batch[-1].sequence for batch in sent]
    if shape is Shape.ONE_RUN:
        assert [len(batch) for batch in sent] == [len(each) for each in runs]
    else:
        assert all(len(batch) <= collector.BATCH_RECORDS for batch in sent)
        assert len(sent) < len(runs)


def test_trials_can_be_left_out(run: Run) -> None:
    """And nothing else: the values are there."""
    whole = [record_pb2.Record.FromString(content) for content in run.records]
    spare = [record_pb2.Record.FromString(collector.without_trials(content)) for content in run.records]

    assert any(one.trials and one.warmups for each in whole for one in measurements_of(each))
    assert not any(one.trials or one.warmups for each in spare for one in measurements_of(each))
    for record in whole:
        for one in measurements_of(record):
            del one.trials[:], one.warmups[:]
    assert spare == whole


def measurements_of(record: record_pb2.Record) -> list[result_pb2.Measurement]:
    result = record.check_finished.result
    return [one for holder in (result, *result.cases) for one in holder.measurements]


def test_bulk_is_many_runs_a_message(work: peers.Work) -> None:
    """One run each in the other shape."""
    history = work.histories[0] * 60

    assert [len(batch) for batch in batches(history, Shape.ONE_RUN)] == [1] * len(history)
    assert max(len(batch) for batch in batches(history, Shape.BULK)) == BULK_RUNS
    assert sum(len(batch) for batch in batches(history, Shape.BULK)) == len(history)


@pytest.mark.parametrize(
    "answer",
    [{}, {("M1", "2.9"): 1.0, ("M2", "2.9"): 1.0}, {("M1", "2.9"): 1.000001}],
    ids=["nothing", "more", "another value"],
)
def test_who_answers_otherwise_has_no_figures(answer: Answer) -> None:
    """The comparison is right or is none."""
    with pytest.raises(NotMeasuredError, match="answers otherwise than Python"):
        peers.require_agreement(answer, {("M1", "2.9"): 1.0})


def test_what_is_not_installed_says_so_and_has_no_number(tmp_path: Path) -> None:
    """In one line, with the package that is missing."""
    with pytest.raises(NotInstalledError) as raised:
        program("no-such-server", package="no-such-package", folder=tmp_path)
    ours = Row(system=postgres.Postgres(is_indexed=False), rates={Shape.ONE_RUN: 10.0}, peak_bytes=1e6)
    absent = Row(system=influxdb.InfluxDb(), reason=str(raised.value))

    line = list(table([ours, absent]))[-1]

    assert line.split() == [
        "InfluxDB",
        "not",
        "installed:",
        "no-such-server,",
        "of",
        "Debian's",
        "package",
        "no-such-package",
    ]


def test_root_without_the_user_of_postgresql_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses to run as root, which is no failure of a comparison."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(postgres, "USER", "nobody-has-this-name")

    with pytest.raises(NotInstalledError, match="not installed: the user nobody-has-this-name"):
        postgres.version()


def test_a_table_has_ratios_to_the_first_row() -> None:
    """Smaller than a hundred with a decimal; a figure that there is none of is a dash."""
    ours = Row(
        system=postgres.Postgres(is_indexed=False), rates={Shape.ONE_RUN: 1000.0}, answer_seconds=0.002
    )
    other = Row(system=influxdb.InfluxDb(), rates={Shape.ONE_RUN: 500.0}, answer_seconds=0.06)

    _, _, first, second = table([ours, other])

    assert first.split() == ["PostgreSQL", "1,000", "1.00", *"----", "2.0", "1.00"]
    assert second.split() == ["InfluxDB", "500", "0.50", *"----", "60.0", "30.0"]


def test_figures_are_against_the_best_peer() -> None:
    """Systems that were not measured do not count."""

    def row(system: System, rate: float, seconds: float, reason: str = "") -> Row:
        return Row(system=system, rates={Shape.ONE_RUN: rate}, answer_seconds=seconds, reason=reason)

    rows = [
        row(collector.Collector([]), 1000.0, 0.02),
        row(collector.Collector([], with_trials=False), 9000.0, 0.001),
        row(influxdb.InfluxDb(), 500.0, 0.03),
        row(prometheus.Prometheus(), 800.0, 0.04),
        row(postgres.Postgres(is_indexed=True), 5000.0, 0.001, reason="not installed: postgres"),
    ]

    ingest, question = peers.figures(rows)

    assert (ingest["figure"], ingest["holds"]) == (1.25, True)
    assert (question["figure"], question["holds"]) == (1.5, True)
    json.dumps([ingest, question])


@pytest.mark.parametrize(
    "name",
    [
        "llmenv, no trials",
        "MLflow, SQLite",
        "MLflow, PostgreSQL",
        "InfluxDB",
        "Prometheus",
        "PostgreSQL, indexed",
    ],
)
def test_each_system_keeps_the_runs_and_answers(
    name: str, fleet: Fleet, work: peers.Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Served for real with a handful of runs; what is not on this machine is skipped."""
    monkeypatch.setattr(peers, "ASKED_TIMES", 1)
    (system,) = (each for each in peers.systems(fleet) if each.name == name)

    row = peers.measured(system, work)
    if "its server ended" in row.reason:
        # Another test's server may have taken its port between that it was found free and its start.
        row = peers.measured(system, work)

    if row.reason.startswith("not installed"):
        pytest.skip(row.reason)
    assert row.reason == ""
    assert set(row.rates) == set(system.shapes)
    assert all(
        figure > 0 for figure in [*row.rates.values(), row.peak_bytes, row.bytes_each, row.answer_seconds]
    )
