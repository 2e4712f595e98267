"""The agent as a launchd job: a LaunchDaemon for the machine, a LaunchAgent for one person.

Written from launchd.plist(5) and launchctl(1); it has not run on a Mac.
"""

from __future__ import annotations

import plistlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmenv_agent.errors import ServiceError
from llmenv_agent.service.call import call, require, wait_until
from llmenv_agent.service.job import (
    LOG_NAME,
    RESTART_SECONDS,
    STDERR_NAME,
    STOP_SECONDS,
    Account,
    Domain,
    Job,
    option,
)
from llmenv_agent.service.supervisor import State, exit_in_words

LABEL = "org.llmenv.agent"
_FIELD = re.compile(r"^\t([a-z][a-z ]*) = (.+)$", re.MULTILINE)  # deeper ones have two tabs
_DISABLED = re.compile(r'^\s*"([^"]+)" => (?:disabled|true)\s*$', re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Launchd:
    """`root` is above /Library; tests have another."""

    domain: Domain
    account: Account
    root: Path = Path("/")

    @property
    def unit_path(self) -> Path:
        folder = self.root / "Library" / "LaunchDaemons"
        if self.domain is Domain.USER:
            folder = self.account.home / "Library" / "LaunchAgents"
        return folder / f"{LABEL}.plist"

    @property
    def log_folder(self) -> Path:
        return self.account.home / "Library" / "Logs" / "llmenv"

    def require_present(self) -> None:
        require("launchctl", "print", self._targets()[-1])

    def content(self, job: Job) -> bytes:
        return plistlib.dumps(plist(job, has_screen=self._has_screen()), sort_keys=False)

    def installed_arguments(self) -> list[str]:
        try:
            arguments: list[str] = plistlib.loads(self.unit_path.read_bytes())["ProgramArguments"]
        except FileNotFoundError:
            return []
        except (OSError, KeyError, plistlib.InvalidFileException) as error:
            raise ServiceError(f"{self.unit_path} cannot be read: {error}.") from error
        return arguments

    def load(self) -> None:
        self.unload()
        target = self._targets()[0] if self._has_screen() else self._targets()[-1]
        # A `disable` outlives the job, and bootstrap then refuses the next one.
        require("launchctl", "enable", f"{target}/{LABEL}")
        require("launchctl", "bootstrap", target, str(self.unit_path))

    def unload(self) -> None:
        for target in self._loaded_in():
            require("launchctl", "bootout", f"{target}/{LABEL}")
            # bootout returns before the job has ended, and a bootstrap meanwhile fails with 5.
            if not wait_until(lambda: not self._loaded_in(), seconds=STOP_SECONDS + 5):
                raise ServiceError(
                    f"launchd still has {target}/{LABEL} after bootout: try again in a minute."
                )

    def forget(self) -> None:
        """launchd reads folders of jobs when a session begins; nothing remembers a job that is gone."""

    def read_state(self) -> State:
        loaded_in = self._loaded_in()
        fields = (
            parse_print(call("launchctl", "print", f"{loaded_in[0]}/{LABEL}").output) if loaded_in else {}
        )
        disabled = parse_disabled(call("launchctl", "print-disabled", self._targets()[-1]).output)
        return State(
            supervisor="launchd",
            domain=self.domain.value,
            unit=str(self.unit_path),
            is_installed=self.unit_path.exists(),
            is_enabled=LABEL not in disabled,
            is_loaded=bool(loaded_in),
            is_running=fields.get("state") == "running",
            pid=int(fields["pid"]) if fields.get("pid", "").isdigit() else None,
            last_exit=last_exit(fields),
            log=str(option(self.installed_arguments(), "--log-file") or self.log_folder / LOG_NAME),
        )

    def notes(self) -> list[str]:
        if self.domain is Domain.SYSTEM:
            return []
        if self._has_screen():
            return [f"It runs while {self.account.name} is logged in; --system runs it from the Mac's start."]
        return [f"{self.account.name} is not logged in at the screen: after a restart only --system runs it."]

    def _targets(self) -> list[str]:
        """Domains in which the job may be; a person at the screen has one more than a person over ssh."""
        if self.domain is Domain.SYSTEM:
            return ["system"]
        return [f"gui/{self.account.uid}", f"user/{self.account.uid}"]

    def _has_screen(self) -> bool:
        return self.domain is Domain.USER and call("launchctl", "print", self._targets()[0]).returncode == 0

    def _loaded_in(self) -> list[str]:
        return [
            each for each in self._targets() if call("launchctl", "print", f"{each}/{LABEL}").returncode == 0
        ]


def plist(job: Job, *, has_screen: bool) -> dict[str, Any]:
    """The keys of launchd.plist(5). `has_screen`: the person is logged in at the screen, not by ssh alone."""
    if job.log_folder is None:
        raise ValueError("launchd does not rotate logs: the agent keeps its own")
    stderr = str(job.log_folder / STDERR_NAME)
    whose = {"UserName": job.account.name, "WorkingDirectory": str(job.account.home)}
    # In one kind of session only: in two, launchd would start two agents on one state directory.
    session = {"LimitLoadToSessionType": "Aqua" if has_screen else "Background"}
    return {
        "Label": LABEL,
        "ProgramArguments": job.arguments(),
        "EnvironmentVariables": job.variables(),
        **(whose if job.domain is Domain.SYSTEM else session),
        "RunAtLoad": True,
        # Also after an orderly end: whoever sends SIGTERM to a process did not mean the service.
        "KeepAlive": True,
        "ThrottleInterval": RESTART_SECONDS,
        "ExitTimeOut": STOP_SECONDS,
        # Without it launchd throttles CPU and I/O: a job of 6 minutes took 37 (gitlab-runner #29089).
        "ProcessType": "Interactive",
        "Umask": 0o077,
        "StandardOutPath": stderr,
        "StandardErrorPath": stderr,
    }


def parse_print(text: str) -> dict[str, str]:
    """The job's own fields of `launchctl print DOMAIN/LABEL`."""
    fields: dict[str, str] = {}
    for name, value in _FIELD.findall(text):
        fields.setdefault(name, value.strip())
    return fields


def parse_disabled(text: str) -> set[str]:
    """Labels that `launchctl print-disabled DOMAIN` says are disabled; "true" before macOS 13."""
    return set(_DISABLED.findall(text))


def last_exit(fields: dict[str, str]) -> str:
    """Of "last exit code", which is a number, "78: EX_CONFIG" or "(never exited)", or the signal."""
    if signal := fields.get("last terminating signal"):
        return f"signal {signal}"
    code = fields.get("last exit code", "").partition(":")[0]
    return exit_in_words(int(code)) if code.lstrip("-").isdigit() else ""
