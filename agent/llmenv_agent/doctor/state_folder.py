"""The state directory: whose it is, who can read the key in it, and whether there is room to write."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import tempfile
from typing import TYPE_CHECKING

from llmenv_agent.doctor.finding import Question, Verdict
from llmenv_agent.identity import FILE_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llmenv_agent.doctor.finding import Finding

OTHERS = stat.S_IRWXG | stat.S_IRWXO
# The spool takes up to 256 MiB of records, SQLite's log beside it as much for a moment, and checks the rest.
LITTLE_BYTES = 1_000_000_000
TRIAL_BYTES = 1 << 20


def ask(state_dir: Path) -> Iterator[Finding]:
    owner = _owner(state_dir)
    yield owner
    yield from _modes(state_dir)
    if owner.verdict is Verdict.PASS:
        yield _room(state_dir)
    else:
        yield Question("disk").unclear("Not tried: the step before it failed.")


def _owner(state_dir: Path) -> Finding:
    said = Question("state_dir", values={"path": state_dir})
    try:
        status = state_dir.stat()
    except FileNotFoundError:
        return said.unclear("{path} is not there.")
    except OSError as error:
        return said.failed(
            "{path} cannot be looked at: {why}.",
            "Run the agent and this command as the owner of {path}.",
            why=error.strerror,
        )
    owner, own = _user(status.st_uid), _user(os.geteuid())
    if status.st_uid != os.geteuid():
        return said.failed(
            "{path} belongs to {owner}, and this runs as {own}.",
            "Run the agent and this command as {owner}, or give it to {own}: chown -R {own} '{path}'.",
            owner=owner,
            own=own,
        )
    return said.passed("{path} belongs to {own}, who runs this.", own=own)


def _modes(state_dir: Path) -> Iterator[Finding]:
    """Files that nobody else may read: one holds the key, one the results."""
    for path in (state_dir / FILE_NAME, state_dir / "spool.db"):
        said = Question("file_mode", path.name, {"path": path})
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            continue  # that it is not there is said by the question about what is in it
        if mode & OTHERS:
            yield said.failed(
                "Others on this machine may open {path} (mode {mode}).",
                "chmod 600 '{path}'; if others have an account, enrol anew: llmenv-agent enroll --replace.",
                mode=f"{mode:o}",
            )
        else:
            yield said.passed("Its owner alone may open {path} (mode {mode}).", mode=f"{mode:o}")


def _room(state_dir: Path) -> Finding:
    said = Question("disk", values={"path": state_dir})
    try:
        _write(state_dir)
        free = shutil.disk_usage(state_dir).free
    except OSError as error:
        return said.failed(
            "{path} cannot be written: {why}.",
            "Make room on that disk, or set state_dir to a folder that can be written.",
            why=error.strerror,
        )
    said.values["free"] = f"{free / 1e9:.1f} GB"
    if free < LITTLE_BYTES:
        return said.warned("{free} are free for {path}.", "Make room: the spool may need 1 GB.")
    return said.passed("1 MiB was written in {path}; {free} are free.")


def _write(folder: Path) -> None:
    """Write as the spool does: until it is on the disk."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(TRIAL_BYTES))
        file.flush()
        os.fsync(file.fileno())


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
