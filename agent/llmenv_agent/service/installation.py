"""Installs, updates and removes the service: the same for every supervisor.

What is written is written as a whole, and taken back where the supervisor refuses it. Uninstalling leaves
nothing but the state directory, which goes only when that is asked for.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

from llmenv_agent.errors import ServiceError
from llmenv_agent.service.call import wait_until
from llmenv_agent.service.job import STDERR_NAME, option

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llmenv_agent.service.job import Account, Job
    from llmenv_agent.service.supervisor import State, Supervisor

START_SECONDS = 15.0
UNIT_MODE = 0o644


def install(supervisor: Supervisor, job: Job) -> State:
    """Write the service down and have it run; what was installed before is replaced. Raises ServiceError."""
    supervisor.require_present()
    if job.log_folder is not None:
        _make_folder(job.log_folder, job.account)
    before = supervisor.unit_path.read_bytes() if supervisor.unit_path.exists() else None
    _write(supervisor.unit_path, supervisor.content(job))
    try:
        supervisor.load()
    except ServiceError:
        _take_back(supervisor.unit_path, before)
        raise
    if not wait_until(lambda: supervisor.read_state().is_running, seconds=START_SECONDS):
        state = supervisor.read_state()
        raise ServiceError(
            f"The service is installed ({state.unit}) and does not run: "
            f"it last ended with {state.last_exit or 'nothing that is known'}; its log is {state.log}."
        )
    return supervisor.read_state()


def uninstall(supervisor: Supervisor, *, purge: bool) -> list[str]:
    """End the service and remove what `install` made; what was removed, in sentences."""
    arguments = supervisor.installed_arguments()
    supervisor.unload()
    removed = []
    if supervisor.unit_path.exists():
        supervisor.unit_path.unlink()
        removed.append(f"Removed {supervisor.unit_path}.")
        supervisor.forget()
    if (log := option(arguments, "--log-file")) is not None:
        removed += _remove_logs(log)
    state_dir = option(arguments, "--state-dir")
    if purge and state_dir is not None and state_dir.exists():
        removed.append(_purge(state_dir))
    elif state_dir is not None and state_dir.exists():
        removed.append(f"Kept {state_dir}, with this machine's identity and spool; --purge removes it.")
    return removed


def _remove_logs(log: Path) -> list[str]:
    """The log with its older files, what launchd caught, and their folder when nothing else is in it."""
    files = [*sorted(log.parent.glob(f"{log.name}*")), log.with_name(STDERR_NAME)]
    gone = [each for each in files if each.exists()]
    for each in gone:
        each.unlink()
    with contextlib.suppress(OSError):
        log.parent.rmdir()
    return [f"Removed {each}." for each in gone]


def _purge(state_dir: Path) -> str:
    """Remove identity and spool. Raises AlreadyRunningError while an agent uses them."""
    from llmenv_agent.daemon import only_agent
    from llmenv_agent.identity import FILE_NAME, load_identity
    from llmenv_agent.spool import Spool

    with only_agent(state_dir):
        waiting, machine = 0, ""
        if (state_dir / "spool.db").exists():
            with contextlib.closing(Spool(state_dir / "spool.db")) as spool:
                waiting = spool.ledger().waiting
        if (state_dir / FILE_NAME).exists():
            machine = load_identity(state_dir).machine_id
        shutil.rmtree(state_dir)
    lost = f" {waiting} records that were never delivered went with it." if waiting else ""
    known = f" The collector still knows it: `llmenv-collector machine revoke {machine}`." if machine else ""
    return f"Removed {state_dir}.{lost}{known}"


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        part.chmod(UNIT_MODE)
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise ServiceError(f"{path} cannot be written: {error.strerror}.") from error


def _take_back(path: Path, before: bytes | None) -> None:
    if before is None:
        path.unlink(missing_ok=True)
    else:
        _write(path, before)


def _make_folder(folder: Path, account: Account) -> None:
    """The supervisor opens files in it before the agent runs, so it must be there, and be the account's."""
    try:
        for each in _missing(folder):
            each.mkdir(mode=0o700)
            if os.geteuid() == 0:
                os.chown(each, account.uid, account.gid)
    except OSError as error:
        raise ServiceError(f"{folder} cannot be made: {error.strerror}.") from error


def _missing(folder: Path) -> Iterator[Path]:
    """The folders above and including it that are not there, the highest first."""
    yield from (each for each in reversed([folder, *folder.parents]) if not each.exists())
