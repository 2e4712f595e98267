"""The statements of docs/questions.md find what was planted in a simulated fleet, and nothing else."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from typing import TYPE_CHECKING, Any

import pytest
from llmenv.ids import new_id
from llmenv_agent.simulation.effects import (
    Drift,
    Failing,
    Flaky,
    Outlier,
    Regression,
    Silence,
    Throttling,
)
from llmenv_agent.simulation.fleet import Fleet
from llmenv_agent.simulation.plan import Plan
from llmenv_collector.delivery.ingest import Arrival
from llmenv_collector.delivery.sighting import Sighting
from llmenv_collector.sql import people_duckdb
from llmenv_collector.sql.statement_rules import only_select
from llmenv_collector.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmenv.fleet.v1 import record_pb2
    from llmenv_agent.simulation.truth import Truth

M2_ULTRA = "Apple M2 Ultra"
SLOWER, FASTER_TORCH, OUTLIER, DRIFTING, HOT, FLAKY, SILENT, AWAY = 0, 2, 4, 7, 10, 12, 13, 16
PLAN = Plan(
    regressions=(
        Regression(
            package="macos",
            versions=("26.3", "26.5"),
            check="bench_generation",
            workload="decode",
            factor=0.9,
            chips=(M2_ULTRA,),
        ),
        Regression(
            package="torch", versions=("2.11.0", "2.12.0"), check="bench_lora", workload="step", factor=0.88
        ),
    ),
    outliers=(Outlier(machine=OUTLIER, factor=0.85),),
    drifts=(Drift(machine=DRIFTING, from_day=5, loss_per_day=0.0025),),
    throttling=(Throttling(machine=HOT, share=0.6, loss=0.18),),
    flaky=(Flaky(machine=FLAKY, check="peft_lora", requirement="adapter_reloads", share=0.3),),
    failing=(
        Failing(
            package="torch",
            versions=("2.10.0",),
            check="torch_basics",
            requirement="matmul_float32",
            chips=(M2_ULTRA,),
            remedy_id="KI039",
        ),
    ),
    silences=(Silence(machine=SILENT, from_day=30),),
)
SECOND, DAY = 1_000_000, 86_400_000_000
EVENING = dt.datetime(2026, 2, 1, 20, tzinfo=dt.UTC)
AWAY_DAYS = 12


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return Fleet(seed=7, machines=20, days=75, plan=PLAN, runs_per_day=0.45)


@pytest.fixture(scope="module")
def truth(fleet: Fleet) -> Truth:
    return fleet.truth


@pytest.fixture(scope="module")
def played(fleet: Fleet) -> dict[str, list[record_pb2.Record]]:
    """The records of each machine by its hostname."""
    return {machine.hostname: list(fleet.records(machine)) for machine in fleet.machines}


@pytest.fixture(scope="module")
def ask(
    fleet: Fleet,
    played: dict[str, list[record_pb2.Record]],
    docs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., list[dict[str, Any]]]:
    """Asks a question of the page, by words of its heading, as people's statements are asked."""
    path = tmp_path_factory.mktemp("questions") / "llmenv.duckdb"
    with contextlib.closing(Store(path)) as store:
        for machine in fleet.machines:
            delay = AWAY_DAYS * DAY if machine.index == AWAY else SECOND
            arrivals = arrivals_of(machine.id, played[machine.hostname], delay=delay)
            assert store.deliver(arrivals).result().rejections == ()
            store.see(Sighting(machine.id, seen_at=arrivals[-1].received_at, enrolled_at=1)).result()
    page = (docs / "questions.md").read_text(encoding="utf-8")
    statements = dict(re.findall(r"\n## ([^\n]+)\n.*?```sql\n(.*?)```", page, flags=re.DOTALL))
    assert len(statements) == 12

    def answer(words: str, **parameters: Any) -> list[dict[str, Any]]:
        (statement,) = [text for heading, text in statements.items() if words in heading]
        connection = people_duckdb.connect(str(path), memory_bytes=1 << 30)
        try:
            asked = only_select(connection, statement).query
            relation = connection.sql(asked, params=parameters) if parameters else connection.sql(asked)
            rows: list[dict[str, Any]] = relation.to_arrow_table().to_pylist()
        finally:
            connection.close()
        return rows

    return answer


def arrivals_of(machine_id: str, records: list[record_pb2.Record], *, delay: int) -> list[Arrival]:
    """One delivery, each record so many microseconds after it was measured."""
    spool_id = new_id()
    return [
        Arrival(
            spool_id,
            machine_id,
            1,
            number,
            record.SerializeToString(),
            received_at=record.measured_at.ToMicroseconds() + delay,
        )
        for number, record in enumerate(records, 1)
    ]


def hostname(fleet: Fleet, index: int) -> str:
    return fleet.machines[index].hostname


def upgraded(truth: Truth, package: str, *versions: str) -> dict[str, str]:
    """When each machine first had one of them."""
    times: dict[str, str] = {}
    for change in truth.changes:
        if change.package == package and change.version in versions:
            times[change.hostname] = min(change.at, times.get(change.hostname, change.at))
    return times


Ask = Any


def test_decode_speed_since_macos_26_3(ask: Ask, truth: Truth) -> None:
    """The machines with the chip that is affected that have that macOS, by a tenth."""
    affected = set(truth.regressions[0].hostnames)
    rows = ask("decode speed")
    assert {row["hostname"] for row in rows} == affected
    assert len(affected) >= 6
    assert [row["ratio"] for row in rows] == pytest.approx([0.9] * len(rows), abs=0.04)


def test_version_of_torch(ask: Ask) -> None:
    """The step into 2.11.0, or past it, costs an eighth; no other step does."""
    rows = ask("LoRA slower")
    steps = {(row["former"], row["version"]): row["ratio"] for row in rows if row["machines"] >= 3}
    assert steps["2.10.0", "2.11.0"] == pytest.approx(0.88, abs=0.03)
    assert steps["2.9.1", "2.10.0"] == pytest.approx(1, abs=0.03)
    assert steps["2.11.0", "2.12.0"] == pytest.approx(1, abs=0.03)


def test_slower_than_its_chip(ask: Ask, fleet: Fleet) -> None:
    """The outlier, by its factor, and nobody else."""
    (row,) = ask("slower than others")
    assert row["hostname"] == hostname(fleet, OUTLIER)
    assert row["ratio"] == pytest.approx(0.85, abs=0.04)


def test_what_fails_where(ask: Ask) -> None:
    """torch_basics, with one version, on one chip, with its remedy."""
    rows = ask("What fails")
    kinds = {(row["check_name"], row["remedy_id"], row["chip"], row["torch"]) for row in rows}
    assert kinds == {("torch_basics", "KI039", M2_ULTRA, "2.10.0")}


def test_flaky(ask: Ask, fleet: Fleet) -> None:
    """The one that was planted."""
    rows = ask("now and then")
    assert {(row["hostname"], row["check_name"]) for row in rows} == {(hostname(fleet, FLAKY), "peft_lora")}


def test_silent(ask: Ask, fleet: Fleet, truth: Truth) -> None:
    """Since the day that was planted."""
    (row,) = ask("silent")
    assert row["hostname"] == hostname(fleet, SILENT)
    assert row["last_run"] <= dt.datetime.fromisoformat(truth.silences[0].since)


def test_throttling(ask: Ask, fleet: Fleet) -> None:
    """The hot one."""
    assert [row["hostname"] for row in ask("throttle")] == [hostname(fleet, HOT)]


def test_growing_slower(ask: Ask, fleet: Fleet) -> None:
    """A quarter of a percent a day."""
    (row,) = ask("week to week")
    assert row["hostname"] == hostname(fleet, DRIFTING)
    # Of its median, which is 9 % below where it began.
    assert row["per_week"] == pytest.approx(-7 * 0.0025 / 0.91, rel=0.3)


def test_who_is_behind(ask: Ask, truth: Truth) -> None:
    """Machines whose last upgrade of torch that was heard of was to another version than the newest."""
    silent_since = {each.hostname: each.since for each in truth.silences}
    last = {each.hostname: "2.9.1" for each in truth.machines}
    for change in sorted(truth.changes, key=lambda each: each.at):
        if change.package == "torch" and change.at < silent_since.get(change.hostname, "9999"):
            last[change.hostname] = change.version
    behind = {(name, version) for name, version in last.items() if version != "2.12.0"}
    assert {(row["hostname"], row["version"]) for row in ask("which torch now")} == behind
    assert 0 < len(behind) < len(last)


def test_on_battery(ask: Ask, played: dict[str, list[record_pb2.Record]]) -> None:
    """As many runs of each machine as were played on battery."""
    played_on_battery = {
        name: len(
            {
                record.check_finished.run_id
                for record in records
                if record.check_finished.result.conditions_before.power_source == "battery"
            }
        )
        for name, records in played.items()
    }
    expected = {name: runs for name, runs in played_on_battery.items() if runs}
    assert {row["hostname"]: row["runs"] for row in ask("battery")} == expected
    assert expected


def test_since_when_macos_26_3(ask: Ask, truth: Truth) -> None:
    """The first run after the upgrade."""
    upgrades = upgraded(truth, "macos", "26.3", "26.5")
    rows = {row["hostname"]: row["since"] for row in ask("macOS 26.3 or later")}
    assert set(rows) <= set(upgrades)
    for name, since in rows.items():
        waited = since - dt.datetime.fromisoformat(upgrades[name])
        assert dt.timedelta(0) <= waited < dt.timedelta(days=12)


def test_what_was_not_known_yet(ask: Ask, fleet: Fleet, played: dict[str, list[record_pb2.Record]]) -> None:
    """Twelve days of the machine that was away."""
    (row,) = ask("not know yet", evening=EVENING)
    away = hostname(fleet, AWAY)
    first = EVENING - dt.timedelta(days=AWAY_DAYS)
    missing = [
        record
        for record in played[away]
        if record.HasField("check_finished")
        and first < record.measured_at.ToDatetime(tzinfo=dt.UTC)
        and record.check_finished.result.started_at.ToDatetime(tzinfo=dt.UTC) <= EVENING
    ]
    assert (row["hostname"], row["results"]) == (away, len(missing))
