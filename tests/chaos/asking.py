"""What people ask of the machine in a round, commands and schedules, and the account of what came of it.

A command is acted on once and ends once, whoever dies; a schedule starts its first run once, and is gone from
the machine after it was removed.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import grpc
from llmenv.fleet.v1 import agent_service_pb2 as wire
from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.fleet.v1 import record_pb2

from tests.chaos.promise import UnexplainedError, require

if TYPE_CHECKING:
    import duckdb

    from tests.chaos.world import World

ANSWER_SECONDS = 2.0
"""Longer than a collector that is not disturbed takes; one that stands still is not waited for."""
SETTLED_WITHIN = 600.0
"""On a machine that much else is done on; then it never will."""
LOOK_SECONDS = 0.1
LOST = "the agent ended before the command did"
FINAL = ("ended", "expired", "refused", "cancelled")
OVER = frozenset(record_pb2.CommandOutcome.State.Value(f"STATE_{word.upper()}") for word in FINAL)
RUN_CHECKS = wire.RunChecks(checks=["tick"], regardless_of_use=True)


def command(world: World) -> None:
    """Whether it was issued, the store knows: whoever asked may have no answer."""
    request = fleet.IssueCommandRequest(
        selection=fleet.MachineSelection(all=True), run_checks=RUN_CHECKS, expires_in_seconds=3_600
    )
    with contextlib.suppress(grpc.RpcError):
        world.people.IssueCommand(request, metadata=world.metadata, timeout=ANSWER_SECONDS)


def schedule(world: World, *, name: str) -> None:
    """Its first run is due at once, the next one half a day later."""
    request = fleet.SetScheduleRequest(
        selection=fleet.MachineSelection(all=True),
        schedule=wire.Schedule(name=name, run_checks=RUN_CHECKS, every_seconds=43_200),
    )
    with contextlib.suppress(grpc.RpcError):
        world.people.SetSchedule(request, metadata=world.metadata, timeout=ANSWER_SECONDS)


def settle(world: World) -> None:
    """Nothing disturbs any more: what was asked for comes to its end, and schedules are taken away again.

    Raises UnexplainedError.
    """
    _wait(world, "commands do not end", lambda: _commands_are_over(world))
    names = [each.schedule.name for each in _schedules(world)]
    # Or its start was noted by an agent that was killed before the run began.
    _wait(world, "the schedule does not start", lambda: all(map(world.has_started, names)))
    for name in names:
        request = fleet.RemoveScheduleRequest(name=name)
        world.people.RemoveSchedule(request, metadata=world.metadata, timeout=SETTLED_WITHIN)
    _wait(world, "the schedule stays on the machine", lambda: not world.held_schedules())


def check(store: duckdb.DuckDBPyConnection) -> None:
    """Of all rounds so far.  Raises UnexplainedError."""
    for command_id, finals, reason, begun, taken, runs, completed in store.execute(
        ACCOUNT_OF_COMMANDS
    ).fetchall():
        said = f"command {command_id} has"
        require(finals == 1, f"{said} {finals} ends")
        require(begun <= 1, f"{said} begun {begun} times")
        require(taken == 1, f"{said} been taken {taken} times")
        require(runs <= 1, f"{said} led to {runs} runs")
        require(bool(reason) or completed == 1, f"{said} ended well, and its run did not")
        require(reason in {"", LOST}, f"{said} ended with: {reason}")
    for schedule_id, runs, state in store.execute(ACCOUNT_OF_SCHEDULES).fetchall():
        require(runs <= 1, f"schedule {schedule_id} has started {runs} runs")
        require(state == "removed", f"schedule {schedule_id} was removed, and the machine last said {state}")


ACCOUNT_OF_COMMANDS = f"""
SELECT command_id::VARCHAR,
       count(DISTINCT said.record_id) FILTER (said.state IN {FINAL}),
       coalesce(any_value(said.reason) FILTER (said.state IN {FINAL}), ''),
       count(DISTINCT said.record_id) FILTER (said.state = 'started' AND said.run_id IS NULL),
       count(DISTINCT said.record_id) FILTER (said.state = 'accepted'),
       count(DISTINCT said.run_id),
       count(DISTINCT run_end.run_id) FILTER (run_end.outcome = 1)
FROM store.command LEFT JOIN store.command_outcome AS said USING (machine_id, command_id)
LEFT JOIN store.run_end AS run_end ON run_end.run_id = said.run_id
GROUP BY command_id
"""
ACCOUNT_OF_SCHEDULES = """
SELECT schedule_id::VARCHAR, count(DISTINCT run.run_id),
       (SELECT arg_max(state, (measured_at, sequence)) FROM store.schedule_change AS said
        WHERE said.schedule_id = kept.schedule_id)
FROM (SELECT DISTINCT schedule_id FROM store.schedule_change) AS kept
LEFT JOIN store.run AS run USING (schedule_id)
GROUP BY schedule_id
"""


def _commands_are_over(world: World) -> bool:
    answer = world.people.ListCommands(
        fleet.ListCommandsRequest(limit=1_000), metadata=world.metadata, timeout=SETTLED_WITHIN
    )
    return all(each.state in OVER for each in answer.commands)


def _schedules(world: World) -> list[fleet.FleetSchedule]:
    answer = world.people.ListSchedules(
        fleet.ListSchedulesRequest(), metadata=world.metadata, timeout=SETTLED_WITHIN
    )
    return list(answer.schedules)


def _wait(world: World, failure: str, condition: Any) -> None:
    deadline = time.monotonic() + SETTLED_WITHIN
    while not condition():
        if time.monotonic() > deadline:
            raise UnexplainedError(f"{failure}: see {world.folder}/agent.log")
        if not world.is_running("agent"):
            world.start_service()
        time.sleep(LOOK_SECONDS)
