"""What a supervisor is to run: the agent of one account, by absolute paths, with nothing secret in it."""

from __future__ import annotations

import enum
import itertools
import os
import pwd
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from llmenv_agent.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# A supervisor starts the agent with next to no environment. These are ours and change what it does; no other
# variable of the person who installs is written down, since it may be a secret.
CARRIED = ("LLMENV_DEVICE", "LLMENV_LOG_FORMAT", "LLMENV_RUN_LOCK")
PATH = "/opt/homebrew/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
LOG_NAME = "agent.log"
STDERR_NAME = "agent.stderr.log"
RESTART_SECONDS = 30
STOP_SECONDS = 30


class Domain(enum.StrEnum):
    """Who owns the service: one person, while logged in, or the machine, from its start."""

    USER = "user"
    SYSTEM = "system"


@dataclass(frozen=True, kw_only=True)
class Account:
    """Whose environments are checked, and as whom."""

    name: str
    uid: int
    gid: int
    home: Path


@dataclass(frozen=True, kw_only=True)
class Job:
    """`log_folder` is None where the supervisor keeps what the agent writes to stderr."""

    domain: Domain
    account: Account
    python: Path
    config: Path
    state_dir: Path
    log_folder: Path | None
    carried: Mapping[str, str] = field(default_factory=dict)

    def arguments(self) -> list[str]:
        """The command line; `-I` keeps the folder it starts in and PYTHON* variables out."""
        logging = ["--log-file", str(self.log_folder / LOG_NAME)] if self.log_folder else []
        paths = ["--config", str(self.config), "--state-dir", str(self.state_dir)]
        return [str(self.python), "-u", "-I", "-m", "llmenv_agent.main", "run", *paths, *logging]

    def variables(self) -> dict[str, str]:
        return {"HOME": str(self.account.home), "PATH": PATH, **self.carried}


def caller() -> Account:
    """Who runs this."""
    return _as_account(pwd.getpwuid(os.geteuid()).pw_name)


def account_for(domain: Domain, *, run_as: str = "") -> Account:
    """Who the agent is to run as. Raises UsageError where that is not clear, or not possible."""
    if domain is Domain.USER:
        return _own_account(run_as)
    name = run_as or os.environ.get("SUDO_USER", "")
    if not name:
        raise UsageError(
            "--system needs --run-as USER, whose environments are checked: no check should run as root."
        )
    return _as_account(name)


def _own_account(run_as: str) -> Account:
    own = caller()
    if run_as and run_as != own.name:
        raise UsageError(
            f"--user is for {own.name}, who runs this; for {run_as}, use --system --run-as {run_as}."
        )
    if own.uid == 0 and os.environ.get("SUDO_USER"):
        raise UsageError("--user with sudo would be root's service: run it without sudo, or with --system.")
    return own


def _as_account(name: str) -> Account:
    try:
        entry = pwd.getpwnam(name)
    except KeyError as error:
        raise UsageError(f"There is no user {name!r} on this machine.") from error
    home = os.environ.get("HOME") if entry.pw_uid == os.geteuid() else None
    return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid, home=Path(home or entry.pw_dir))


def carried_variables() -> dict[str, str]:
    return {name: os.environ[name] for name in CARRIED if os.environ.get(name)}


def own_python() -> Path:
    """The interpreter that runs this, not resolved: an environment's link stays where its target moves."""
    return Path(sys.executable).absolute()


def option(arguments: Sequence[str], name: str) -> Path | None:
    """The path that an installed command line gives for an option."""
    following = dict(itertools.pairwise(arguments))
    return Path(following[name]) if name in following else None
