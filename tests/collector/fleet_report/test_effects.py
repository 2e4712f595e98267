"""Effects of versions: what is planted is found, and nothing else is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv_collector.errors import UsageError
from llmenv_collector.fleet_report import period
from llmenv_collector.fleet_report.cells import lay_out_contexts, read_cells
from llmenv_collector.fleet_report.effects import judge_effects
from llmenv_collector.fleet_report.hypotheses import settle
from llmenv_collector.fleet_report.question import Release
from llmenv_collector.fleet_report.steps import Wanted
from llmenv_collector.fleet_report.verdict_effects import judge_verdict_effects, read_verdicts
from llmenv_collector.fleet_report.versions import in_order

if TYPE_CHECKING:
    from .built_fleet import BuiltFleet

NEWER = {"torch": "2.11.0"}


def judged(fleet: BuiltFleet, **wanted: Any) -> list[messages.EffectRow]:
    fleet.deliver()

    def effects(connection: Any, looked_at: Any, *_: Any) -> list[messages.EffectRow]:
        period.lay_out(connection, looked_at)
        period.lay_out_measurements(connection)
        lay_out_contexts(connection)
        return judge_effects(read_cells(connection), Wanted(**wanted))

    rows: list[messages.EffectRow] = fleet.ask(effects)
    settle(rows, minimum_effect=0.03, false_discovery_rate=0.05)
    return rows


def verdicts(fleet: BuiltFleet, **wanted: Any) -> list[messages.VerdictEffectRow]:
    fleet.deliver()

    def effects(connection: Any, looked_at: Any, *_: Any) -> list[messages.VerdictEffectRow]:
        period.lay_out(connection, looked_at)
        lay_out_contexts(connection)
        return judge_verdict_effects(read_verdicts(connection), Wanted(**wanted))

    rows: list[messages.VerdictEffectRow] = fleet.ask(effects)
    settle(rows, minimum_effect=0.03, false_discovery_rate=0.05)
    return rows


def noisy(rng: np.random.Generator, middle: float, cv: float = 0.01) -> dict[str, float]:
    return {"steps_per_second": float(middle * np.exp(rng.normal(0, cv)))}


@pytest.mark.parametrize("lower_is_better", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_a_planted_regression_is_found_on_the_same_machines(
    fleet: BuiltFleet, lower_is_better: bool, scale: float
) -> None:
    """Of 5 % on two machines that moved: worse, whatever the unit and the direction are."""
    rng = np.random.default_rng(1)
    change = 1.05 if lower_is_better else 1 / 1.05
    for name, speed in (("a", 10.0), ("b", 12.0)):
        machine = fleet.machine(name)
        for day in range(24):
            moved = day >= 12
            value = noisy(rng, scale * speed * (change if moved else 1))
            fleet.run(machine, day, value, versions=NEWER if moved else None, lower_is_better=lower_is_better)
    (row,) = judged(fleet)
    assert (row.package, row.baseline, row.candidate) == ("torch", "2.10.0", "2.11.0")
    assert row.judgement == messages.JUDGEMENT_WORSE
    assert row.pairing == messages.PAIRING_WITHIN_MACHINE
    assert row.ratio.low < change < row.ratio.high
    assert (row.candidate_machines, row.baseline_machines) == (2, 2)
    assert (row.candidate_results, row.baseline_results) == (24, 24)
    assert not row.confounded_with


def test_a_version_on_the_faster_chips_is_not_faster(fleet: BuiltFleet) -> None:
    """Simpson: on each chip the new version is 5 % slower, yet most who have it have the fast chip."""
    rng = np.random.default_rng(2)
    for chip, speed, old, new in (("Apple M1", 5.0, 12, 6), ("Apple M3 Max", 20.0, 6, 12)):
        for number in range(old + new):
            machine = fleet.machine(f"{chip}-{number}", chip)
            is_new = number >= old
            middle = speed * (0.95 if is_new else 1.0)
            for day in range(3):
                fleet.run(machine, day, noisy(rng, middle), versions=NEWER if is_new else None)
    (row,) = judged(fleet)
    assert row.judgement == messages.JUDGEMENT_WORSE
    assert row.pairing == messages.PAIRING_WITHIN_COHORT
    assert row.ratio.value == pytest.approx(0.95, abs=0.01)
    assert [one.chip for one in row.variants] == ["Apple M1", "Apple M3 Max"]


def test_noise_gives_no_alarm_and_sameness_is_said(fleet: BuiltFleet) -> None:
    """Twelve measurements of twenty machines, none of which changed."""
    rng = np.random.default_rng(3)
    for number in range(20):
        machine = fleet.machine(f"m{number}")
        for day in range(8):
            values = {f"m{one}": float(10 * np.exp(rng.normal(0, 0.01))) for one in range(12)}
            fleet.run(machine, day, values, versions=NEWER if day >= 4 else None)
    rows = judged(fleet)
    assert [row.judgement for row in rows] == [messages.JUDGEMENT_SAME] * 12
    assert all(row.q_value >= row.p_value for row in rows)


def test_two_machines_of_a_cohort_are_inconclusive(fleet: BuiltFleet) -> None:
    """Without a machine that has both versions, two say nothing, however they differ."""
    for name, versions, value in (("a", None, 10.0), ("b", NEWER, 5.0)):
        machine = fleet.machine(name)
        for day in range(10):
            fleet.run(machine, day, {"steps_per_second": value}, versions=versions)
    (row,) = judged(fleet)
    assert (row.judgement, row.p_value) == (messages.JUDGEMENT_INCONCLUSIVE, 1.0)


def test_many_machines_that_moved_speak_for_the_fleet(fleet: BuiltFleet) -> None:
    """Better by 10 % on thirty machines, each one value."""
    rng = np.random.default_rng(4)
    for number in range(30):
        machine = fleet.machine(f"m{number}", ("Apple M1", "Apple M4")[number % 2])
        for day in range(4):
            moved = day >= 2
            fleet.run(
                machine,
                day,
                noisy(rng, (5 + number) * (1.1 if moved else 1)),
                versions=NEWER if moved else None,
            )
    (row,) = judged(fleet)
    assert row.judgement == messages.JUDGEMENT_BETTER
    assert row.ratio.low < 1.1 < row.ratio.high
    assert row.p_value < 1e-6
    assert row.candidate_machines == 30


def test_what_changed_along_with_it_is_named(fleet: BuiltFleet) -> None:
    """Where another package always changed too, both are compared and neither is blamed alone."""
    rng = np.random.default_rng(5)
    machine = fleet.machine("a")
    for day in range(20):
        moved = day >= 10
        versions = {"torch": "2.11.0", "torchvision": "0.26.0", "numpy": "2.4.0"}
        before = {"torchvision": "0.25.0", "numpy": "2.3.0"}
        fleet.run(machine, day, noisy(rng, 8 if moved else 10), versions=versions if moved else before)
    found = {row.package: (row.judgement, list(row.confounded_with)) for row in judged(fleet)}
    assert found["torch"] == (messages.JUDGEMENT_WORSE, ["numpy"])
    assert found["numpy"] == (messages.JUDGEMENT_WORSE, ["torch", "torchvision"])
    assert "torchvision" not in found


def test_pairs_with_all_else_equal_are_preferred(fleet: BuiltFleet) -> None:
    """A machine that changed nothing else decides; one where macOS changed too is left out."""
    rng = np.random.default_rng(6)
    clean, mixed = fleet.machine("clean"), fleet.machine("mixed")
    for day in range(20):
        moved = day >= 10
        fleet.run(clean, day, noisy(rng, 10), versions=NEWER if moved else None)
        mixed.os_build = "25C56" if moved else "25B78"
        fleet.run(mixed, day, noisy(rng, 5 if moved else 10), versions=NEWER if moved else None)
    rows = {row.package: row for row in judged(fleet)}
    assert rows["torch"].judgement == messages.JUDGEMENT_SAME
    assert rows["torch"].candidate_machines == 1
    assert list(rows["macos"].confounded_with) == ["torch"]


def test_a_baseline_and_a_candidate_can_be_asked_for(fleet: BuiltFleet) -> None:
    """Any two versions of one package; what no run had gives no row."""
    rng = np.random.default_rng(7)
    machine = fleet.machine("a")
    for day in range(30):
        fleet.run(machine, day, noisy(rng, 10 - day // 10), versions={"torch": f"2.{9 + day // 10}.0"})
    steps = [(row.baseline, row.candidate) for row in judged(fleet)]
    assert steps == [("2.9.0", "2.10.0"), ("2.10.0", "2.11.0")]
    asked = judged(fleet, baseline=Release("torch", "2.9.0"), candidate=Release("torch", "2.11.0"))
    assert [(row.baseline, row.candidate) for row in asked] == [("2.9.0", "2.11.0")]
    assert judged(fleet, candidate=Release("torch", "3.0.0")) == []
    assert judged(fleet, packages=("mlx",)) == []


def test_versions_are_put_in_order() -> None:
    """By their numbers; candidates before the release, builds of macOS by letter."""
    ordered = ["2.9.1", "2.10.0.dev20260101", "2.10.0a1", "2.10.0rc1", "2.10.0", "2.10.0+cpu", "2.10.0.post1"]
    assert in_order(set(ordered))[:5] == ordered[:5]
    assert set(in_order(set(ordered))[5:]) == set(ordered[5:])
    assert in_order({"25C56", "25B78", "24G84"}) == ["24G84", "25B78", "25C56"]


def test_a_check_that_a_version_breaks_is_found(fleet: BuiltFleet) -> None:
    """On three machines that moved; checks that always pass are no rows."""
    for number in range(3):
        machine = fleet.machine(f"m{number}")
        for day in range(10):
            moved = day >= 5
            statuses = {"peft_lora": "fail" if moved else "pass", "torch_basics": "pass"}
            fleet.run(machine, day, statuses=statuses, versions=NEWER if moved else None)
    (row,) = verdicts(fleet)
    assert (row.check_name, row.judgement) == ("peft_lora", messages.JUDGEMENT_WORSE)
    assert (row.candidate_failing, row.candidate_machines) == (3, 3)
    assert (row.baseline_failing, row.baseline_machines) == (0, 3)
    assert row.pairing == messages.PAIRING_WITHIN_MACHINE


def test_a_version_on_the_failing_chips_does_not_fail_more(fleet: BuiltFleet) -> None:
    """Simpson: the check fails on one chip whatever the version is."""
    for chip, status, old, new in (("Apple M1", "fail", 2, 12), ("Apple M4", "pass", 12, 2)):
        for number in range(old + new):
            machine = fleet.machine(f"{chip}-{number}", chip)
            versions = NEWER if number >= old else None
            fleet.run(machine, 1, statuses={"ops": status}, versions=versions)
    (row,) = verdicts(fleet)
    assert (row.judgement, row.p_value) == (messages.JUDGEMENT_INCONCLUSIVE, 1.0)
    assert (row.candidate_failing, row.baseline_failing) == (12, 2)


def test_a_flaky_check_is_no_effect(fleet: BuiltFleet) -> None:
    """It fails now and then with either version, and skips say nothing."""
    rng = np.random.default_rng(8)
    for number in range(8):
        machine = fleet.machine(f"m{number}")
        for day in range(20):
            statuses = {"ops": "fail" if rng.random() < 0.2 else "pass", "mlx_native": "skip"}
            fleet.run(machine, day, statuses=statuses, versions=NEWER if day >= 10 else None)
    (row,) = verdicts(fleet)
    assert row.judgement == messages.JUDGEMENT_INCONCLUSIVE


def test_a_release_is_written_as_it_is_pinned() -> None:
    """Anything else is one clear sentence."""
    from llmenv_collector.fleet_report.upgrade import required

    with pytest.raises(UsageError, match=r"torch==2\.11\.0"):
        required("torch")
    with pytest.raises(UsageError, match="Say which version"):
        required("")
