"""One run at a time on a machine, whoever starts it.

Two runs would disturb each other's figures.  The lock is the kernel's, on a
file that all users can open, so it ends with its holder, also by kill -9.  What
is written in the file only says who holds it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from llmenv_agent.errors import AgentError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

# Not TMPDIR: on macOS each user has another.
DEFAULT_PATH = Path("/tmp/llmenv-run.lock")  # noqa: S108 # opened without following links, and checked
_POLL_SECONDS = 1.0
_MOST_NOTE_BYTES = 1024


class RunLockError(AgentError):
    """The lock's file cannot be used."""


class LockCancelledError(AgentError):
    """Waiting was ended on request."""


@dataclasses.dataclass(frozen=True)
class Holder:
    """Who holds the lock, as far as the file says; `pid` is 0 where it does not."""

    pid: int
    purpose: str


def lock_path() -> Path:
    """LLMENV_RUN_LOCK, or the machine's own."""
    return Path(os.environ.get("LLMENV_RUN_LOCK") or DEFAULT_PATH)


@contextlib.contextmanager
def run_lock(
    purpose: str,
    *,
    path: Path | None = None,
    on_wait: Callable[[Holder], None] = lambda _: None,
    cancelled: threading.Event | None = None,
) -> Iterator[None]:
    """Hold the lock for the block, after waiting for whoever holds it.

    `purpose` is for others to read, such as "llmenv-agent check".  `on_wait` is
    called once for each holder waited for.  Raises RunLockError for an unusable
    file and LockCancelledError once `cancelled` is set.
    """
    descriptor = _acquire(path or lock_path(), on_wait, cancelled)
    try:
        _write_holder(descriptor, purpose)
        yield
    finally:
        os.close(descriptor)


def lock_holder(path: Path | None = None) -> Holder | None:
    """Who holds the lock at the moment; None where nobody does. Raises RunLockError for an unusable file."""
    descriptor = _open(path or lock_path())
    try:
        return None if _try_lock(descriptor) else _read_holder(descriptor)
    finally:
        os.close(descriptor)


def _acquire(path: Path, on_wait: Callable[[Holder], None], cancelled: threading.Event | None) -> int:
    announced: Holder | None = None
    while True:
        descriptor = _open(path)
        if _try_lock(descriptor) and _is_still(path, descriptor):
            return descriptor
        holder = _read_holder(descriptor)
        os.close(descriptor)
        if holder != announced:
            announced = holder
            on_wait(holder)
        if cancelled is not None and cancelled.is_set():
            raise LockCancelledError("cancelled while waiting for another run")
        time.sleep(_POLL_SECONDS)


def _open(path: Path) -> int:
    """Open without O_CREAT first: Linux refuses that on another user's file in a sticky folder."""
    for flags in (os.O_RDWR, os.O_RDWR | os.O_CREAT | os.O_EXCL, os.O_RDONLY):
        with contextlib.suppress(OSError):
            descriptor = os.open(path, flags | os.O_NOFOLLOW, 0o666)
            if flags & os.O_CREAT:
                os.fchmod(descriptor, 0o666)  # whatever the umask says: others must be able to lock it
            return descriptor
    raise RunLockError(f"The lock file {path} cannot be opened; set LLMENV_RUN_LOCK to another path.")


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the locked file is the one that the next comer will open."""
    try:
        return os.path.samestat(path.stat(follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _write_holder(descriptor: int, purpose: str) -> None:
    note = json.dumps({"pid": os.getpid(), "purpose": purpose}).encode()
    with contextlib.suppress(OSError):  # another user's file that we may lock and not write
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, note, 0)


def _read_holder(descriptor: int) -> Holder:
    try:
        note = json.loads(os.pread(descriptor, _MOST_NOTE_BYTES, 0))
        return Holder(pid=int(note["pid"]), purpose=str(note["purpose"]))
    except (ValueError, KeyError, TypeError):
        return Holder(pid=0, purpose="")
