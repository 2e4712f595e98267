"""Ready is said of an environment, whatever checks a report is about."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from llmenv.catalog.status import core_checks
from llmenv.fleet.v1.result_pb2 import STATUS_PASS
from llmenv_collector.fleet_report import report

from .built_fleet import FIRST_DAY, WHOLE_HISTORY

if TYPE_CHECKING:
    from .built_fleet import BuiltFleet

ALL_PASS = dict.fromkeys(core_checks(is_apple_silicon=True), "pass")
NARROW = dataclasses.replace(WHOLE_HISTORY, checks=frozenset({"torch_basics"}))
DAY_MICROSECONDS = 86_400_000_000


def health(fleet: BuiltFleet, period: Any) -> Any:
    fleet.deliver()
    (row,) = fleet.ask(report.fleet_report, period=period).health
    return row


def test_a_report_of_one_check_does_not_call_the_others_never_run(fleet: BuiltFleet) -> None:
    """They ran, and the environment is as ready as before the question."""
    fleet.run(fleet.machine("a"), 1, statuses=ALL_PASS)
    row = health(fleet, NARROW)
    assert (row.readiness.is_ready, dict(row.readiness.blocking)) == (True, {})
    assert list(row.statuses) == ["torch_basics"]


def test_what_keeps_it_from_being_ready_is_named_whatever_was_asked_for(fleet: BuiltFleet) -> None:
    """By its newest result, and by what never ran; as of the day before it was ready."""
    machine = fleet.machine("a")
    fleet.run(machine, 1, statuses=ALL_PASS)
    fleet.run(machine, 2, statuses={"peft_lora": "fail", "torch_basics": "pass"})
    row = health(fleet, NARROW)
    assert (row.readiness.is_ready, dict(row.readiness.blocking)) == (False, {"peft_lora": "fail"})
    before = dataclasses.replace(NARROW, as_of=int((FIRST_DAY + 1.5) * DAY_MICROSECONDS), is_now=False)
    assert health(fleet, before).readiness.is_ready
    fleet.run(fleet.machine("b"), 1, statuses={"torch_basics": "pass"})
    fleet.run(fleet.machine("c"), 1, statuses=ALL_PASS)
    fleet.deliver()
    _, other, ready = fleet.ask(report.fleet_report, period=NARROW).health
    assert dict(ready.statuses) == dict.fromkeys(ALL_PASS, STATUS_PASS)
    assert set(other.readiness.blocking) == set(ALL_PASS) - {"torch_basics"}
