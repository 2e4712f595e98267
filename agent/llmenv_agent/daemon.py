"""`llmenv-agent run`: runs suites when they are due or commanded, and streams what happens.

The event loop talks to the collector; one worker at a time runs checks in a thread. An orderly end (SIGTERM,
Ctrl-C) ends the check that runs, records its run as cancelled, says Goodbye, and takes under five seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import signal
from typing import TYPE_CHECKING

from llmenv_agent.command_inbox import CommandInbox
from llmenv_agent.errors import AlreadyRunningError, DeliveryError, UsageError
from llmenv_agent.facts import read_machine
from llmenv_agent.renewal import Renewal
from llmenv_agent.repertoire import Repertoire, read_repertoire
from llmenv_agent.reporter import Reporter
from llmenv_agent.schedule import Schedule
from llmenv_agent.spool import Spool
from llmenv_agent.work import Request, Work

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llmenv.fleet.v1 import machine_pb2

    from llmenv_agent.configuration import Configuration
    from llmenv_agent.identity import Identity

log = logging.getLogger(__name__)

LAST_DELIVERY_SECONDS = 1.5
# The monotonic clock stands still while a Mac sleeps: what is due by the wall clock is looked at anew.
LONGEST_REST_SECONDS = 60.0


def run(configuration: Configuration, identity: Identity, *, once: bool, deliver_within: float) -> bool:
    """Until a signal (False); with `once`, until the suites ran and everything is delivered (True).

    Raises UsageError, SpoolError, DeliveryError or AlreadyRunningError.
    """
    with only_agent(configuration.state_dir):
        spool = Spool(configuration.state_dir / "spool.db", machine_id=identity.machine_id)
        try:
            daemon = Daemon(configuration, identity, spool)
            return asyncio.run(daemon.run(once=once, deliver_within=deliver_within))
        finally:
            spool.close()


@contextlib.contextmanager
def only_agent(state_dir: Path) -> Iterator[None]:
    """One agent a state directory; the lock is the kernel's and ends with the process."""
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (state_dir / "agent.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunningError(f"Another llmenv-agent already uses {state_dir}.") from None
        yield


class Daemon:
    """Lives as long as one event loop."""

    def __init__(self, configuration: Configuration, identity: Identity, spool: Spool) -> None:
        self._configuration = configuration
        self._identity = identity
        self._spool = spool
        self._repertoire = read_repertoire(configuration.checks_folders, configuration.suites)
        self._work = Work(spool, configuration, read_machine=self._read_machine)
        self._schedule = Schedule(
            configuration.schedules,
            path=configuration.state_dir / "schedule.json",
            machine_id=identity.machine_id,
        )
        self._commands = CommandInbox(spool, self._work, self._repertoire)
        self._stopping = asyncio.Event()
        self._accelerator = ""
        self._for_schedule = {
            each.suite: self._repertoire.suite(each.suite) for each in configuration.schedules
        }

    async def run(self, *, once: bool, deliver_within: float) -> bool:
        """Returns False when a signal ended it."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.stop)
        self._require_targets()
        # Takes seconds on a Mac, and does not change while the system runs.
        self._accelerator = (await asyncio.to_thread(read_machine, thorough=True)).accelerator
        await asyncio.to_thread(self._work.end_leftover)
        await asyncio.to_thread(close_unfinished, self._spool)
        await self._commands.reopen()
        reporter = Reporter(
            self._spool,
            Renewal(self._configuration.state_dir, self._identity),
            read_machine=self._read_machine,
            on_command=self._commands.take,
            is_running=lambda: bool(self._work.current_run),
        )
        reporting = asyncio.create_task(reporter.run())
        working = asyncio.create_task(self._run_once() if once else self._run_always())
        try:
            await self._until_ended(reporting, working)
            await self._deliver(reporter, deliver_within if once and not self._stopping.is_set() else None)
            await working
            return not self._stopping.is_set()
        finally:
            self.stop()
            reporter.stop()
            await asyncio.gather(reporting, working, return_exceptions=True)

    def stop(self) -> None:
        self._stopping.set()
        self._work.stop()

    async def _until_ended(self, reporting: asyncio.Task[None], working: asyncio.Task[None]) -> None:
        """Either task ends by itself only with an error, or when the work is done."""
        await asyncio.wait({reporting, working}, return_when=asyncio.FIRST_COMPLETED)
        if reporting.done():
            reporting.result()
        await asyncio.wait({working})

    async def _deliver(self, reporter: Reporter, seconds: float | None) -> None:
        """On the way out what is not delivered in a moment stays for the next start."""
        if seconds is not None:
            await reporter.wait_until_delivered(seconds)
            return
        with contextlib.suppress(DeliveryError):
            await reporter.wait_until_delivered(LAST_DELIVERY_SECONDS)

    def _require_targets(self) -> None:
        if not self._configuration.targets and not self._configuration.discover:
            raise UsageError(
                "No target is configured: name an interpreter under [[target]] in agent.toml, "
                "or folders under [agent] discover."
            )

    def _read_machine(self) -> machine_pb2.Machine:
        machine = read_machine()
        machine.machine_id = self._identity.machine_id
        machine.accelerator = machine.accelerator or self._accelerator
        return machine

    async def _run_once(self) -> None:
        for suite in self._for_schedule.values():
            if not self._stopping.is_set():
                self._schedule.note_start(suite.name)
                await asyncio.to_thread(self._work.execute, Request(suite=suite))

    async def _run_always(self) -> None:
        await asyncio.to_thread(self._work.snapshot_all)
        while not self._stopping.is_set():
            for due in self._schedule.due():
                if self._stopping.is_set():
                    return
                self._schedule.note_start(due.suite)
                await self._execute(Request(suite=self._for_schedule[due.suite]))
            await self._next_command(min(self._schedule.seconds_to_next(), LONGEST_REST_SECONDS))

    async def _next_command(self, seconds: float) -> None:
        """Take one command, or come back when a suite is due or the agent stops."""
        waiting = asyncio.ensure_future(self._commands.next())
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({waiting, stopping}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if waiting.done() and not self._stopping.is_set():
            await self._commands.carry_out(waiting.result())
        else:  # one that has not begun stays in the spool for the next start
            waiting.cancel()

    async def _execute(self, request: Request) -> None:
        """A target or a suite that cannot be used was said, and the agent goes on."""
        with contextlib.suppress(UsageError):
            await asyncio.to_thread(self._work.execute, request)
