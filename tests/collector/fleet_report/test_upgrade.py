"""May the fleet move to a version: each answer has its evidence."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv_collector.errors import NotFoundError
from llmenv_collector.fleet_report import upgrade

if TYPE_CHECKING:
    from .built_fleet import BuiltFleet

NEWER = {"torch": "2.11.0"}


def asked(fleet: BuiltFleet, requirement: str = "torch==2.11.0") -> Any:
    fleet.deliver()
    request = messages.CheckUpgradeRequest(requirement=requirement)
    return fleet.ask(functools.partial(upgrade.check_upgrade, request))


def moved_fleet(fleet: BuiltFleet, *, change: float = 1.0, after: str = "pass", build: str = "") -> None:
    """Two machines of each of two chips that moved, to a build of macOS as well where one is named."""
    rng = np.random.default_rng(1)
    for number in range(4):
        machine = fleet.machine(f"m{number}", ("Apple M1", "Apple M4")[number % 2])
        for day in range(16):
            moved = day >= 8
            machine.os_build = build if moved and build else machine.os_build
            value = 10 * (change if moved else 1.0) * float(np.exp(rng.normal(0, 0.005)))
            fleet.run(
                machine,
                day,
                {"steps_per_second": value},
                versions=NEWER if moved else None,
                statuses={"ops": after if moved else "pass"},
            )


def test_it_is_safe_where_everything_was_tried_and_is_the_same(fleet: BuiltFleet) -> None:
    """On every chip variant, with the comparisons behind it."""
    moved_fleet(fleet)
    answer = asked(fleet)
    assert answer.verdict == messages.UPGRADE_VERDICT_SAFE
    assert [row.judgement for row in answer.effects] == [messages.JUDGEMENT_SAME]
    assert len(answer.untried) == 0
    assert "every chip variant" in answer.reasons[0].text


@pytest.mark.parametrize(
    ("planted", "reason"),
    [({"change": 0.9}, "got worse"), ({"after": "fail"}, "ops does not end well on 4 of 4 machines")],
)
def test_it_is_not_safe_where_something_got_worse(
    fleet: BuiltFleet, planted: dict[str, Any], reason: str
) -> None:
    """A measurement or a verdict."""
    moved_fleet(fleet, **planted)
    answer = asked(fleet)
    assert answer.verdict == messages.UPGRADE_VERDICT_NOT_SAFE
    assert reason in answer.reasons[0].text


@pytest.mark.parametrize("planted", [{"change": 0.9}, {"after": "fail"}])
def test_what_changed_along_with_it_may_be_to_blame(fleet: BuiltFleet, planted: dict[str, Any]) -> None:
    """Every machine took macOS in the same hour, so that nothing can be said of either alone."""
    moved_fleet(fleet, build="25F71", **planted)
    answer = asked(fleet)
    assert answer.verdict == messages.UPGRADE_VERDICT_NOT_ENOUGH_EVIDENCE
    assert "1 comparisons got worse where macOS changed as well" in answer.reasons[-1].text


def test_a_variant_on_which_nobody_tried_it_leaves_it_open(fleet: BuiltFleet) -> None:
    """And so does a version that nobody has."""
    moved_fleet(fleet)
    fleet.run(fleet.machine("odd", "Apple M3 Ultra"), 1, {"steps_per_second": 20.0})
    answer = asked(fleet)
    assert answer.verdict == messages.UPGRADE_VERDICT_NOT_ENOUGH_EVIDENCE
    assert [one.chip for one in answer.untried] == ["Apple M3 Ultra"]
    assert "1 chip variants" in answer.reasons[0].text
    nobody = asked(fleet, "torch==2.99.0")
    assert nobody.verdict == messages.UPGRADE_VERDICT_NOT_ENOUGH_EVIDENCE
    assert len(nobody.untried) == 3


def test_little_evidence_is_not_enough(fleet: BuiltFleet) -> None:
    """One run a side cannot exclude that it is slower."""
    machine = fleet.machine("a")
    fleet.run(machine, 1, {"steps_per_second": 10.0})
    fleet.run(machine, 2, {"steps_per_second": 10.0}, versions=NEWER)
    answer = asked(fleet)
    assert answer.verdict == messages.UPGRADE_VERDICT_NOT_ENOUGH_EVIDENCE
    assert "1 of 1 comparisons may still be worse by more than 3 %" in answer.reasons[0].text


def test_an_older_version_can_be_asked_for(fleet: BuiltFleet) -> None:
    """Going back is a move too: what was better then is worse now."""
    moved_fleet(fleet, change=1.1)
    answer = asked(fleet, "torch==2.10.0")
    assert answer.verdict == messages.UPGRADE_VERDICT_NOT_SAFE
    assert [(row.baseline, row.candidate) for row in answer.effects] == [("2.11.0", "2.10.0")]


def test_a_version_of_macos_is_asked_for_by_its_build(fleet: BuiltFleet) -> None:
    """Else it would be said that nobody has tried what everybody has."""
    moved_fleet(fleet)
    with pytest.raises(NotFoundError, match="ask for macos==25B78"):
        asked(fleet, "macos==26.1")


def test_known_issues_of_the_version_are_named_and_where_it_showed_itself(fleet: BuiltFleet) -> None:
    """KI003 is of torch 2.9 to 2.11 on macOS 13: moving from 2.8 exposes, and one machine has met it."""
    a, b = (fleet.machine(name, os_version="13.6") for name in "ab")
    for machine in (a, b):
        fleet.run(machine, 1, {"steps_per_second": 10.0}, versions={"torch": "2.8.0"})
    answer = asked(fleet)
    (exposure,) = [row for row in answer.exposures if row.issue_id == "KI003"]
    assert (list(exposure.exposed), list(exposure.reproduced)) == (["a", "b"], [])
    assert answer.verdict == messages.UPGRADE_VERDICT_NOT_ENOUGH_EVIDENCE
    fleet.run(a, 2, statuses={"ops": "fail"}, versions=NEWER, remedy_id="KI003")
    answer = asked(fleet)
    (exposure,) = [row for row in answer.exposures if row.issue_id == "KI003"]
    assert list(exposure.reproduced) == ["a"]
    assert answer.verdict == messages.UPGRADE_VERDICT_NOT_SAFE
    assert any("KI003" in reason.text for reason in answer.reasons)
