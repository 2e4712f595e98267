"""Who has what the catalogue knows to be wrong, and who was seen to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from llmenv.catalog import known_issues
from llmenv.catalog.version_ranges import contains
from llmenv.fleet.v1 import result_pb2
from llmenv.ids import new_id
from llmenv_collector.fleet_report.exposure import Trial, join
from llmenv_collector.fleet_report.inventory import Holding

if TYPE_CHECKING:
    from collections.abc import Callable

ISSUE = next(
    issue
    for issue in known_issues.catalogue().values()
    if issue.versions.keys() == {"torch"} and not issue.macos and issue.chips == "Apple M"
)
VERSIONS = [f"2.{minor}.0" for minor in range(20)]
AFFECTED = next(one for one in VERSIONS if contains(ISSUE.versions["torch"], one))
SOUND = "99.0.0"


def canary(issue_id: str, status: str = "pass") -> result_pb2.Result:
    """One case of `canaries`, as the check reports it."""
    made = result_pb2.Result(result_id=new_id(), check_name="canaries", definition_hash="d1")
    made.status = result_pb2.Status.Value(f"STATUS_{status.upper()}")
    case = made.cases.add(name="one", status=made.status, remedy_id=issue_id if status != "pass" else "")
    case.facts.add(name="issue", text=issue_id)
    return made


def row_of(report: Any) -> Any:
    found = [row for row in report.exposures if row.issue_id == ISSUE.id]
    return found[0] if found else None


def test_exposed_reproduced_and_not_reproduced(mac: Any, report_of: Callable[..., Any]) -> None:
    """By versions and chip; the newest canary says what was seen; on the CPU it says nothing."""
    untried, seen, unseen, only_cpu, sound, elsewhere = (
        mac(name) for name in ("untried", "seen", "unseen", "only-cpu", "sound", "elsewhere")
    )
    elsewhere.machine.chip = "NVIDIA H100"
    for machine in (untried, seen, unseen, only_cpu, elsewhere):
        machine.packages = {"torch": AFFECTED}
    sound.packages = {"torch": SOUND}
    untried.run(1)
    elsewhere.run(1)
    seen.run(1, canary(ISSUE.id))
    seen.run(2, canary(ISSUE.id, "fail"))
    unseen.run(1, canary(ISSUE.id, "fail"))
    unseen.run(2, canary(ISSUE.id))
    only_cpu.run(1, canary(ISSUE.id), device="cpu")
    sound.run(1, canary(ISSUE.id))
    row = row_of(report_of())
    assert list(row.exposed) == ["only-cpu", "seen", "unseen", "untried"]
    assert (list(row.reproduced), list(row.not_reproduced)) == (["seen"], ["unseen"])
    assert list(row.versions) == [f"torch {AFFECTED}"]


def test_any_check_that_names_an_issue_reproduces_it(
    mac: Any, finding: Any, report_of: Callable[..., Any]
) -> None:
    """Also on a machine of which the catalogue does not say that it is affected; and that comes first."""
    machine = mac("odd")
    machine.packages = {"torch": SOUND}
    wrong = finding("torch_basics", "fail")
    wrong.remedy_id = ISSUE.id
    machine.run(1, wrong)
    report = report_of()
    assert report.exposures[0].issue_id == ISSUE.id
    assert (list(row_of(report).exposed), list(row_of(report).reproduced)) == (["odd"], ["odd"])
    machine.run(2, finding("torch_basics"))
    assert row_of(report_of()) is None


def test_what_was_upgraded_is_exposed_no_more(mac: Any, report_of: Callable[..., Any]) -> None:
    """What counts is what a machine has now."""
    machine = mac("a")
    machine.packages = {"torch": AFFECTED}
    machine.run(1)
    assert list(row_of(report_of()).exposed) == ["a"]
    machine.packages = {"torch": SOUND}
    machine.run(2)
    assert row_of(report_of()) is None


@pytest.mark.parametrize("unknown", ["KI999", ""])
def test_an_issue_that_the_catalogue_does_not_have_is_no_row(unknown: str) -> None:
    assert join([], [Trial("m", "a", unknown, is_reproduced=True)]) == {}


def test_two_machines_may_have_one_name() -> None:
    """They count as two."""
    holdings = [Holding(machine, "mac", "Apple M1", "15.3", "train", {"torch": AFFECTED}) for machine in "ab"]
    assert sorted(join(holdings, [])[ISSUE.id].exposed) == ["a", "b"]
