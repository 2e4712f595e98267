"""A measurement that became worse is told when that is confirmed, once, with what changed there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest
from llmenv_collector import clock
from llmenv_collector.changes.upkeep import ChangeUpkeep
from llmenv_collector.fleet_report.analysis import Analysis

from .lab import DAY, Lab, Mac

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .receiver import Receiver

RUNS_A_DAY = 2


@pytest.fixture(scope="module")
def analysis() -> Iterator[Analysis]:
    opened = Analysis()
    yield opened
    opened.close()


def history(mac: Mac, factors: dict[int, float], *, days: range) -> None:
    """Rates around 10 step/s times the factor of the last day that has one, with 1 % of noise."""
    rng, now, factor, versions = np.random.default_rng(days.start), clock.now(), 1.0, 0
    records = []
    for day in days:
        if day in factors:
            factor, versions = factors[day], versions + 1
        for part in range(RUNS_A_DAY):
            at = now - (29 - day) * DAY + part * (DAY // RUNS_A_DAY)
            value = float(10 * factor * np.exp(rng.normal(0, 0.01)))
            records += mac.measured(at, value, torch=f"2.1{versions}.0")
    mac.deliver(records)


def search(lab: Lab, analysis: Analysis) -> None:
    asyncio.run(ChangeUpkeep(lab.store, analysis).round())


def told(lab: Lab) -> list[tuple[str, str]]:
    return lab.rows("SELECT kind, fate FROM v1.state_changes WHERE kind = 'regression'")


def test_a_regression_is_told_once_with_its_likeliest_cause(
    lab: Lab, analysis: Analysis, receiver: Receiver
) -> None:
    """Two machines that got the same version are one notice; more results do not tell it again."""
    lab.look()
    webhook = lab.webhook(receiver, kinds=frozenset({"regression"}))
    lab.watch = lab.watching(webhook)
    macs = [Mac(lab, f"mini-{number}") for number in (1, 2)]
    for mac in macs:
        history(mac, {14: 0.9}, days=range(28))
    search(lab, analysis)
    lab.look()
    lab.send(webhook)
    assert told(lab) == [("regression", "told")] * 2
    (notice,) = [one.content for one in receiver.received]
    assert notice["changes_total"] == 2
    change = notice["changes"][0]
    assert (change["check"], change["detail"]["measurement"]) == ("torch_training", "steps_per_second")
    assert change["detail"]["ratio"] == pytest.approx(0.9, abs=0.02)
    assert change["detail"]["causes"][0] == {
        "kind": "package",
        "name": "torch",
        "before": "2.10.0",
        "after": "2.11.0",
    }
    assert "with torch 2.10.0 → 2.11.0 on mini-1, mini-2 since " in notice["text"]
    for mac in macs:
        history(mac, {28: 0.9}, days=range(28, 29))
    search(lab, analysis)
    lab.look()
    lab.send(webhook)
    assert len(told(lab)) == 2
    assert len(receiver.received) == 1


def test_what_became_better_or_hardly_changed_is_not_told(lab: Lab, analysis: Analysis) -> None:
    """Neither is one that was there when the collector began to look."""
    history(Mac(lab, "mini-1"), {14: 0.9}, days=range(28))
    search(lab, analysis)
    lab.look()
    assert told(lab) == [("regression", "known")]
    history(Mac(lab, "mini-2"), {14: 1.1}, days=range(28))
    history(Mac(lab, "mini-3"), {14: 0.99}, days=range(28))
    search(lab, analysis)
    lab.look()
    assert told(lab) == [("regression", "known")]
