"""What the agent makes of commands: each is done once, and the spool says what became of it."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING

import pytest
from llmenv.fleet.v1 import agent_service_pb2, machine_pb2, record_pb2, run_pb2
from llmenv_agent.command_inbox import STOPPED, WITHIN_SPLAY, CommandInbox
from llmenv_agent.configuration import Configuration, TargetSettings
from llmenv_agent.policy_settings import PolicySettings
from llmenv_agent.recovery import COMMAND_LOST
from llmenv_agent.repertoire import read_repertoire
from llmenv_agent.schedule import fraction
from llmenv_agent.spool import Spool
from llmenv_agent.work import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENT = '''
"""Does it wait?"""
SUITES = ("lab",)
REQUIRES = ()
TIMEOUT_SECONDS = 300
PARAMETERS = {"seconds": 0}
def run(probe):
    import time
    time.sleep(probe.parameters["seconds"])
    probe.passed("It waited.")
'''
Command = agent_service_pb2.Command
ACCEPTED, STARTED, ENDED, EXPIRED, REFUSED, CANCELLED = (
    f"STATE_{word}" for word in ("ACCEPTED", "STARTED", "ENDED", "EXPIRED", "REFUSED", "CANCELLED")
)


class Agent:
    """An inbox over a real spool and real work, and a clock that the test moves."""

    def __init__(self, folder: Path, spool: Spool) -> None:
        self.spool = spool
        self.now = 0.0
        target = TargetSettings(name="plain", python=sys.executable)
        policy = PolicySettings(only_when_idle=False)
        configuration = Configuration(state_dir=folder, targets=(target,), policy=policy)
        self.work = Work(spool, configuration, read_machine=machine_pb2.Machine)
        self.inbox = CommandInbox(
            spool, self.work, read_repertoire([folder / "checks"]), clock=lambda: self.now
        )

    async def carry_out_next(self) -> None:
        await self.inbox.carry_out(await self.inbox.next())

    def outcomes(self, command_id: str = "1") -> list[tuple[str, str]]:
        """State and reason of each outcome of a command, as spooled."""
        found = [each.command_outcome for each in self.spool.records() if each.HasField("command_outcome")]
        return [
            (record_pb2.CommandOutcome.State.Name(each.state), each.reason)
            for each in found
            if each.command_id == command_id
        ]

    def states(self, command_id: str = "1") -> list[str]:
        return [state for state, _ in self.outcomes(command_id)]

    def runs(self) -> list[run_pb2.Run]:
        return [each.run_started.run for each in self.spool.records() if each.HasField("run_started")]


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool.db", machine_id="machine")
    yield spool
    spool.close()


@pytest.fixture
def agent(tmp_path: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> Agent:
    monkeypatch.setenv("LLMENV_RUN_LOCK", str(tmp_path / "run.lock"))
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "patient.py").write_text(PATIENT.lstrip())
    return Agent(tmp_path, spool)


def run_checks(command_id: str = "1", *, seconds: float = 0, expires: float = 60) -> Command:
    asked = agent_service_pb2.RunChecks(
        checks=["patient"], device="cpu", parameters_json=f'{{"patient": {{"seconds": {seconds}}}}}'
    )
    return Command(command_id=command_id, expires_in_seconds=expires, run_checks=asked)


def cancel(command_id: str = "1") -> Command:
    asked = agent_service_pb2.CancelRun(command_id=command_id)
    return Command(command_id=f"cancel-{command_id}", expires_in_seconds=60, cancel_run=asked)


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


def test_a_command_is_obeyed_once(agent: Agent) -> None:
    """Handed down twice, done once; its outcome is spooled from acceptance to end."""
    refresh = Command(command_id="1", expires_in_seconds=60, refresh_facts={})

    async def scenario() -> None:
        await agent.inbox.take(refresh)
        await agent.inbox.take(refresh)
        await agent.carry_out_next()
        assert agent.inbox._waiting == {}

    asyncio.run(scenario())
    assert agent.states() == [ACCEPTED, STARTED, ENDED]
    assert agent.spool.unfinished() == []


def test_a_stream_that_breaks_does_not_lose_a_command(agent: Agent) -> None:
    """It breaks while the command is being accepted; the command waits for its turn all the same."""

    async def scenario() -> None:
        reading = asyncio.create_task(agent.inbox.take(run_checks()))
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await agent.carry_out_next()

    asyncio.run(scenario())
    assert agent.states() == [ACCEPTED, STARTED, STARTED, ENDED]


def test_a_command_that_waited_too_long_expires(agent: Agent) -> None:
    """Judged on the monotonic clock, when its turn comes."""

    async def scenario() -> None:
        await agent.inbox.take(run_checks(expires=10))
        agent.now = 10
        await agent.carry_out_next()

    asyncio.run(scenario())
    assert agent.states() == [ACCEPTED, EXPIRED]
    assert agent.runs() == []


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ({"run_checks": {"suite": "nightly"}}, "There is no suite 'nightly'"),
        ({"run_checks": {"checks": ["nonsense"]}}, "There is no check 'nonsense'"),
        ({"run_checks": {"suite": "quick", "targets": ["other"]}}, "There is no target 'other'"),
        ({"run_checks": {"suite": "quick", "parameters_json": "["}}, "The parameters are no JSON object"),
        (
            {"run_checks": {"suite": "quick", "parameters_json": '{"elsewhere": {"x": 1}}'}},
            "there are parameters for elsewhere, which is not to be run",
        ),
        ({"cancel_run": {"run_id": "r"}}, "run r is not in progress"),
        ({}, "does not know the command"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(
    agent: Agent, action: dict[str, dict[str, object]], reason: str
) -> None:
    """The collector learns why."""
    asyncio.run(agent.inbox.take(Command(command_id="1", expires_in_seconds=60, **action)))  # type: ignore[arg-type]
    assert agent.states() == [ACCEPTED, REFUSED]
    assert reason in agent.outcomes()[1][1]


def test_a_commanded_run_names_its_run(agent: Agent) -> None:
    """Accepted, begun, begun with the run's id, ended; the run says that a command was its trigger."""

    async def scenario() -> None:
        await agent.inbox.take(run_checks())
        await agent.carry_out_next()

    asyncio.run(scenario())
    assert agent.states() == [ACCEPTED, STARTED, STARTED, ENDED]
    (run,) = agent.runs()
    assert run.trigger == run_pb2.TRIGGER_COMMAND
    assert run.run_id in {each.command_outcome.run_id for each in agent.spool.records()}


def test_a_command_that_waits_is_taken_back(agent: Agent) -> None:
    """It never begins, and the cancelling one ends."""

    async def scenario() -> None:
        await agent.inbox.take(run_checks())
        await agent.inbox.take(cancel())
        assert agent.inbox._waiting == {}

    asyncio.run(scenario())
    assert agent.states() == [ACCEPTED, CANCELLED]
    assert agent.states("cancel-1") == [ACCEPTED, ENDED]
    assert agent.spool.waiting_commands() == []


def test_a_command_that_runs_is_ended(agent: Agent) -> None:
    """Its run ends as cancelled, long before its check would, and the command as cancelled."""

    async def scenario() -> None:
        await agent.inbox.take(run_checks(seconds=200))
        running = asyncio.create_task(agent.carry_out_next())
        await until(lambda: bool(agent.work.current_run))
        await agent.inbox.take(cancel())
        await asyncio.wait_for(running, 90)

    asyncio.run(scenario())
    assert agent.states() == [ACCEPTED, STARTED, STARTED, CANCELLED]
    ends = [each.run_finished for each in agent.spool.records() if each.HasField("run_finished")]
    assert [each.outcome for each in ends] == [run_pb2.RUN_OUTCOME_CANCELLED]


def test_a_command_taken_back_before_it_came_does_nothing(agent: Agent) -> None:
    """Whichever of the two comes first, the command is cancelled."""

    async def scenario() -> None:
        await agent.inbox.take(cancel())
        await agent.inbox.take(run_checks())
        assert agent.inbox._waiting == {}

    asyncio.run(scenario())
    assert agent.states() == [ACCEPTED, CANCELLED]


def test_what_has_ended_is_not_taken_back(agent: Agent) -> None:
    """The outcome stands; the cancelling command is refused."""

    async def scenario() -> None:
        await agent.inbox.take(run_checks())
        await agent.carry_out_next()
        await agent.inbox.take(cancel())

    asyncio.run(scenario())
    assert agent.states()[-1] == ENDED
    assert agent.outcomes("cancel-1")[-1] == (REFUSED, "command 1 has ended already")


def test_an_agent_that_stops_says_that_it_did_not_finish(agent: Agent) -> None:
    """The command has ended, and the reason is the agent's own."""

    async def scenario() -> None:
        await agent.inbox.take(run_checks(seconds=200))
        running = asyncio.create_task(agent.carry_out_next())
        await until(lambda: bool(agent.work.current_run))
        agent.work.stop()
        await asyncio.wait_for(running, 90)

    asyncio.run(scenario())
    assert agent.outcomes()[-1] == (ENDED, STOPPED)


def test_a_command_that_had_not_begun_outlives_the_agent(agent: Agent, tmp_path: Path) -> None:
    """The next agent does it, once, within the time that it has left."""
    asyncio.run(agent.inbox.take(run_checks(expires=60)))
    (kept,) = agent.spool.waiting_commands()
    assert 50 < kept.expires_in_seconds <= 60
    agent.work.close_unfinished()
    next_agent = Agent(tmp_path, agent.spool)

    async def scenario() -> None:
        await next_agent.inbox.reopen()
        await next_agent.inbox.take(run_checks())
        await next_agent.carry_out_next()
        assert next_agent.inbox._waiting == {}

    asyncio.run(scenario())
    assert agent.states() == [ACCEPTED, STARTED, STARTED, ENDED]
    assert len(agent.runs()) == 1


def test_a_command_waits_for_its_share_of_the_splay(agent: Agent, tmp_path: Path) -> None:
    """It says for how long; an agent that is restarted meanwhile begins within the same time."""
    command = run_checks(expires=600)
    command.run_checks.splay_seconds = 300
    share = 300 * fraction(command.command_id)

    async def scenario(later: Agent) -> None:
        await agent.inbox.take(command)
        assert agent.inbox._seconds_to_next() == share
        await later.inbox.reopen()
        assert 0 < later.inbox._seconds_to_next() <= share
        later.now = share
        await later.carry_out_next()

    asyncio.run(scenario(Agent(tmp_path, agent.spool)))
    said = WITHIN_SPLAY.format(seconds=share)
    assert (ACCEPTED, said) in agent.outcomes()
    assert agent.states()[-1] == ENDED
    assert len(agent.runs()) == 1


def test_a_command_that_had_begun_is_not_begun_again(agent: Agent, tmp_path: Path) -> None:
    """Half of it may have been done: it is closed, and said to be lost."""
    agent.spool.accept_command(run_checks())
    begun = record_pb2.CommandOutcome(command_id="1", state=record_pb2.CommandOutcome.STATE_STARTED)
    agent.spool.append(record_pb2.Record(command_outcome=begun))
    agent.work.close_unfinished()
    next_agent = Agent(tmp_path, agent.spool)

    async def scenario() -> None:
        await next_agent.inbox.reopen()
        assert next_agent.inbox._waiting == {}

    asyncio.run(scenario())
    assert agent.outcomes() == [(ACCEPTED, ""), (STARTED, ""), (ENDED, COMMAND_LOST)]


def test_a_command_expires_while_there_is_no_agent(agent: Agent, tmp_path: Path) -> None:
    """The time that the agent was away counts."""
    asyncio.run(agent.inbox.take(run_checks(expires=0)))
    next_agent = Agent(tmp_path, agent.spool)

    async def scenario() -> None:
        await next_agent.inbox.reopen()
        await next_agent.carry_out_next()

    asyncio.run(scenario())
    assert agent.states() == [ACCEPTED, EXPIRED]
