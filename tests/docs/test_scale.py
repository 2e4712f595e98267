"""The page on scale says what was measured, and what follows from it."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from llmenv_agent.simulation.fleet import Fleet
from llmenv_agent.simulation.plan import Plan

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "scale.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def arithmetic() -> Any:
    specification = importlib.util.spec_from_file_location("scale_arithmetic", DOCS / "scale_arithmetic.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


def test_the_tables_of_the_page_follow_from_the_figures(arithmetic: Any) -> None:
    """As `make docs` would write them."""
    assert arithmetic.page(DOCS / "scale.md") == PAGE


def test_each_measured_figure_is_said_where_the_page_says(arithmetic: Any) -> None:
    """By a program that there is, which the page names; and the figure itself."""
    for figure in arithmetic.MEASURED.values():
        page = (DOCS / figure.page).read_text(encoding="utf-8")
        assert figure.command in page, figure
        shown = figure.shown.removesuffix(" bytes").removesuffix(" of a core")
        assert re.search(rf"(?<![\d.,]){re.escape(shown)}(?![\d.]*\d)", page), figure
        if figure.command.startswith("benchmarks/"):
            assert (DOCS.parent / figure.command).is_file(), figure.command


def test_a_simulated_run_is_as_large_as_is_reckoned_with(arithmetic: Any) -> None:
    """Records, measurements and bytes of a run are about those that the simulation makes today."""
    fleet = Fleet(seed=1, machines=3, days=20, plan=Plan())
    records = [record for machine in fleet.machines for record in fleet.records(machine)]
    runs = sum(record.HasField("run_started") for record in records)
    results = [record.check_finished.result for record in records if record.HasField("check_finished")]
    measurements = sum(len(result.measurements) for result in results)
    measurements += sum(len(case.measurements) for result in results for case in result.cases)
    figures = {name: figure.value for name, figure in arithmetic.MEASURED.items()}
    assert len(records) / runs == pytest.approx(figures["run_records"], rel=0.15)
    assert measurements / runs == pytest.approx(figures["run_measurements"], rel=0.15)
    sent = sum(record.ByteSize() for record in records)
    assert sent / runs == pytest.approx(figures["run_sent_bytes"], rel=0.15)


def test_a_fleet_twice_as_large_asks_for_twice_as_much(arithmetic: Any) -> None:
    """Of all that is not bounded by something else."""
    one, two = arithmetic.Fleet(machines=20_000), arithmetic.Fleet(machines=40_000)
    for name in ("runs_a_second", "heartbeats_a_second", "seen_rows", "stored_bytes_a_day", "renewals_a_day"):
        assert getattr(two, name) == pytest.approx(2 * getattr(one, name))
    assert (one.collectors, two.collectors) == (1, 2)


def test_what_is_said_in_words_is_what_the_arithmetic_says(arithmetic: Any) -> None:
    """Streams of a collector, the month that is too large, and the example of costs."""
    assert f"{arithmetic.most_streams():,} streams" in PAGE
    per_machine = arithmetic.Fleet(machines=1).measurements_a_month
    assert f"{round(52e6 / per_machine, -3):,.0f} machines" in PAGE
    asked = re.search(r"`--core-month (\S+) --gb-month (\S+)`", PAGE)
    assert asked
    prices = arithmetic.Prices(core=float(asked[1]), stored_gb=float(asked[2]))
    comes_to = arithmetic.number(arithmetic.cost(arithmetic.Fleet(machines=100_000), prices))
    assert f"{comes_to:>12}  A month" in PAGE


def test_the_balancer_lets_in_what_is_reckoned_with(arithmetic: Any) -> None:
    """The figure is that of the configuration that is shipped."""
    configuration = (DOCS.parent / "deploy" / "haproxy" / "haproxy.cfg").read_text(encoding="utf-8")
    assert f"rate-limit sessions {arithmetic.BALANCER_CONNECTIONS_A_SECOND}\n" in configuration
