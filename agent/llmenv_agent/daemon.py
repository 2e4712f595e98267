"""`llmenv-agent run`: runs suites when they are due or commanded, and streams what happens.

The event loop talks to the collector; one worker at a time runs checks in a thread; a watchdog looks after
both.  An orderly end (SIGTERM, Ctrl-C) ends the check that runs, records its run as cancelled, says Goodbye,
and takes under five seconds.  SIGHUP reads the configuration again, for what begins from then on; a wrong one
is said, and the old one stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fcntl
import logging
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import record_pb2

from llmenv_agent import collector_schedules, own_times
from llmenv_agent.agenda import Agenda
from llmenv_agent.approval import Approval
from llmenv_agent.collector_schedules import CollectorSchedules
from llmenv_agent.command_inbox import CommandInbox
from llmenv_agent.doubled import Doubled
from llmenv_agent.errors import AgentError, AlreadyRunningError, DeliveryError, UsageError, WatchdogError
from llmenv_agent.facts import read_machine
from llmenv_agent.own_times import OwnTimes
from llmenv_agent.renewal import Renewal
from llmenv_agent.repertoire import read_repertoire
from llmenv_agent.reporter import Reporter
from llmenv_agent.schedule import FILE_NAME as SCHEDULE_FILE
from llmenv_agent.schedule import Schedule
from llmenv_agent.schedule_plan import IN_FORCE, REFUSED, Plan, Planned, plan
from llmenv_agent.spool import Spool
from llmenv_agent.watchdog import Watchdog
from llmenv_agent.work import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from llmenv.fleet.v1 import agent_service_pb2, machine_pb2

    from llmenv_agent.configuration import Configuration
    from llmenv_agent.identity import Identity
    from llmenv_agent.repertoire import Repertoire

log = logging.getLogger(__name__)

LAST_DELIVERY_SECONDS = 1.5
# Clocks that stand still in sleep or are set: what is due is looked at anew, and so is what waits.
LONGEST_REST_SECONDS = 60.0


def run(
    configuration: Configuration,
    identity: Identity,
    *,
    load: Callable[[], Configuration],
    once: bool,
    deliver_within: float,
) -> bool:
    """Until a signal (False); with `once`, until the suites ran and everything is delivered (True).

    `load` reads the configuration again. Raises UsageError, SpoolError, DeliveryError,
    AlreadyRunningError or WatchdogError.
    """
    with only_agent(configuration.state_dir):
        spool = Spool(configuration.state_dir / "spool.db", machine_id=identity.machine_id)
        try:
            daemon = Daemon(configuration, identity, spool, load=load)
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


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A configuration with which the agent can work, and what starts at set times by it and the collector."""

    configuration: Configuration
    repertoire: Repertoire
    plan: Plan


class Daemon:
    """Lives as long as one event loop."""

    def __init__(
        self,
        configuration: Configuration,
        identity: Identity,
        spool: Spool,
        *,
        load: Callable[[], Configuration],
    ) -> None:
        self._identity = identity
        self._spool = spool
        self._load = load
        self._told = CollectorSchedules(
            configuration.state_dir / collector_schedules.FILE_NAME, machine_id=identity.machine_id
        )
        self._own_times = OwnTimes(configuration.state_dir / own_times.FILE_NAME)
        self._setup = self._checked(configuration)
        self._next_setup: Setup | None = None
        self._work = Work(spool, configuration, read_machine=self._read_machine)
        self._commands = CommandInbox(spool, self._work, self._setup.repertoire)
        self._agenda = Agenda(
            self._schedule(self._setup), objection=self._work.objection, tell=self._work.tell
        )
        self._stopping = asyncio.Event()
        self._woken = asyncio.Event()
        self._accelerator = ""
        self._trouble = ""
        self._watchdog: Watchdog | None = None

    async def run(self, *, once: bool, deliver_within: float) -> bool:
        """Returns False when a signal ended it."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        self._watchdog = Watchdog(
            self._setup.configuration.watchdog,
            loop=loop,
            overdue_seconds=self._work.overdue_seconds,
            end=self._end_for,
        )
        self._watchdog.start()
        try:
            return await self._run(once=once, deliver_within=deliver_within)
        finally:
            self._watchdog.stop()

    async def _run(self, *, once: bool, deliver_within: float) -> bool:
        # Takes seconds on a Mac, and does not change while the system runs.
        self._accelerator = (await asyncio.to_thread(read_machine, thorough=True)).accelerator
        await asyncio.to_thread(self._work.end_leftover)
        await asyncio.to_thread(self._work.close_unfinished)
        await self._commands.reopen()
        await self._say_standings(self._setup)
        reporter = Reporter(
            self._spool,
            Renewal(
                self._setup.configuration.state_dir,
                self._identity,
                collectors=self._setup.configuration.collectors,
            ),
            read_machine=self._read_machine,
            on_command=self._commands.take,
            on_doubled=Doubled(self._setup.configuration.state_dir).note,
            on_waiting=Approval(self._setup.configuration.state_dir).note,
            on_schedules=self._take_schedules,
            is_running=lambda: bool(self._work.current_run),
            described=self._work.described,
            addresses=self._setup.configuration.collectors,
        )
        self._serve_metrics(reporter)
        reporting = asyncio.create_task(reporter.run())
        working = asyncio.create_task(self._run_once() if once else self._run_always())
        try:
            await self._until_ended(reporting, working)
            # Why the work failed is what is to be said, and not that its records wait.
            is_whole = once and not self._stopping.is_set() and working.exception() is None
            await self._deliver(reporter, deliver_within if is_whole else None)
            await working
            if self._trouble:
                raise WatchdogError(self._trouble)
            return not self._stopping.is_set()
        finally:
            self.stop()
            reporter.stop()
            await asyncio.gather(reporting, working, return_exceptions=True)

    def _serve_metrics(self, reporter: Reporter) -> None:
        if address := self._setup.configuration.metrics_listen:
            from llmenv_agent import metrics

            metrics.serve(address, self._spool, reporter.tally)

    def stop(self) -> None:
        self._stopping.set()
        self._woken.set()
        self._work.stop()

    def _end_for(self, trouble: str) -> None:
        """The watchdog found it."""
        self._trouble = trouble
        self.stop()

    def _reload(self) -> None:
        """Take a configuration that is right, for when the worker is free; it takes milliseconds."""
        try:
            setup = self._checked(self._load())
            if setup.configuration.state_dir != self._setup.configuration.state_dir:
                raise UsageError("state_dir cannot change while the agent runs: start it anew.")
        except AgentError as error:
            log.warning("the configuration is not taken, the old one stays: %s", error)
            return
        log.info("read the configuration again")
        self._next_setup = setup
        self._woken.set()

    def _use(self, setup: Setup) -> None:
        self._setup = setup
        self._commands.repertoire = setup.repertoire
        self._work.use(setup.configuration)
        self._agenda.use(self._own_times.take(setup.plan.settings))
        if self._watchdog is not None:
            self._watchdog.settings = setup.configuration.watchdog

    def _checked(self, configuration: Configuration) -> Setup:
        """Raises UsageError where nothing could be done with it."""
        if not configuration.targets and not configuration.discover:
            raise UsageError(
                "No target is configured: name an interpreter under [[target]] in agent.toml, "
                "or folders under [agent] discover."
            )
        repertoire = read_repertoire(configuration.checks_folders, configuration.suites)
        planned = plan(configuration, repertoire, self._told.held)
        return Setup(configuration=configuration, repertoire=repertoire, plan=planned)

    async def _take_schedules(self, told: agent_service_pb2.Schedules) -> None:
        """What the collector says is on the disk before it counts, and counts when the worker is free."""
        if not await asyncio.to_thread(self._told.take, told):
            return
        setup = self._next_setup or self._setup
        planned = plan(setup.configuration, setup.repertoire, self._told.held)
        self._next_setup = dataclasses.replace(setup, plan=planned)
        log.info("schedules of the collector: %d", len(self._told.held))
        await self._say_standings(self._next_setup)
        self._woken.set()

    async def _say_standings(self, setup: Setup) -> None:
        await asyncio.to_thread(self._told.say, setup.plan.standings, self._work.tell)

    def _schedule(self, setup: Setup) -> Schedule:
        return Schedule(
            self._own_times.take(setup.plan.settings),
            path=setup.configuration.state_dir / SCHEDULE_FILE,
            machine_id=self._identity.machine_id,
        )

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

    def _read_machine(self) -> machine_pb2.Machine:
        machine = read_machine()
        machine.machine_id = self._identity.machine_id
        machine.accelerator = machine.accelerator or self._accelerator
        return machine

    async def _run_once(self) -> None:
        """Somebody asked for it: whether the machine is idle is not looked at."""
        if not self._setup.plan.planned:
            raise UsageError("No suite of [schedule] has times of its own: llmenv-agent check runs one now.")
        for key, planned in self._setup.plan.planned.items():
            if not self._stopping.is_set():
                self._agenda.start(key)
                request = dataclasses.replace(planned.request(), regardless_of_use=True)
                await asyncio.to_thread(self._work.execute, request)

    async def _run_always(self) -> None:
        await asyncio.to_thread(self._work.snapshot_all)
        while not self._stopping.is_set():
            if self._next_setup is not None:
                self._use(self._next_setup)
                self._next_setup = None
                await self._say_standings(self._setup)
            key = await asyncio.to_thread(self._agenda.next)
            if self._stopping.is_set():
                return
            if key is not None:
                await self._execute(self._setup.plan.planned[key])
            else:
                await self._next_command(min(self._agenda.seconds_to_next(), LONGEST_REST_SECONDS))

    async def _next_command(self, seconds: float) -> None:
        """Take one command, or come back when a suite is due, or the agent stops or is told something new."""
        self._woken.clear()
        if self._stopping.is_set() or self._next_setup is not None:
            return
        waiting = asyncio.ensure_future(self._commands.next())
        woken = asyncio.ensure_future(self._woken.wait())
        await asyncio.wait({waiting, woken}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        woken.cancel()
        if waiting.done() and not self._stopping.is_set():
            await self._commands.carry_out(waiting.result())
        else:  # one that has not begun stays in the spool for the next start
            waiting.cancel()

    async def _execute(self, planned: Planned) -> None:
        """A target or a suite that cannot be used is said, and the agent goes on."""
        problem = ""
        try:
            await asyncio.to_thread(self._work.execute, planned.request())
        except UsageError as error:
            problem = str(error)
        if schedule_id := planned.settings.schedule_id:
            change = record_pb2.ScheduleChange(
                schedule_id=schedule_id,
                schedule_name=planned.settings.name,
                state=REFUSED if problem else IN_FORCE,
                reason=problem,
            )
            await asyncio.to_thread(self._told.say, [change], self._work.tell, is_all=False)
