"""The agent as a systemd unit: of the machine, or of one person's own systemd."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from llmenv_agent.errors import ServiceError
from llmenv_agent.service.call import call, require
from llmenv_agent.service.job import RESTART_SECONDS, STOP_SECONDS, Account, Domain, Job
from llmenv_agent.service.supervisor import State, exit_in_words

UNIT = "llmenv-agent.service"
PROPERTIES = ("LoadState", "UnitFileState", "ActiveState", "MainPID", "ExecMainCode", "ExecMainStatus")
KILLED = ("2", "3")  # CLD_KILLED, CLD_DUMPED of waitid(2): ExecMainStatus is a signal then

UNIT_TEXT = """\
# Written by `llmenv-agent service install`, which writes it anew.
[Unit]
Description=llmenv agent: checks the training environments of this machine
StartLimitIntervalSec=0
{after}
[Service]
Type=exec
{account}ExecStart={command}
{variables}
Restart=always
RestartSec={restart}
TimeoutStopSec={stop}
# The agent ends its check itself and records that; the rest of the group only when it does not.
KillMode=mixed
# A check that the kernel ends for its memory is a result, not the end of the agent.
OOMPolicy=continue
# The core of a process that trains has the size of its model.
LimitCORE=0
UMask=0077
{hardening}
[Install]
WantedBy={wanted_by}
"""
AFTER = """\
Wants=network-online.target
After=network-online.target
"""
# Devices, home folders and writable executable memory stay open: checks train on the GPU, in people's
# environments, with compilers. /tmp is shared, since the run lock lies there. With NoNewPrivileges CUDA
# cannot start its setuid nvidia-modprobe, so that is done before, where it is installed.
HARDENING = """\
ExecStartPre=-+/usr/bin/nvidia-modprobe -c 0 -u
NoNewPrivileges=yes
ProtectSystem=full
ProtectControlGroups=yes
RestrictSUIDSGID=yes
"""


@dataclass(frozen=True, kw_only=True)
class Systemd:
    """`root` is above /etc; tests have another."""

    domain: Domain
    account: Account
    root: Path = Path("/")

    @property
    def unit_path(self) -> Path:
        folder = self.root / "etc" / "systemd" / "system"
        if self.domain is Domain.USER:
            folder = self.account.home / ".config" / "systemd" / "user"
        return folder / UNIT

    @property
    def log_folder(self) -> None:
        """The journal keeps what the agent says, and rotates it."""

    def require_present(self) -> None:
        self._systemctl("show", "--property=Version")

    def content(self, job: Job) -> bytes:
        return unit(job).encode()

    def installed_arguments(self) -> list[str]:
        try:
            return parse_command(self.unit_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []
        except (OSError, ValueError, configparser.Error) as error:
            raise ServiceError(f"{self.unit_path} cannot be read: {error}.") from error

    def load(self) -> None:
        self._systemctl("daemon-reload")
        self._systemctl("enable", UNIT)
        self._systemctl("restart", UNIT)

    def unload(self) -> None:
        if self.unit_path.exists():
            self._systemctl("disable", "--now", UNIT)

    def forget(self) -> None:
        self._systemctl("daemon-reload")
        call(*self._command("reset-failed", UNIT))  # fails where it had not failed

    def read_state(self) -> State:
        properties = parse_show(self._systemctl("show", UNIT, f"--property={','.join(PROPERTIES)}"))
        pid = int(properties.get("MainPID") or 0)
        return State(
            supervisor="systemd",
            domain=self.domain.value,
            unit=str(self.unit_path),
            is_installed=self.unit_path.exists(),
            is_enabled=properties.get("UnitFileState") in {"enabled", "enabled-runtime"},
            is_loaded=properties.get("LoadState") == "loaded",
            is_running=properties.get("ActiveState") == "active",
            pid=pid or None,
            last_exit="" if pid else last_exit(properties),
            log=f"journalctl {'--user ' if self.domain is Domain.USER else ''}-u {UNIT}",
        )

    def notes(self) -> list[str]:
        if self.domain is Domain.SYSTEM or not shutil.which("loginctl"):
            return []
        lingers = parse_show(call("loginctl", "show-user", self.account.name, "--property=Linger").output)
        if lingers.get("Linger") == "yes":
            return []
        name = self.account.name
        return [f"It runs while {name} is logged in; `loginctl enable-linger {name}` runs it from the start."]

    def _systemctl(self, *words: str) -> str:
        return require(*self._command(*words))

    def _command(self, *words: str) -> list[str]:
        return ["systemctl", *(["--user"] if self.domain is Domain.USER else []), *words]


def unit(job: Job) -> str:
    """The text of systemd.service(5)."""
    is_system = job.domain is Domain.SYSTEM
    return UNIT_TEXT.format(
        after=AFTER if is_system else "",
        account=f"User={job.account.name}\n" if is_system else "",
        command=" ".join(quoted(word.replace("$", "$$")) for word in job.arguments()),
        variables="\n".join(
            f"Environment={quoted(f'{name}={value}')}" for name, value in job.variables().items()
        ),
        restart=RESTART_SECONDS,
        stop=STOP_SECONDS,
        hardening=HARDENING if is_system else "",
        wanted_by="multi-user.target" if is_system else "default.target",
    )


def quoted(word: str) -> str:
    """A word as systemd reads it, but for $, which is special in commands alone."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if re.search(r"[\s\"'\\;]", word) else escaped


def parse_command(text: str) -> list[str]:
    """The words of ExecStart, as `quoted` wrote them."""
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(text)
    words = shlex.split(parser["Service"]["ExecStart"])
    return [word.replace("%%", "%").replace("$$", "$") for word in words]


def parse_show(text: str) -> dict[str, str]:
    """The lines of `systemctl show`: NAME=VALUE."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def last_exit(properties: dict[str, str]) -> str:
    """How the main process ended; "" where it never did."""
    status = properties.get("ExecMainStatus", "0")
    if properties.get("ExecMainCode", "0") in KILLED:
        return f"signal {status}"
    return exit_in_words(int(status)) if properties.get("ExecMainCode", "0") != "0" else ""
