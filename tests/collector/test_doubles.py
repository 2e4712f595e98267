"""Two agents with one identity: told apart from restarts and from late messages, and both told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from llmenv.ids import new_id
from llmenv_collector.delivery.doubles import MOST_FORMER, QUIET_SECONDS, Doubles

from .conftest import PATIENCE_SECONDS, RunningCollector, wait_until

if TYPE_CHECKING:
    from .conftest import AgentStream, EnrolledMachine


class Clock:
    """Stands until it is moved on, in seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def take_turns(doubles: Doubles, starts: str) -> bool:
    """Each letter is a start whose stream opens, and closes when the next one takes over."""
    for number, start in enumerate(starts):
        if number:
            doubles.leave("machine", starts[number - 1])
        doubles.arrive("machine", start)
    return doubles.are_at_work("machine")


def test_two_that_each_come_back_are_two() -> None:
    """Each was alive while the other one spoke."""
    assert take_turns(Doubles(), "ABAB")
    assert take_turns(Doubles(), "AABBAABB")
    assert take_turns(Doubles(), "ABCBA")


def test_what_one_agent_does_is_not_two() -> None:
    """Reconnects, restarts, a late message of a former start, an earlier state put back again and again."""
    for starts in ("AAAA", "ABCDEFGHIJKLMNOP", "ABA", "ABACADA"):
        assert not take_turns(Doubles(), starts), starts


def test_an_agent_that_says_no_start_is_not_looked_at() -> None:
    """An older version cannot be told apart from itself."""
    doubles = Doubles()
    for start in ("", "A", "", "A", ""):
        doubles.arrive("machine", start)
    doubles.leave("machine", "")
    assert not doubles.are_at_work("machine")


def test_one_that_stays_away_is_gone() -> None:
    """After a quarter of an hour without a stream; one whose stream is open stays, however long."""
    clock = Clock()
    doubles = Doubles(now=clock)
    assert take_turns(doubles, "ABAB")
    doubles.arrive("machine", "A")
    clock.seconds = 100 * QUIET_SECONDS
    assert doubles.are_at_work("machine")
    doubles.leave("machine", "A")
    clock.seconds += QUIET_SECONDS
    assert doubles.are_at_work("machine")
    clock.seconds += 1
    assert not doubles.are_at_work("machine")


def test_machines_are_told_apart_and_cost_little() -> None:
    """One machine's turns say nothing of another's; an agent that restarts for ever takes no more room."""
    doubles = Doubles()
    assert take_turns(doubles, "ABAB")
    assert not doubles.are_at_work("another")
    for number in range(1_000):
        doubles.arrive("restless", str(number))
        doubles.leave("restless", str(number))
    doubles.are_at_work("restless")
    starts = doubles._machines["restless"]
    assert len(starts.former) == MOST_FORMER
    assert not starts.open
    assert not starts.returned


def superseded(stream: AgentStream) -> bool:
    return stream.status() is grpc.StatusCode.ABORTED


def doubled_machines(collector: RunningCollector) -> list[str]:
    """Of the stopped collector's store, as SQL sees it."""
    with collector.database() as store:
        rows = store.execute("SELECT machine_id::VARCHAR FROM v1.machines WHERE doubled_at IS NOT NULL")
        return [machine_id for (machine_id,) in rows.fetchall()]


def take_over(machine: EnrolledMachine, spools: dict[str, str], starts: str) -> AgentStream:
    """Streams of these starts one after the other; returns the last, after each former one was ended."""
    former = None
    for start in starts:
        stream = machine.connect(spools[start], start_id=start)
        if former is not None:
            assert superseded(former)
        former = stream
    assert former is not None
    return former


def test_two_copies_take_turns_and_then_both_are_told(own_collector: RunningCollector) -> None:
    """By Welcome and by heartbeat; from then on both deliver side by side, and SQL names the machine."""
    machine, other = own_collector.enrol(), own_collector.enrol()
    spools = {"A": new_id(), "B": new_id()}
    first = take_over(machine, spools, "ABA")
    assert not first.welcome.is_doubled
    second = machine.connect(spools["B"], start_id="B")
    assert second.welcome.is_doubled
    wait_until(lambda: first.receive("heartbeat").is_doubled)
    for stream in (first, second):
        stream.deliver([machine.check_started()], first=1)
    for stream in (first, second):
        while (message := stream.incoming.get(timeout=PATIENCE_SECONDS)).WhichOneof("message") == "heartbeat":
            assert message.heartbeat.is_doubled
        assert message.acknowledged.watermark == 1
    restarted = take_over(other, {"C": new_id(), "D": new_id()}, "CD")
    assert not restarted.welcome.is_doubled
    for stream in (first, second, restarted):
        stream.close()
    own_collector.stop()
    assert [machine.machine_id] == doubled_machines(own_collector)


def test_a_new_installation_with_its_old_identity_goes_on(own_collector: RunningCollector) -> None:
    """The same machine with another spool: what it delivered before and after stands under one id."""
    machine = own_collector.enrol()
    for _ in range(2):
        stream = machine.connect(new_id(), start_id=new_id())
        stream.deliver([machine.check_started()], first=1)
        assert stream.receive("acknowledged").watermark == 1
        stream.close()
    own_collector.stop()
    with own_collector.database() as store:
        counted = (
            "SELECT machine_id::VARCHAR, count(*), count(DISTINCT spool_id) FROM store.record GROUP BY ALL"
        )
        assert [(machine.machine_id, 2, 2)] == store.execute(counted).fetchall()
    assert doubled_machines(own_collector) == []
