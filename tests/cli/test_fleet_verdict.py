"""How a fleet report ends: 1 for what is wrong or worse, 4 for what could not be said, 0 for neither."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv.fleet.v1 import result_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

FINE, WRONG, PARTIAL = 0, 1, 4
BEFORE, AFTER = "2026-02-16T06:59:59Z", "2026-02-16T07:00:01Z"
SERIES = {
    "check_name": "torch_training",
    "measurement": "steps_per_second",
    "unit": "step/s",
    "direction": result_pb2.DIRECTION_HIGHER_IS_BETTER,
    "device": "mps",
}
RATIO = {"value": 0.8, "low": 0.7, "high": 0.9}
WORSE, INCONCLUSIVE = messages.JUDGEMENT_WORSE, messages.JUDGEMENT_INCONCLUSIVE


def failure(status: Any = result_pb2.STATUS_FAIL, *, until: str = "", check: str = "ops") -> Any:
    """A finding on studio-3, acknowledged where `until` says so; the report is of 07:00."""
    row = messages.FindingRow(check_name=check, status=status, hostnames=["studio-3"])
    if until:
        row.acknowledgement.reason = "known"
        row.acknowledgement.expires_at.FromJsonString(until)
    return row


def test_all_is_well(llmenv: Callable[..., Any], logged_in: Any, quiet_report: Any) -> None:
    """Nothing is said on stderr."""
    logged_in.servicer.report = quiet_report
    ended = llmenv("fleet", "report", "--format", "json")
    assert (ended.code, ended.err) == (FINE, "")


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"findings": [failure()]}, WRONG, "Failing without an acknowledgement: Operations."),
        ({"findings": [failure(result_pb2.STATUS_CRASH)]}, WRONG, "Failing"),
        ({"findings": [failure(result_pb2.STATUS_WARN)]}, FINE, ""),
        ({"findings": [failure(result_pb2.STATUS_SKIP)]}, FINE, ""),
        ({"findings": [failure(until=AFTER)]}, FINE, ""),
        ({"findings": [failure(until=BEFORE)]}, WRONG, "Failing"),
        ({"findings": [failure(until=AFTER), failure(check="peft_lora")]}, WRONG, "LoRA"),
        ({"effects": [{"series": SERIES, "ratio": RATIO, "judgement": WORSE}]}, WRONG, "Worse with another"),
        ({"effects": [{"series": SERIES, "ratio": RATIO, "judgement": INCONCLUSIVE}]}, FINE, ""),
        ({"verdict_effects": [{"check_name": "ops", "judgement": WORSE}]}, WRONG, "Worse with another"),
        ({"outliers": [{"hostname": "studio-4", "series": SERIES, "judgement": WORSE}]}, WRONG, "studio-4"),
        (
            {"changes": [{"hostname": "studio-4", "series": SERIES, "judgement": WORSE}]},
            WRONG,
            "Became worse",
        ),
        (
            {"changes": [{"hostname": "m", "series": SERIES, "judgement": WORSE, "is_suspected": True}]},
            FINE,
            "",
        ),
        ({"coverage": {"silent": [{"hostname": "air-7"}]}}, PARTIAL, "no run in this period of air-7"),
        ({"coverage": {"reporting": 1, "overdue": [{"hostname": "air-8"}]}}, PARTIAL, "nothing new of air-8"),
        (
            {"method": {"limits": [{"text": "Of 9 the first 5.", "values": {"section": "chips"}}]}},
            PARTIAL,
            "the first 5",
        ),
        ({"method": {"limits": [{"text": "Only 30 days.", "values": {"days": "30"}}]}}, FINE, ""),
        ({"coverage": {"silent": [{"hostname": "air-7"}]}, "findings": [failure()]}, WRONG, "air-7"),
    ],
)
def test_what_decides(
    llmenv: Callable[..., Any],
    logged_in: Any,
    quiet_report: Any,
    *,
    change: dict[str, Any],
    code: int,
    said: str,
) -> None:
    """Each alone, on top of a fleet on which all is well; stderr says which it was."""
    quiet_report.MergeFrom(messages.GetFleetReportResponse(**change))
    logged_in.servicer.report = quiet_report
    for output_format in ("json", "table"):
        ended = llmenv("fleet", "report", "--format", output_format)
        assert ended.code == code
        assert said in ended.err
        assert bool(ended.err) == bool(code)


def test_a_core_check_that_blocks(llmenv: Callable[..., Any], logged_in: Any, quiet_report: Any) -> None:
    """It decides, until somebody takes note of exactly that verdict on exactly that machine."""
    row = quiet_report.health[0]
    row.readiness.is_ready = False
    row.readiness.blocking["peft_lora"] = "fail"
    row.statuses["peft_lora"] = result_pb2.STATUS_FAIL
    logged_in.servicer.report = quiet_report
    assert llmenv("fleet", "report").code == WRONG
    quiet_report.findings.append(failure(until=AFTER, check="peft_lora"))
    assert llmenv("fleet", "report").code == FINE
    quiet_report.findings[0].hostnames[0] = "another"
    assert llmenv("fleet", "report").code == WRONG


def test_a_core_check_that_never_ran(llmenv: Callable[..., Any], logged_in: Any, quiet_report: Any) -> None:
    """Nobody can take note of what was never seen."""
    row = quiet_report.health[0]
    row.readiness.is_ready = False
    row.readiness.blocking["peft_lora"] = "unknown"
    del row.statuses["peft_lora"]
    logged_in.servicer.report = quiet_report
    ended = llmenv("fleet", "report")
    assert ended.code == WRONG
    assert "Not ready: studio-3 (train, mps)." in ended.err
    assert "never ran" in ended.out


def test_changes_that_were_never_analysed(
    llmenv: Callable[..., Any], logged_in: Any, quiet_report: Any
) -> None:
    """Partial where they were asked for, and not where they were not."""
    quiet_report.method.ClearField("changes_analysed_at")
    logged_in.servicer.report = quiet_report
    ended = llmenv("fleet", "report")
    assert ended.code == PARTIAL
    assert "not analysed changes yet" in ended.err
    assert "Changes were never analysed yet" in ended.out
    assert llmenv("fleet", "report", "--by", "chip").code == FINE
