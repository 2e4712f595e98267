"""Chips are compared by their machines' medians, within one definition and its parameters, never pooled."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from llmenv.catalog import chips as catalogue
from llmenv_collector.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

GIB = 2**30


@pytest.fixture
def fleet(mac: Any, finding: Any) -> Callable[..., None]:
    """So many machines of a chip, each with three runs around a speed."""

    def deliver(chip: str, speeds: list[float], **facts: Any) -> list[Any]:
        machines = [mac(f"{chip}-{number}", chip=chip, **facts) for number in range(len(speeds))]
        for machine, speed in zip(machines, speeds, strict=True):
            for day, noise in enumerate((0.99, 1.0, 1.02)):
                machine.run(day + 1, finding("bench", steps_per_second=speed * noise))
        return machines

    return deliver


def by_chip(report: Any) -> dict[str, Any]:
    return {row.variant.chip: row for row in report.chips}


def test_median_interval_and_ratio_to_the_most_frequent(fleet: Any, report_of: Callable[..., Any]) -> None:
    """The interval holds the median and is not the range."""
    fleet("Apple M1", [10.0 + 0.1 * number for number in range(9)])
    fleet("Apple M2", [20.0 + 0.1 * number for number in range(10)])
    report = report_of()
    slow, fast = by_chip(report)["Apple M1"], by_chip(report)["Apple M2"]
    assert (report.method.reference.chip, fast.HasField("ratio")) == ("Apple M2", False)
    assert (slow.machines, slow.results, slow.median.value) == (9, 27, pytest.approx(10.4))
    assert slow.lowest < slow.median.low < 10.4 < slow.median.high < slow.highest
    assert slow.ratio.value == pytest.approx(10.4 / 20.45)
    assert slow.ratio.low < 10.4 / 20.45 < slow.ratio.high < 0.53
    assert [row.variant.chip for row in report.chips] == ["Apple M2", "Apple M1"]
    again = report_of(reference_chip="m1")
    assert by_chip(again)["Apple M2"].ratio.value == pytest.approx(20.45 / 10.4)
    assert report_of().chips == report.chips


def test_of_few_machines_runs_count_and_of_one_nothing_is_known(
    fleet: Any, report_of: Callable[..., Any]
) -> None:
    fleet("Apple M1", [10.0, 10.4, 10.2])
    fleet("Apple M2", [20.0])
    rows = by_chip(report_of())
    assert 8 < rows["Apple M1"].median.low < 10.2 < rows["Apple M1"].median.high < 13
    assert (rows["Apple M2"].median.low, rows["Apple M2"].median.high) == (0.0, math.inf)
    assert 1.5 < rows["Apple M2"].ratio.low < 20 / 10.2 < rows["Apple M2"].ratio.high < 2.6


def test_variants_differ_by_cores_and_memory(fleet: Any, report_of: Callable[..., Any]) -> None:
    """A reference may name them."""
    fleet("Apple M2 Max", [10.0, 10.1], gpu_cores=30, memory_bytes=32 * GIB)
    fleet("Apple M2 Max", [12.0, 12.1, 12.2], gpu_cores=38, memory_bytes=64 * GIB)
    assert len(report_of().chips) == 2
    assert report_of().method.reference.gpu_cores == 38
    assert report_of(reference_chip="Apple M2 Max/30/32").method.reference.gpu_cores == 30
    with pytest.raises(NotFoundError, match="'Apple M2 Mix'; the closest is Apple M2 Max"):
        report_of(reference_chip="Apple M2 Mix")


def test_another_definition_is_set_aside_and_said(
    fleet: Any, mac: Any, finding: Any, report_of: Callable[..., Any]
) -> None:
    """What most machines of the variant have is compared; a ratio is to the same definition or is not."""
    fleet("Apple M1", [10.0, 10.1, 10.2])
    for number in range(2):
        odd = finding("bench", steps_per_second=99.0)
        odd.parameters_json = '{"size": 2}'
        mac(f"odd-{number}", chip="Apple M1").run(1, odd)
    other = finding("bench", steps_per_second=50.0)
    other.definition_hash = "d2"
    mac("alone", chip="Apple M2").run(1, other)
    report = report_of()
    rows = by_chip(report)
    assert (rows["Apple M1"].median.value, rows["Apple M1"].machines) == (10.1, 3)
    assert (rows["Apple M2"].median.value, rows["Apple M2"].HasField("ratio")) == (50.0, False)
    assert {one.reason: one.results for one in report.method.set_aside} == {"other_definition": 2}


def test_the_reference_is_compared_by_the_variants_own_definition(
    fleet: Any, mac: Any, finding: Any, report_of: Callable[..., Any]
) -> None:
    """Also where most machines of the reference have another one by now."""
    machines = fleet("Apple M1", [10.0, 10.0])
    for machine in machines:
        new = finding("bench", steps_per_second=30.0)
        new.definition_hash = "d2"
        machine.run(9, new)
    fleet("Apple M2", [20.0])
    rows = by_chip(report_of())
    assert (rows["Apple M1"].series.definition_hash, rows["Apple M2"].series.definition_hash) == ("d2", "d1")
    assert rows["Apple M2"].ratio.value == pytest.approx(2.0)


def test_shares_of_a_limit(mac: Any, finding: Any, report_of: Callable[..., Any]) -> None:
    """A measured share of the chip before one of a measured peak, and that before the catalogue."""
    bandwidth = catalogue.variants("Apple M2 Ultra")[0].bandwidth_gb_per_s
    made = finding("bench", decode_rate=7.0, prefill_rate=9.0)
    made.measurements.add(name="share_of_measured_peak", unit="1", value=0.8, direction=1)
    made.measurements.add(name="decode_share_of_bandwidth", unit="1", value=0.4, direction=1)
    made.measurements.add(name="step_seconds", unit="s", value=3.0, direction=2)
    copied = finding("copy")
    copied.measurements.add(name="memory_bandwidth", unit="GB/s", value=bandwidth / 2, direction=1)
    mac("a", chip="Apple M2 Ultra").run(1, made, copied)
    rows = {row.series.measurement: row for row in report_of().chips}
    assert rows.keys() == {"decode_rate", "prefill_rate", "step_seconds", "memory_bandwidth"}
    assert rows["decode_rate"].share_of_limit == 0.4
    assert rows["prefill_rate"].share_of_limit == 0.8
    assert rows["memory_bandwidth"].share_of_limit == 0.5
    assert not rows["step_seconds"].HasField("share_of_limit")
