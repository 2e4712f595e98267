"""Simulated fleets: the same seed gives the same records, and what is planted is there and nowhere else."""

from __future__ import annotations

import itertools
import json
import statistics
from typing import TYPE_CHECKING

import pytest
from llmenv.catalog.texts import tables
from llmenv.fleet.v1 import result_pb2
from llmenv_agent.definitions import read_definitions
from llmenv_agent.simulation.effects import (
    Drift,
    Failing,
    Flaky,
    Outlier,
    Redefinition,
    Regression,
    Silence,
    Step,
    Throttling,
)
from llmenv_agent.simulation.fleet import Fleet
from llmenv_agent.simulation.plan import Plan
from llmenv_agent.simulation.suite import PLAYED
from llmenv_agent.simulation.truth import read_truth

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STILL = {"upgrades": False, "withheld_share": 0.0, "absent_share": 0.0}
LORA = ("bench_lora", "llama/float32", "tokens_per_second")


def results(fleet: Fleet, index: int = 0) -> Iterator[result_pb2.Result]:
    for record in fleet.records(fleet.machines[index]):
        if record.HasField("check_finished"):
            yield record.check_finished.result


def measured(result: result_pb2.Result) -> dict[tuple[str, str], result_pb2.Measurement]:
    """By case and name."""
    own = {("", each.name): each for each in result.measurements}
    return own | {(case.name, each.name): each for case in result.cases for each in case.measurements}


def series(fleet: Fleet, measurement: tuple[str, str, str], index: int = 0) -> list[float]:
    check, *key = measurement
    found = [measured(each) for each in results(fleet, index) if each.check_name == check]
    return [each[key[0], key[1]].value for each in found if each]


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    """Also when only one machine of the fleet is asked, or one twice."""

    def history(seed: int) -> list[bytes]:
        fleet = Fleet(seed=seed, machines=3, days=6)
        return [record.SerializeToString(deterministic=True) for record in fleet.records(fleet.machines[2])]

    assert history(1) == history(1)
    assert history(1) != history(2)


def test_records_come_as_an_agent_spools_them() -> None:
    """A snapshot of the environment, then per run: start, each check's start and end, the end."""
    fleet = Fleet(seed=1, machines=1, days=2, plan=Plan(upgrades=False, absent_share=0.0))
    records = list(fleet.records(fleet.machines[0]))
    assert [record.WhichOneof("kind") for record in records] == [
        "environment_snapshot",
        *(["run_started", *["check_started", "check_finished"] * len(PLAYED), "run_finished"] * 2),
    ]
    moments = [record.measured_at.ToDatetime() for record in records]
    assert moments == sorted(moments)
    assert len({record.record_id for record in records}) == len(records)
    assert {record.machine_id for record in records} == {fleet.machines[0].id}
    started, finished = records[2].check_started, records[3].check_finished
    assert started.run_id == finished.run_id == records[1].run_started.run.run_id
    assert started.result_id == finished.result.result_id


def test_a_run_is_about_sixty_measurements_of_real_checks() -> None:
    """Names of checks, definitions and parameters are those of this agent; sentences are in the catalogue."""
    fleet = Fleet(seed=1, machines=1, days=1, plan=Plan(**STILL))
    run = list(results(fleet))
    definitions, sentences = read_definitions(), tables("zh")["sentences"]
    assert 55 <= sum(len(measured(result)) for result in run) <= 70
    for result in run:
        definition = definitions[result.check_name]
        assert result.definition_hash == definition.definition_hash
        assert json.loads(result.parameters_json).keys() == definition.parameters.keys()
        for sentence in (result.reason, *(case.reason for case in result.cases)):
            assert sentence.template in sentences, sentence.template
            assert sentence.text == sentence.template.format(**sentence.values)
        for measurement in measured(result).values():
            if measurement.trials:
                assert measurement.value == pytest.approx(statistics.median(measurement.trials))


def test_a_regression_is_where_its_version_is_and_nowhere_else() -> None:
    """With the same seed the planted fleet differs from the plain one in that figure alone, by the ratio."""
    planted = Regression(
        package="torch", versions=("2.11.0", "2.12.0"), check="bench_lora", workload="step", factor=0.9
    )
    plain = Fleet(seed=4, machines=6, days=60, plan=Plan(absent_share=0.0, withheld_share=0.0))
    fleet = Fleet(
        seed=4,
        machines=6,
        days=60,
        plan=Plan(absent_share=0.0, withheld_share=0.0, regressions=(planted,)),
    )
    (regression,) = fleet.truth.regressions
    for machine in fleet.machines:
        torch = [
            change
            for change in fleet.truth.changes
            if change.hostname == machine.hostname and change.package == "torch"
        ]
        ratios = [
            after / before
            for after, before in zip(
                series(fleet, LORA, machine.index), series(plain, LORA, machine.index), strict=True
            )
        ]
        is_affected = any(change.version in planted.versions for change in torch)
        assert (machine.hostname in regression.hostnames) is is_affected
        assert {round(each, 6) for each in ratios} == ({0.9, 1.0} if is_affected else {1.0})
    other = ("bench_matmul", "float32/4096", "matmul_rate")
    assert series(fleet, other) == series(plain, other)
    assert [(each.measurement, each.ratio) for each in regression.measurements] == [
        ("tokens_per_second", 0.9)
    ]


def test_single_machines_are_off_from_their_day_on() -> None:
    """A step, an outlier, a drift and a silence, each on its own machine and in the truth."""
    plain = Fleet(seed=2, machines=4, days=40, plan=Plan(**STILL))
    fleet = Fleet(
        seed=2,
        machines=4,
        days=40,
        plan=Plan(
            **STILL,
            steps=(Step(machine=0, day=20, check="bench_lora", workload="step", factor=0.9),),
            outliers=(Outlier(machine=1, factor=0.92),),
            drifts=(Drift(machine=2, from_day=10, loss_per_day=0.01, most_lost=0.1),),
            silences=(Silence(machine=3, from_day=30),),
        ),
    )

    def ratios(index: int) -> list[float]:
        pairs = zip(series(fleet, LORA, index), series(plain, LORA, index), strict=False)
        return [after / before for after, before in pairs]

    assert [round(each, 6) for each in ratios(0)] == [1.0] * 20 + [0.9] * 20
    assert ratios(1) == pytest.approx([0.92] * 40)
    assert ratios(2)[:10] == pytest.approx([1.0] * 10)
    assert ratios(2)[-1] == pytest.approx(0.9)
    assert len(series(fleet, LORA, 3)) == 30
    hostnames = [machine.hostname for machine in fleet.machines]
    truth = fleet.truth
    assert [truth.steps[0].hostname, truth.outliers[0].hostname] == hostnames[:2]
    assert [truth.drifts[0].hostname, truth.silences[0].hostname] == hostnames[2:]


def test_verdicts_fail_where_they_are_planted() -> None:
    """A failing version on its chips with its remedy; a flaky check now and then; anywhere else none."""
    chip = Fleet(seed=3, machines=20, days=1).machines[0].model.chip
    fleet = Fleet(
        seed=3,
        machines=20,
        days=60,
        plan=Plan(
            failing=(
                Failing(
                    package="torch",
                    versions=("2.10.0",),
                    check="torch_basics",
                    requirement="matmul_float32",
                    chips=(chip,),
                    remedy_id="KI039",
                ),
            ),
            flaky=(Flaky(machine=1, check="peft_lora", requirement="adapter_reloads", share=0.3),),
        ),
    )
    failures = {
        (machine.hostname, result.check_name, result.remedy_id)
        for machine in fleet.machines[:4]
        for result in results(fleet, machine.index)
        if result.status == result_pb2.STATUS_FAIL
    }
    affected = set(fleet.truth.failures[0].hostnames)
    names = [machine.hostname for machine in fleet.machines[:4]]
    assert failures == {(name, "torch_basics", "KI039") for name in names if name in affected} | {
        (names[1], "peft_lora", "")
    }
    verdicts = [each.status for each in results(fleet, 1) if each.check_name == "peft_lora"]
    assert 0.1 < verdicts.count(result_pb2.STATUS_FAIL) / len(verdicts) < 0.5


def test_a_throttled_run_shows_it() -> None:
    """Trials decline, the median with them, and the thermal pressure rises."""
    fleet = Fleet(
        seed=5,
        machines=1,
        days=3,
        plan=Plan(**STILL, throttling=(Throttling(machine=0, share=1.0, loss=0.3),)),
    )
    result = next(each for each in results(fleet) if each.check_name == "bench_lora")
    measurement = measured(result)["llama/float32", "tokens_per_second"]
    assert measurement.stability == result_pb2.STABILITY_DECLINING
    assert measurement.trials[-1] < 0.8 * measurement.trials[0]
    assert result.conditions_after.thermal_pressure == "heavy"


def test_a_check_that_is_defined_anew_has_another_hash() -> None:
    """Before the day one definition, from then on the agent's own, and another level."""
    plan = Plan(**STILL, redefinitions=(Redefinition(check="torch_training", day=5, factor=1.5),))
    fleet = Fleet(seed=6, machines=1, days=10, plan=plan)
    hashes = [each.definition_hash for each in results(fleet) if each.check_name == "torch_training"]
    assert [len(list(group)) for _, group in itertools.groupby(hashes)] == [5, 5]
    assert hashes[-1] == read_definitions()["torch_training"].definition_hash


def test_truth_survives_its_file(tmp_path: Path) -> None:
    """A typical plan, written and read."""
    truth = Fleet(seed=7, machines=30, days=90).truth
    truth.write(tmp_path / "truth.json")
    assert read_truth(tmp_path / "truth.json") == truth
    assert len({machine.hostname for machine in truth.machines}) == 30


def test_cohorts_are_of_equal_size() -> None:
    """Machines of one chip, cores and memory: about ten each, also in a large fleet."""
    for count in (8, 40, 200):
        fleet = Fleet(seed=1, machines=count, days=1)
        kinds = [machine.model for machine in fleet.machines]
        assert min(kinds.count(kind) for kind in kinds) >= 8


def test_records_fit_into_a_spool() -> None:
    """None comes near the bound of a record."""
    fleet = Fleet(seed=1, machines=1, days=1)
    sizes = [record.ByteSize() for record in fleet.records(fleet.machines[0])]
    assert max(sizes) < 64 * 1024


def test_what_is_not_planted_does_not_change() -> None:
    """Errors, losses and counts stay as they are on a machine, whatever is upgraded."""
    fleet = Fleet(seed=8, machines=1, days=60, plan=Plan())
    values: dict[tuple[str, str, str], set[float]] = {}
    for result in results(fleet):
        for (case, name), measurement in measured(result).items():
            if not name.endswith(("seconds", "rate", "_per_second", "bandwidth", "_peak", "millisecond")):
                values.setdefault((result.check_name, case, name), set()).add(measurement.value)
    assert len(values) > 25
    assert [key for key, found in values.items() if len(found) > 1] == []
    assert len(fleet.truth.changes) > 2


def test_copied_runs_have_their_own_ids_times_and_figures() -> None:
    """What is drawn differs by 2 % at most from the run that is copied; constants, names and shape stay."""
    fleet = Fleet(seed=1, machines=2, days=9, plan=Plan(upgrades=False, absent_share=0.0), copies_runs=True)
    machine = fleet.machines[1]
    records = list(fleet.records(machine))
    kinds = [record.WhichOneof("kind") for record in records]
    run = ["run_started", *["check_started", "check_finished"] * len(PLAYED), "run_finished"]
    assert kinds == ["environment_snapshot", *run * 9]
    assert len({record.record_id for record in records}) == len(records)
    moments = [record.measured_at.ToDatetime() for record in records]
    assert moments == sorted(moments)
    started = [record.run_started.run for record in records if record.HasField("run_started")]
    assert {(each.machine.hostname, each.machine.machine_id) for each in started} == {
        (machine.hostname, machine.id)
    }
    assert len({each.run_id for each in started}) == 9
    found = list(results(fleet, 1))
    assert len({each.result_id for each in found}) == len(found)
    speeds = series(fleet, LORA, 1)
    assert len(set(speeds)) == 9
    assert speeds[0] == pytest.approx(speeds[4], rel=0.041)
    for result in found:
        for measurement in measured(result).values():
            if measurement.trials:
                assert measurement.value == pytest.approx(statistics.median(measurement.trials))
    again = [record.SerializeToString(deterministic=True) for record in fleet.records(machine)]
    assert again == [record.SerializeToString(deterministic=True) for record in records]
