"""What is asked is honoured by every section, or refused in one sentence; every limit is said."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv_collector.errors import NotFoundError, UsageError
from llmenv_collector.fleet_report import limits
from llmenv_collector.fleet_report.period import Period
from llmenv_collector.fleet_report.question import SECTIONS, Question, period_of, question_of

if TYPE_CHECKING:
    from collections.abc import Callable

WHOLE = Period(since=0, as_of=10**15)
DAY = 86_400_000_000


def test_sections_are_fields_of_the_answer() -> None:
    repeated = {one.name for one in messages.GetFleetReportResponse.DESCRIPTOR.fields if one.is_repeated}
    """But for what is derived from the others."""
    assert SECTIONS.keys() == repeated - {"explanations", "known_good"}


@pytest.mark.parametrize(
    ("axis", "sections"),
    [
        ("AXIS_CHIP", {"chips"}),
        ("AXIS_CHECK", {"findings", "flaky"}),
        ("AXIS_MACOS", {"effects", "verdict_effects"}),
    ],
)
def test_an_axis_chooses_sections(
    axis: str, sections: set[str], mac: Any, finding: Any, report_of: Callable[..., Any]
) -> None:
    """Coverage and method are in every report; what was not asked for is empty."""
    by = messages.Axis.Value(axis)
    assert Question(by=by).sections == sections
    mac("a").run(1, finding("ops", "fail"), finding("ops"), finding("bench", steps_per_second=1.0))
    report = report_of(by=by, explain=True)
    filled = {field.name for field, _ in report.ListFields()}
    assert {"generated_at", "coverage", "method", "explanations"} <= filled
    assert filled - {"generated_at", "coverage", "method", "explanations"} <= sections
    # What was imported has a statement of its own beside that of its section.
    explained = {one.section.removeprefix("imported ") for one in report.explanations}
    assert explained - {"coverage"} <= sections


@pytest.mark.parametrize(
    ("request_fields", "sentence"),
    [
        ({"minimum_effect": -0.1}, "The smallest effect that matters is a share from 0 to 1"),
        ({"minimum_effect": float("nan")}, "The smallest effect that matters is a share from 0 to 1"),
        ({"false_discovery_rate": 1.0}, "The share of noise among differences is from 0 to 1"),
        ({"baseline": "torch"}, "A version is written as in torch==2.11.0, not 'torch'."),
        ({"by": 99}, "A report is by machine, chip, package, macos or check, not by 99."),
    ],
)
def test_what_cannot_be_asked_is_refused(request_fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        question_of(messages.GetFleetReportRequest(**request_fields))
    assert str(refused.value).startswith(sentence)


def test_a_check_that_there_is_not_is_not_found(
    mac: Any, finding: Any, report_of: Callable[..., Any]
) -> None:
    """With the closest names; one that ran before the period is known."""
    mac("a").run(1, finding("torch_basics"), finding("torch_training"))
    period = dataclasses.replace(WHOLE, checks=frozenset({"torch_basic"}))
    with pytest.raises(
        NotFoundError, match="a check 'torch_basic'; the closest are torch_basics, torch_training"
    ):
        report_of(period)
    with pytest.raises(NotFoundError, match="there are results of torch_basics, torch_training"):
        report_of(dataclasses.replace(WHOLE, checks=frozenset({"zzz"})))
    assert not report_of(dataclasses.replace(WHOLE, since=5 * DAY, checks=frozenset({"torch_basics"}))).health


def test_chosen_machines_checks_and_times_hold_for_every_section(
    mac: Any, finding: Any, report_of: Callable[..., Any]
) -> None:
    """Nothing of another machine, of another check, or of later is anywhere in the answer."""
    wanted, other = mac("wanted"), mac("other")
    for machine in (wanted, other):
        machine.run(1, finding("ops", "fail"), finding("bench", steps_per_second=1.0))
    wanted.packages = other.packages = {"torch": "2.14.0"}
    wanted.run(50, finding("ops"), finding("unasked", "fail"))
    other.run(2, finding("ops"))
    then = Period(
        since=0,
        as_of=10 * DAY,
        is_now=False,
        machines=frozenset({wanted.id}),
        checks=frozenset({"ops", "bench"}),
        where="hostname = 'wanted'",
    )
    report = report_of(then, explain=False)
    said = str(report)
    assert "wanted" in said
    for absent in ("other", "unasked", "2.14.0"):
        assert absent not in said
    assert (report.coverage.machines, report.coverage.runs, report.coverage.results) == (1, 1, 2)
    assert (len(report.health), len(report.findings), len(report.chips)) == (1, 1, 1)
    assert [dict(row.versions) for row in report.drifts] == [{"2.13.0": 1}]
    assert [row.version for row in report.packages] == ["2.13.0"]
    (limit,) = report.method.limits
    assert limit.text == "The condition chose machines by what they are now, not by what they were then."


def test_who_is_silent_and_since_when(mac: Any, finding: Any, report_of: Callable[..., Any]) -> None:
    mac("fresh").run(20, finding("ops"))
    mac("old").run(3, finding("ops"))
    mac("never")
    report = report_of(Period(since=10 * DAY, as_of=30 * DAY, is_default=True))
    silent = {row.hostname or "never": row.last_run_at.seconds for row in report.coverage.silent}
    assert sorted(silent.values()) == [0, 3 * 86_400]
    assert (report.coverage.machines, report.coverage.reporting) == (3, 1)
    (limit,) = report.method.limits
    assert limit.text == "Only runs of the 30 days before count, since nobody said from when."
    assert dict(limit.values) == {"days": "30"}


def test_who_ceased_to_report_is_overdue_by_its_own_habit(
    mac: Any, finding: Any, report_of: Callable[..., Any]
) -> None:
    """A run a day and none for a week is overdue; a run a week, a single one, and one of today are not."""
    habits = {"daily": range(10, 24), "weekly": range(2, 25, 7), "busy": range(10, 31), "new": [20]}
    for hostname, days in habits.items():
        machine = mac(hostname)
        for day in days:
            machine.run(day, finding("ops"))
    (overdue,) = report_of(Period(since=0, as_of=30 * DAY)).coverage.overdue
    assert (overdue.hostname, overdue.last_run_at.seconds, overdue.usual_seconds) == (
        "daily",
        23 * 86_400,
        86_400,
    )


def test_the_default_period_is_known_as_such() -> None:
    assert period_of(messages.GetFleetReportRequest(), machines=None).is_default
    asked = messages.GetFleetReportRequest()
    asked.since.FromSeconds(0)
    whole = period_of(asked, machines=None)
    assert (whole.is_default, whole.is_whole_history) == (False, True)


def test_an_answer_too_large_is_cut_where_it_is_largest_and_says_so() -> None:
    report = messages.GetFleetReportResponse()
    for number in range(1_000):
        report.health.add(hostname=f"mac-{number}" * 20)
    report.findings.add(check_name="ops")
    limits.cut(report, max_bytes=100_000)
    assert report.ByteSize() < 101_000
    assert (report.health[0].hostname[:5], len(report.findings)) == ("mac-0", 1)
    (limit,) = report.method.limits
    assert limit.text.startswith(f"Of 1000 rows of health the first {len(report.health)} are shown")
