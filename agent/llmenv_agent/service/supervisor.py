"""What launchd and systemd have in common, and which of them this machine has."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from llmenv_agent.errors import UsageError
from llmenv_agent.exit_codes import ExitCode
from llmenv_agent.facts.tool import SYSTEM_FOLDERS

if TYPE_CHECKING:
    from pathlib import Path

    from llmenv_agent.service.job import Account, Domain, Job


@dataclass(frozen=True, kw_only=True)
class State:
    """What a supervisor says of the agent's service. `last_exit` is "" where it never ended."""

    supervisor: str
    domain: str
    unit: str
    is_installed: bool
    is_enabled: bool
    is_loaded: bool
    is_running: bool
    pid: int | None
    last_exit: str
    log: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def in_words(self) -> str:
        """One line for a person."""
        if not self.is_installed and not self.is_loaded:
            return f"{self.domain}: not installed"
        words = [_condition(self)]
        if self.last_exit:
            words.append(f"last ended with {self.last_exit}")
        if not self.is_enabled:
            words.append("disabled: it will not start by itself")
        if not self.is_installed:
            words.append(f"but {self.unit} is gone")
        return f"{self.domain}: {', '.join(words)}  ({self.supervisor}, {self.unit}; log: {self.log})"


class Supervisor(Protocol):
    """The service of one domain and account at one supervisor. All may raise ServiceError."""

    @property
    def unit_path(self) -> Path:
        """Where the service is written down."""

    @property
    def log_folder(self) -> Path | None:
        """Where an agent to be installed keeps its own log; None where the supervisor keeps it."""

    def require_present(self) -> None:
        """Raises ServiceError where the supervisor does not answer."""

    def content(self, job: Job) -> bytes:
        """The job in the supervisor's own form."""

    def installed_arguments(self) -> list[str]:
        """The command line of what is installed; empty where nothing is."""

    def load(self) -> None:
        """Have what lies at `unit_path` started, now and after each start of the machine or session."""

    def unload(self) -> None:
        """Have it ended and no longer started; nothing where it is not loaded."""

    def forget(self) -> None:
        """Called when the file at `unit_path` is gone."""

    def read_state(self) -> State:
        """How it is at the moment."""

    def notes(self) -> list[str]:
        """What a person should know after an installation, in sentences."""


def supervisor_of(domain: Domain, account: Account) -> Supervisor:
    """The one whose command is there. Raises UsageError where there is none."""
    from llmenv_agent.service.launchd import Launchd
    from llmenv_agent.service.systemd import Systemd

    for command, kind in (("launchctl", Launchd), ("systemctl", Systemd)):
        if shutil.which(command) or shutil.which(command, path=SYSTEM_FOLDERS):
            return kind(domain=domain, account=account)
    raise UsageError(
        "This system has neither launchctl nor systemctl: start `llmenv-agent run` by what it has instead."
    )


def exit_in_words(code: int) -> str:
    """An exit code with what it means where it is the agent's own."""
    known = {int(each): each.name.lower().replace("_", " ") for each in ExitCode}
    return f"code {code} ({known[code]})" if code in known else f"code {code}"


def _condition(state: State) -> str:
    if state.is_running:
        return f"running as pid {state.pid}" if state.pid else "running"
    return "loaded, not running" if state.is_loaded else "installed, not loaded"
