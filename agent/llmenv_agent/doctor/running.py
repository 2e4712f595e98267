"""What runs: the agent of this state directory, its service, and a run that holds the machine's lock."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llmenv_agent.daemon import only_agent
from llmenv_agent.doctor.finding import Question
from llmenv_agent.errors import AlreadyRunningError, ServiceError, UsageError
from llmenv_agent.run_lock import RunLockError, lock_holder, lock_path
from llmenv_agent.service.job import Domain, caller
from llmenv_agent.service.supervisor import supervisor_of

if TYPE_CHECKING:
    from llmenv_agent.doctor.finding import Finding
    from llmenv_agent.service.supervisor import State, Supervisor


def agent(state_dir: Path) -> Finding:
    said = Question("agent", values={"path": state_dir})
    try:
        with only_agent(state_dir):
            return said.warned(
                "No agent runs on {path}: nothing is checked by schedule.",
                "llmenv-agent service install, or llmenv-agent run.",
            )
    except AlreadyRunningError:
        return said.passed("An agent runs on {path}.")
    except OSError as error:
        return said.unclear("{path} cannot be locked: {why}.", why=error.strerror)


def service() -> Finding:
    """Of the machine, else of this person."""
    said = Question("service")
    try:
        supervisors = [supervisor_of(domain, caller()) for domain in (Domain.SYSTEM, Domain.USER)]
    except UsageError:
        return said.unclear("This system has neither launchd nor systemd.")
    problem = ""
    for supervisor in supervisors:
        try:
            state = supervisor.read_state()
            if state.is_installed or state.is_loaded:
                return _installed(said, state, supervisor)
        except ServiceError as error:
            problem = str(error)
    if problem:
        return said.unclear("Whether a service is installed cannot be seen: {why}", why=problem)
    return said.warned(
        "No service is installed: nothing starts the agent after a restart of this machine.",
        "llmenv-agent service install.",
    )


def _installed(said: Question, state: State, supervisor: Supervisor) -> Finding:
    program = next(iter(supervisor.installed_arguments()), "")
    said.values.update(
        unit=state.unit, program=program, pid=state.pid or "?", end=state.last_exit or "?", log=state.log
    )
    if program and not Path(program).exists():
        return said.failed(
            "The service {unit} starts {program}, which is not there.",
            "llmenv-agent service install, from where it is.",
        )
    if not state.is_enabled:
        return said.failed(
            "The service {unit} is disabled.", "llmenv-agent service install, which enables it."
        )
    if not state.is_running:
        return said.failed(
            "The service {unit} does not run; it last ended with {end}.",
            "Its log says why: {log}. Then llmenv-agent service install.",
        )
    return said.passed("The service {unit} runs as pid {pid}.")


def lock() -> Finding:
    said = Question("run_lock", values={"path": lock_path()})
    try:
        holder = lock_holder()
    except RunLockError as error:
        return said.failed(
            "The lock that lets one run at a time onto this machine cannot be used: {why}",
            "Remove {path} if it is a link or not a file, or set LLMENV_RUN_LOCK for every agent here.",
            why=str(error),
        )
    if holder is None:
        return said.passed("The run lock {path} is free.")
    return said.passed(
        "A run holds the lock {path}: pid {pid}, {purpose}.", pid=holder.pid, purpose=holder.purpose or "?"
    )
