"""What the daemon does when it is not talking: one run after the other, in a thread of its own.

Whatever happens is spooled before anything else is done with it. Each run waits for the machine's run lock.
"""

from __future__ import annotations

import logging
import math
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmenv import __version__, logs
from llmenv.catalog.status import WORDS
from llmenv.fleet.v1 import machine_pb2, record_pb2, run_pb2

from llmenv_agent import last_check, quarantine
from llmenv_agent.admission import Admission
from llmenv_agent.clocks import SYSTEM_CLOCKS
from llmenv_agent.described import Described
from llmenv_agent.discovery import discover
from llmenv_agent.environments import describe
from llmenv_agent.errors import UsageError
from llmenv_agent.execution import Event, Execution, default_device, execute
from llmenv_agent.facts import read_conditions
from llmenv_agent.facts.boot import read_boot_id
from llmenv_agent.last_check import LastCheck, read_last_check, write_last_check
from llmenv_agent.leftover import end_leftover
from llmenv_agent.policy import Policy
from llmenv_agent.quarantine import Quarantine, Subject
from llmenv_agent.recovery import close_unfinished
from llmenv_agent.remedy_trials import applied
from llmenv_agent.run_lock import Holder, LockCancelledError, run_lock
from llmenv_agent.suites import CUSTOM, merged
from llmenv_agent.targets import Target, TargetError, target_from

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from google.protobuf.message import Message
    from llmenv.fleet.v1 import environment_pb2, result_pb2

    from llmenv_agent.configuration import Configuration
    from llmenv_agent.spool import Spool
    from llmenv_agent.suites import Suite

log = logging.getLogger(__name__)

_KINDS = {
    record_pb2.RunStarted: "run_started",
    record_pb2.CheckStarted: "check_started",
    record_pb2.CheckFinished: "check_finished",
    record_pb2.CaseBatch: "case_batch",
    record_pb2.RemedyTried: "remedy_tried",
    record_pb2.RunFinished: "run_finished",
    record_pb2.SuiteWaited: "suite_waited",
    record_pb2.ScheduleChange: "schedule_change",
    record_pb2.QuarantineChange: "quarantine_change",
}
# After its deadline a check's process gets time to write its stacks and to die of SIGKILL.
_END_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Request:
    """A suite to run in the targets named (all where none is). `command_id` is empty for a schedule.

    `schedule_id` is that of a collector's schedule. `cancelled` ends it from any thread, in every target.
    """

    suite: Suite
    targets: tuple[str, ...] = ()
    device: str = ""
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    command_id: str = ""
    schedule_name: str = ""
    schedule_id: str = ""
    regardless_of_use: bool = False
    cancelled: threading.Event = field(default_factory=threading.Event, compare=False)


class Work:
    """`execute` and `snapshot` belong to the worker thread; `cancel`, `current_run` and the rest to any."""

    def __init__(
        self, spool: Spool, configuration: Configuration, *, read_machine: Callable[[], machine_pb2.Machine]
    ) -> None:
        self._spool = spool
        self._read_machine = read_machine
        self._quarantine = Quarantine(configuration.state_dir / quarantine.FILE_NAME)
        self._last_check = configuration.state_dir / last_check.FILE_NAME
        self._must_end_at = math.inf
        self._leftover = configuration.state_dir / "leftover.json"
        self.described = Described(spool)
        self._request: Request | None = None
        self._stopped = False
        self.current_run = ""
        self.use(configuration)

    def use(self, configuration: Configuration) -> None:
        """From the next run on."""
        self._configuration = configuration
        self._policy = Policy(configuration.policy)

    def objection(self) -> result_pb2.Sentence | None:
        """Why no check may start now, by the policy; None when one may. May take a second."""
        return self._policy.objection()

    def tell(self, change: Message) -> None:
        """Spool what happened."""
        self._spool.append(as_record(change))

    def overdue_seconds(self) -> float:
        """How long ago the check that runs should have been ended; negative before."""
        return SYSTEM_CLOCKS.awake() - self._must_end_at

    def close_unfinished(self) -> None:
        """Give an end to what an earlier agent began."""
        close_unfinished(self._spool, self._quarantine, read_last_check(self._last_check))

    def end_leftover(self) -> None:
        """End the check that a killed agent left running."""
        if end_leftover(self._leftover):
            log.warning("ended a check that an earlier agent left running")

    def execute(self, request: Request) -> None:
        """Run the suite in each target. A target that cannot be used does not keep the others from it.

        Raises UsageError, after the others, for the first target that could not be used.
        """
        self._request = request
        if self._stopped:  # looked at after the line above, so that a stop in between is not lost
            request.cancelled.set()
        problems: list[UsageError] = []
        for target in self.targets(request.targets, problems):
            if request.cancelled.is_set():
                break
            try:
                self._execute_in(target, request)
            except LockCancelledError:
                log.info("cancelled while waiting for another run")
            except UsageError as error:
                log.warning("no run in %s: %s", target.name, error)
                problems.append(error)
        if problems:
            raise problems[0]

    def targets(self, names: tuple[str, ...] = (), problems: list[UsageError] | None = None) -> list[Target]:
        """The configured targets and the discovered ones, or those named. Raises UsageError for no target."""
        found: list[Target] = []
        for settings in self._configuration.targets:
            try:
                found.append(
                    target_from(
                        settings.python,
                        name=settings.name,
                        variables=settings.variables,
                        env_file=settings.env_file,
                    )
                )
            except TargetError as error:
                log.warning("target %s: %s", settings.name or settings.python, error)
                if problems is not None:
                    problems.append(error)
        pythons = {target.python for target in found}
        found += [each for each in discover(self._configuration.discover) if each.python not in pythons]
        for name in names:
            if name not in {target.name for target in found}:
                known = ", ".join(target.name for target in found) or "none"
                raise UsageError(f"There is no target {name!r} here; there are: {known}.")
        return [target for target in found if not names or target.name in names]

    def snapshot(self, target: Target, *, always: bool = False) -> environment_pb2.Environment:
        """Describe a target, and spool the description when it is not the last one."""
        machine, environment = self._read_machine(), describe(target)
        snapshot = record_pb2.EnvironmentSnapshot(machine=machine, environment=environment)
        self.described.spool(target.name, snapshot, always=always)
        return environment

    def snapshot_all(self, *, always: bool = False) -> None:
        for target in self.targets():
            try:
                self.snapshot(target, always=always)
            except UsageError as error:
                log.warning("target %s: %s", target.name, error)

    def cancel(self, run_id: str) -> bool:
        """End the run and what its request would run next; False when it is not in progress."""
        if self._request is None or run_id != self.current_run:
            return False
        self._request.cancelled.set()
        return True

    def stop(self) -> None:
        """End the run in progress and begin no other."""
        self._stopped = True
        if self._request is not None:
            self._request.cancelled.set()

    def _execute_in(self, target: Target, request: Request) -> None:
        with run_lock("llmenv-agent run", on_wait=_say_who_runs, cancelled=request.cancelled):
            environment = self.snapshot(target)
            machine = self._read_machine()
            trigger = run_pb2.TRIGGER_COMMAND if request.command_id else run_pb2.TRIGGER_SCHEDULE
            admission = self._admission(request, target, machine, environment)
            execution = Execution(
                suite=request.suite,
                target=target,
                device=request.device or self._configuration.device or default_device(machine),
                machine=machine,
                environment=environment,
                emit=lambda event: self._emit(event, request, admission),
                trigger=trigger,
                schedule_name=request.schedule_name,
                schedule_id=request.schedule_id,
                parameters=merged(
                    self._configuration.parameters, request.suite.parameters, request.parameters
                ),
                read_conditions=read_conditions,
                cancelled=request.cancelled,
                leftover_file=self._leftover,
                leave_out=admission.reason_against,
            )
            try:
                execute(execution)
            finally:
                logs.bind(run_id="", command_id="")
                self.current_run = ""
                self._must_end_at = math.inf

    def _admission(
        self,
        request: Request,
        target: Target,
        machine: machine_pb2.Machine,
        environment: environment_pb2.Environment,
    ) -> Admission:
        hashes = {each.name: each.definition_hash for each in request.suite.definitions}
        return Admission(
            suite=request.suite.name,
            subject=lambda check: Subject(
                check=check,
                target=target.name,
                definition_hash=hashes[check],
                environment_hash=environment.environment_hash,
                system=machine.os_build or machine.kernel_version,
                agent=__version__,
            ),
            quarantine=self._quarantine,
            # Somebody asks for it now: a schedule would crash a machine again and again.
            is_by_name=request.suite.name == CUSTOM and not request.schedule_id,
            objection=(lambda: None) if request.regardless_of_use else self.objection,
            tell=self.tell,
            cancelled=request.cancelled,
        )

    def _emit(self, event: Event, request: Request, admission: Admission) -> None:
        record = as_record(event)
        self._spool.append(record)
        about = {"record_id": record.record_id}
        match event:
            case record_pb2.RunStarted(run=run):
                self.current_run = run.run_id
                logs.bind(run_id=run.run_id, command_id=request.command_id)
                log.info(
                    "run %s: suite %s in %s on %s%s",
                    run.run_id,
                    run.suite,
                    run.environment.name,
                    run.device,
                    f", by schedule {run.schedule_name}" if run.schedule_name else "",
                    extra=about,
                )
                if request.command_id:
                    self._spool.append(
                        outcome(
                            request.command_id, record_pb2.CommandOutcome.STATE_STARTED, run_id=run.run_id
                        )
                    )
            case record_pb2.CheckStarted(check_name=check):
                last = LastCheck(
                    result_id=event.result_id, boot_id=read_boot_id(), subject=admission.subject(check)
                )
                write_last_check(self._last_check, last)
                self._must_end_at = SYSTEM_CLOCKS.awake() + event.timeout_seconds + _END_SECONDS
            case record_pb2.CheckFinished(result=result):
                self._must_end_at = math.inf
                admission.note_end(result.check_name, result.status)
                words = (result.check_name, WORDS[result.status], result.reason.text)
                log.info("%s: %s: %s", *words, extra=about)
            case record_pb2.RemedyTried(trial=trial):
                words = (applied(trial), WORDS[trial.status], trial.reason.text)
                log.info("tried %s: %s: %s", *words, extra=about)


def as_record(message: Message) -> record_pb2.Record:
    """A record of the kind that `message` is."""
    record = record_pb2.Record()
    getattr(record, _KINDS[type(message)]).CopyFrom(message)
    return record


def outcome(
    command_id: str, state: record_pb2.CommandOutcome.State.ValueType, *, run_id: str = "", reason: str = ""
) -> record_pb2.Record:
    return record_pb2.Record(
        command_outcome=record_pb2.CommandOutcome(
            command_id=command_id, state=state, run_id=run_id, reason=reason
        )
    )


def _say_who_runs(holder: Holder) -> None:
    log.info("waits for %s (pid %d)", holder.purpose or "another run", holder.pid)
