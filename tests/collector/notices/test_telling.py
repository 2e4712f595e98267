"""What is told now, what waits and what is overtaken: by cause, by the hour, by mutes."""

from __future__ import annotations

from typing import Any

import pytest
from llmenv_collector.notices.state_change import Kind, Subject
from llmenv_collector.notices.telling import HOUR, Known, Mute, Plan, Told, Waiting, plan

MINUTE = HOUR // 60
FAILING, RECOVERED = Kind.CHECK_FAILING, Kind.CHECK_RECOVERED


def change(number: int, kind: Kind = FAILING, *, machine: str = "m1", at: int = 0, **more: Any) -> Waiting:
    """The `number` is its id."""
    given = {"status": "fail", "cause": "x"} | more
    subject = Subject(machine, "train", "mps", "packages")
    return Waiting(change_id=str(number), kind=kind, subject=subject, noticed_at=at, **given)


def known(now: int = 0, **more: Any) -> Known:
    return Known(gather=0, now=now, **more)


def told_ids(made: Plan) -> list[list[str]]:
    return [[entry.change.change_id for entry in entries] for entries in made.notices.values()]


def test_the_first_of_a_cause_waits_for_others_and_all_are_one_notice() -> None:
    """Two causes are two notices."""
    waiting = [
        change(1, at=0),
        change(2, machine="m2", at=MINUTE),
        change(3, machine="m3", cause="y", at=0),
    ]
    gathering = Known(gather=2 * MINUTE, now=MINUTE)
    assert plan(waiting, gathering) == Plan()
    later = Known(gather=2 * MINUTE, now=2 * MINUTE)
    assert told_ids(plan(waiting, later)) == [["1", "2"], ["3"]]


def test_further_machines_of_a_cause_wait_for_the_end_of_the_hour() -> None:
    """Twelve machines that report one after the other are two notices, not twelve."""
    waiting = [change(number, machine=f"m{number}", at=number * MINUTE) for number in range(2, 13)]
    groups = {waiting[0].group: MINUTE}
    assert plan(waiting, known(now=MINUTE + HOUR - 1, groups=groups)) == Plan()
    made = plan(waiting, known(now=MINUTE + HOUR, groups=groups))
    assert [len(entries) for entries in made.notices.values()] == [11]


def test_a_first_failure_and_its_recovery_are_told_at_once() -> None:
    """A recovery within the hour is no flapping."""
    told = {change(1).subject: [Told(0, 1)]}
    made = plan([change(2, RECOVERED, at=MINUTE)], known(now=MINUTE, told=told))
    assert told_ids(made) == [["2"]]


def test_a_flapping_check_is_told_once_an_hour_with_the_count() -> None:
    """From the third change within an hour on."""
    subject = change(1).subject
    told = {subject: [Told(0, 1), Told(5 * MINUTE, 1)]}
    waiting = [
        change(number, FAILING if number % 2 else RECOVERED, at=number * 6 * MINUTE) for number in range(3, 8)
    ]
    assert plan(waiting, known(now=5 * MINUTE + HOUR - 1, told=told)) == Plan()
    (entries,) = plan(waiting, known(now=5 * MINUTE + HOUR, told=told)).notices.values()
    assert [(entry.change.change_id, entry.times_changed) for entry in entries] == [("7", 5)]
    told = {subject: [Told(5 * MINUTE, 1), Told(5 * MINUTE + HOUR, 5)]}
    again = [change(8, RECOVERED, at=10 * MINUTE + HOUR)]
    assert plan(again, known(now=5 * MINUTE + 2 * HOUR - 1, told=told)) == Plan()
    assert told_ids(plan(again, known(now=5 * MINUTE + 2 * HOUR, told=told))) == [["8"]]
    calm = [change(8, RECOVERED, at=6 * MINUTE + 2 * HOUR)]
    assert told_ids(plan(calm, known(now=6 * MINUTE + 2 * HOUR, told=told))) == [["8"]]


def test_a_flapping_check_that_is_as_it_was_told_is_told_with_the_count_too() -> None:
    """It is not as if nothing had happened."""
    told = {change(1).subject: [Told(0, 1), Told(5 * MINUTE, 1)]}
    waiting = [change(3, at=10 * MINUTE), change(4, RECOVERED, at=20 * MINUTE)]
    assert plan(waiting, known(now=20 * MINUTE, told=told)) == Plan()
    (entries,) = plan(waiting, known(now=5 * MINUTE + HOUR, told=told)).notices.values()
    assert [(entry.change.change_id, entry.times_changed) for entry in entries] == [("4", 2)]


def test_what_changed_back_before_it_was_told_is_overtaken() -> None:
    """Nobody is told of either."""
    made = plan([change(1), change(2, RECOVERED)], known(now=HOUR))
    assert (made.notices, made.overtaken) == ({}, ["1", "2"])


@pytest.mark.parametrize(
    ("mute", "is_muted"),
    [
        ({}, True),
        ({"machine_ids": frozenset({"m1"})}, True),
        ({"machine_ids": frozenset({"m2"})}, False),
        ({"check_name": "packages", "kind": "check_failing"}, True),
        ({"check_name": "ops"}, False),
        ({"kind": "check_recovered"}, False),
    ],
    ids=["all", "machine", "other-machine", "check-and-kind", "other-check", "other-kind"],
)
def test_a_mute_holds_for_what_it_names(mute: dict[str, Any], is_muted: bool) -> None:
    """It says which; nothing is told and nothing is overtaken."""
    made = plan([change(1)], known(mutes=[Mute(mute_id="mute", **mute)]))
    assert made.muted == ({"1": "mute"} if is_muted else {})
    assert told_ids(made) == ([] if is_muted else [["1"]])
    assert made.overtaken == []


def test_what_still_holds_when_a_mute_ends_is_told_and_what_does_not_is_not() -> None:
    """Muting postpones; a failure that passed meanwhile and was never told needs no recovery."""
    assert told_ids(plan([change(1, muted_by="mute")], known(now=HOUR))) == [["1"]]
    muted = [change(1, muted_by="mute"), change(2, RECOVERED)]
    assert plan(muted, known(mutes=[Mute(mute_id="mute")])).overtaken == ["1", "2"]


def test_an_acknowledged_failure_waits_and_is_written_down_once() -> None:
    """Looking again changes nothing."""
    covered = change(1, acknowledgement_id="note")
    assert plan([covered], known()).muted == {"1": "note"}
    assert plan([change(1, acknowledgement_id="note", muted_by="note")], known()) == Plan()


def test_every_regression_is_told() -> None:
    """A second one of a measurement does not undo the first."""
    waiting = [change(number, Kind.REGRESSION) for number in (1, 2)]
    assert told_ids(plan(waiting, known())) == [["2"]]
