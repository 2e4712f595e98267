"""A report is made once for all who ask the same while nothing is new; one that takes long serves longer."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv_collector.fleet_report.answers import MOST, Answers


class House:
    """A clock, a count of commits, and reports that take as long as is said."""

    def __init__(self, *, takes: float) -> None:
        self.now, self.commits, self.made, self.takes = 0.0, 0, 0, takes
        self.answers = Answers(clock=lambda: self.now)

    def ask(self, question: str = "") -> Any:
        return self.answers.get(question, lambda: self.commits, self.make)

    def make(self) -> messages.GetFleetReportResponse:
        self.now += self.takes
        self.made += 1
        return messages.GetFleetReportResponse(coverage={"runs": self.made})


def test_nothing_new_is_no_other_report() -> None:
    house = House(takes=0.5)
    first = house.ask()
    house.now += 10_000
    assert (house.ask(), house.made) == (first, 1)


def test_what_is_made_quickly_is_made_anew_after_each_commit() -> None:
    house = House(takes=0.5)
    house.ask()
    house.commits += 1
    assert house.ask().coverage.runs == 2
    assert not house.ask().method.limits


def test_what_takes_long_serves_ten_times_as_long_and_says_its_age() -> None:
    """A minute at most."""
    house = House(takes=2.0)
    house.ask()
    house.commits += 1
    house.now += 19.0
    (limit,) = house.ask().method.limits
    assert limit.text == "This report was made 19 s ago; what was received since is not in it."
    house.now += 1.0
    assert (house.ask().coverage.runs, len(house.ask().method.limits)) == (2, 0)
    house.takes, house.commits = 20.0, 2
    house.now += 1_000
    house.ask()
    house.commits += 1
    house.now += 59.0
    assert (house.ask().coverage.runs, len(house.ask().method.limits)) == (3, 1)
    house.now += 1.0
    assert house.ask().coverage.runs == 4


def test_what_is_committed_while_it_is_made_is_news() -> None:
    house = House(takes=0.1)
    making = house.make

    def make_and_commit() -> messages.GetFleetReportResponse:
        house.commits += 1
        return making()

    house.make = make_and_commit  # type: ignore[method-assign]
    house.ask()
    house.ask()
    assert house.made == 2


def test_few_questions_are_kept() -> None:
    house = House(takes=0.1)
    for number in range(MOST + 1):
        house.ask(str(number))
    house.ask(str(MOST))
    assert house.made == MOST + 1
    house.ask("0")
    assert house.made == MOST + 2


def test_who_asks_meanwhile_waits_for_the_same_one() -> None:
    house, started, go_on = House(takes=0.1), threading.Event(), threading.Event()
    making = house.make

    def slow() -> messages.GetFleetReportResponse:
        started.set()
        go_on.wait(60)
        return making()

    house.make = slow  # type: ignore[method-assign]
    first, second = (threading.Thread(target=house.ask) for _ in range(2))
    first.start()
    started.wait(60)
    second.start()
    go_on.set()
    first.join()
    second.join()
    assert house.made == 1


def test_what_failed_is_tried_again() -> None:
    house = House(takes=0.1)
    making, failures = house.make, [ValueError("no")]

    def fail_once() -> messages.GetFleetReportResponse:
        nonlocal failures
        if failures:
            raise failures.pop()
        return making()

    house.make = fail_once  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="no"):
        house.ask()
    assert house.ask().coverage.runs == 1
    house.commits, failures = 1, [ValueError("no")]
    with pytest.raises(ValueError, match="no"):
        house.ask()
    assert house.ask().coverage.runs == 2
