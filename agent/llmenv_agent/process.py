"""One process and its group: a deadline, a bounded log, and nothing left running.

Whatever the process does (hang, flood its output, leave children behind),
`run_process` comes back, soon after the deadline at the latest, with how it
ended.  Only a child that made a session of its own is out of reach.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import os
import selectors
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

LOG_TAIL_BYTES = 64 * 1024
_READ_BYTES = 64 * 1024
_TICK_SECONDS = 0.1
# For the stacks that the probe writes when it is told of its end.
_STACKS_SECONDS = 0.5
# A process inside a hung driver does not even die of SIGKILL.
_DEATH_SECONDS = 10.0
_DRAIN_SECONDS = 1.0


class Stop(enum.Enum):
    """Why the runner ends a process before its own end."""

    DEADLINE = "deadline"
    CASE_DEADLINE = "case deadline"
    CANCELLED = "cancelled"


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a process ended. `returncode` is negative for a signal, None where it would not die."""

    returncode: int | None
    stopped: Stop | None
    children_left_behind: int
    log_tail: bytes
    log_bytes_cut: int
    wall_seconds: float


class LogTail:
    """The last `limit` bytes written, and how many came before them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()
        self.bytes_cut = 0

    def write(self, chunk: bytes) -> None:
        self._kept += chunk
        excess = len(self._kept) - self._limit
        if excess > 0:
            del self._kept[:excess]
            self.bytes_cut += excess

    def read(self) -> bytes:
        return bytes(self._kept)


def run_process(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    should_stop: Callable[[float], Stop | None],
    on_start: Callable[[int], None] = lambda _: None,
) -> Ended:
    """Run `command` in a group of its own until it ends or `should_stop` says why it must.

    `should_stop` is asked about ten times a second with the seconds since the
    start (monotonic; a sleeping Mac does not count).  stdin is a pipe that ends
    with this process.  Raises OSError where the command cannot be started.
    """
    start = time.monotonic()
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(environment),
        cwd=folder,
        start_new_session=True,
    )
    with contextlib.closing(_Watch(process)) as watch:
        try:
            on_start(process.pid)
            stopped = watch.until_end(lambda: should_stop(time.monotonic() - start))
        except BaseException:  # Ctrl-C too: nothing is left running
            watch.kill()
            raise
        wall_seconds = time.monotonic() - start
        outlived = end_group(process.pid)
        watch.drain()
        return Ended(
            returncode=process.returncode,
            stopped=stopped,
            children_left_behind=0 if stopped else outlived,
            log_tail=watch.log.read(),
            log_bytes_cut=watch.log.bytes_cut,
            wall_seconds=wall_seconds,
        )


class _Watch:
    """Waits for the process's end and its output at once, on one thread and one that only waits."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.log = LogTail(LOG_TAIL_BYTES)
        self._process = process
        self._wake_read, self._wake_write = os.pipe()
        if process.stdout is None:
            raise ValueError("the process must be started with stdout=PIPE")
        self._output = process.stdout.fileno()
        os.set_blocking(self._output, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._output, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._waiter = threading.Thread(target=self._wait, name="llmenv-waiter", daemon=True)
        self._waiter.start()

    def _wait(self) -> None:
        self._process.wait()
        os.write(self._wake_write, b"\0")

    def until_end(self, should_stop: Callable[[], Stop | None]) -> Stop | None:
        ask_at = 0.0
        while not self._step(_TICK_SECONDS):
            if time.monotonic() < ask_at:  # a flood of output steps much more often
                continue
            ask_at = time.monotonic() + _TICK_SECONDS
            stop = should_stop()
            if stop is not None:
                self._end(stop)
                return stop
        return None

    def _end(self, stop: Stop) -> None:
        if stop is not Stop.CANCELLED:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGUSR1)
            self._step_for(_STACKS_SECONDS)
        self.kill()
        self._step_for(_DEATH_SECONDS)

    def kill(self) -> None:
        # macOS refuses, rather than not finding, a group that has only ended members.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _step_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._step(min(_TICK_SECONDS, seconds)):
            pass

    def _step(self, timeout: float) -> bool:
        """Take what output there is; True once the process has ended."""
        for key, _ in self._selector.select(timeout):
            if key.fd == self._wake_read:
                return True
            if not self._read_once():
                self._selector.unregister(self._output)
        return False

    def _read_once(self) -> bool:
        """Read once; False at the end of the output."""
        try:
            chunk = os.read(self._output, _READ_BYTES)
        except BlockingIOError:
            return True
        self.log.write(chunk)
        return bool(chunk)

    def drain(self) -> None:
        """Take what the ended group has left in the pipe, briefly: somebody else may hold it open."""
        end = time.monotonic() + _DRAIN_SECONDS
        with contextlib.suppress(BlockingIOError):
            while time.monotonic() < end:
                chunk = os.read(self._output, _READ_BYTES)
                if not chunk:
                    return
                self.log.write(chunk)

    def close(self) -> None:
        self._selector.close()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self._waiter.join(_DRAIN_SECONDS)
        if not self._waiter.is_alive():  # else it would one day write to a number reused
            os.close(self._wake_read)
            os.close(self._wake_write)


def end_group(leader: int) -> int:
    """End what is left of the session that `leader` led; a count of the processes ended."""
    try:
        os.killpg(leader, 0)
    except (ProcessLookupError, PermissionError):
        return 0
    members = sum(_belongs(pid, leader) for pid in psutil.pids())
    if members:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)
    return members


def _belongs(pid: int, leader: int) -> bool:
    """The session too: a recycled number may lead another group, but not the session begun for it."""
    try:
        if os.getpgid(pid) != leader or os.getsid(pid) != leader:
            return False
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, PermissionError, psutil.NoSuchProcess):
        return False
