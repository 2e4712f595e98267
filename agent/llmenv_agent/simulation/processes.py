"""Plays a fleet in several processes, each with a slice of its machines: one has the use of one core."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, TypeAlias, cast

from llmenv_agent.errors import AgentError
from llmenv_agent.simulation.delivery import Delivery, Slice
from llmenv_agent.simulation.event_loop import InMemoryLoop
from llmenv_agent.simulation.progress import Progress
from llmenv_agent.simulation.slice_report import SliceReport

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess
    from multiprocessing.synchronize import Barrier

    from llmenv_agent.simulation.play import Play

Said: TypeAlias = "Progress | SliceReport | AgentError"
"""How far it is; or how it ended."""


def play_slices(
    play: Play, *, processes: int, on_progress: Callable[[Progress], None] = lambda _: None
) -> list[SliceReport]:
    """One of each process. With one, that is this process."""
    if processes == 1:
        return [_run(Delivery(play=play, on_progress=on_progress))]
    context = multiprocessing.get_context("spawn")  # gRPC does not survive a fork
    barrier = context.Barrier(processes)
    players: dict[Connection, SpawnProcess] = {}
    try:
        for first in range(processes):
            ours, theirs = context.Pipe(duplex=False)
            part = Slice(first=first, step=processes)
            players[ours] = context.Process(
                target=_play_slice, args=(play, part, barrier, theirs), daemon=True
            )
            players[ours].start()
            theirs.close()
        return _listen(players, on_progress)
    finally:
        for player in players.values():
            player.terminate()
            player.join()


def _listen(
    players: dict[Connection, SpawnProcess], on_progress: Callable[[Progress], None]
) -> list[SliceReport]:
    reports: dict[Connection, SliceReport] = {}
    progress: dict[Connection, Progress] = {}
    while len(reports) < len(players):
        waiting = [each for each in players if each not in reports]
        for ready in cast("list[Connection]", wait(waiting)):
            said = _hear(ready, players)
            if isinstance(said, SliceReport):
                reports[ready] = said
            else:
                progress[ready] = said
                if len(progress) == len(players):
                    on_progress(sum(progress.values(), Progress()))
                    progress.clear()
    return list(reports.values())


def _hear(connection: Connection, players: dict[Connection, SpawnProcess]) -> Progress | SliceReport:
    """Raises what ended the process."""
    try:
        said = cast("Said", connection.recv())
    except EOFError:
        player = players[connection]
        player.join()
        raise AgentError(
            f"A process of the simulation ended with {player.exitcode}, as when memory is short: "
            "what it delivered is at the collector; play fewer machines, or a shorter history."
        ) from None
    if isinstance(said, AgentError):
        raise said
    return said


def _run(delivery: Delivery) -> SliceReport:
    with asyncio.Runner(loop_factory=None if delivery.play.on_disk else InMemoryLoop) as runner:
        return runner.run(delivery.run())


def _play_slice(play: Play, part: Slice, barrier: Barrier, connection: Connection) -> None:
    """In a process of its own, which Ctrl-C reaches through the first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    delivery = Delivery(play=play, part=part, begin=barrier.wait, on_progress=connection.send)
    try:
        connection.send(_run(delivery))
    except AgentError as error:
        connection.send(error)
    except BrokenPipeError:  # the first process is gone
        return
