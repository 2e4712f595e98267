"""Servers on loopback: started in a folder, waited for, watched for memory and CPU, ended by their pids."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

LOOPBACK = "127.0.0.1"
PEERS = Path(__file__).resolve().parents[2] / ".venv-peers"
UNPACKED = PEERS / "debian" / "usr" / "bin"
"""`make bench` sets both up."""
_START_SECONDS, _END_SECONDS = 300.0, 120.0
_LOOK_SECONDS = 0.1


class NotMeasuredError(Exception):
    """A system did not start, did not keep what it was sent, or did not answer; one sentence."""


class NotInstalledError(NotMeasuredError):
    """It is not on this machine."""


def program(name: str, *, package: str, folder: Path = UNPACKED) -> Path:
    """Of Debian's package: in `folder`, else on PATH. Raises NotInstalledError."""
    found = shutil.which(name, path=folder) or shutil.which(name)
    if found is None:
        raise NotInstalledError(f"not installed: {name}, of Debian's package {package}")
    return Path(found)


@dataclass(frozen=True)
class Server:
    """What it says goes to a file."""

    process: subprocess.Popen[bytes]
    log: Path
    end_by: signal.Signals

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_until(self, is_ready: Callable[[], bool], what: str) -> None:
        """Raises NotMeasuredError where the process ends before, or takes too long."""
        deadline = time.monotonic() + _START_SECONDS
        while not is_ready():
            if self.process.poll() is not None:
                raise NotMeasuredError(f"{what} did not come, its server ended: {self._last_words()}")
            if time.monotonic() > deadline:
                raise NotMeasuredError(f"{what} did not come within {_START_SECONDS:g} s")
            time.sleep(_LOOK_SECONDS)

    def end(self) -> None:
        """In order, and by force where it takes too long."""
        if self.process.poll() is None:
            self.process.send_signal(self.end_by)
        try:
            self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _last_words(self) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1][:200] if lines else f"exit code {self.process.returncode}"


@contextlib.contextmanager
def served(
    *command: str | Path,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    user: str | None = None,
    end_by: signal.Signals = signal.SIGTERM,
) -> Iterator[Server]:
    """With everything in `folder`."""
    log = folder / f"{Path(command[0]).name}.log"
    with log.open("ab") as talk:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdout=talk,
            stderr=talk,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
    server = Server(process, log, end_by)
    try:
        yield server
    finally:
        server.end()


def answers(port: int, path: str) -> Callable[[], bool]:
    """Whether GET gives 200 or 204."""

    def ask() -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status in {200, 204}
        except OSError:
            return False
        finally:
            connection.close()

    return ask


def free_ports(count: int) -> list[int]:
    """Free when asked: nothing else starts servers meanwhile."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((LOOPBACK, 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def size_of(folder: Path) -> int:
    """Bytes that its files take: of those made longer than they are filled, what is filled."""
    return sum(512 * path.stat().st_blocks for path in folder.rglob("*") if path.is_file())


class Watch:
    """Of processes and all that they start: highest memory and CPU time, while the `with` block runs."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._roots = [psutil.Process(pid) for pid in pids]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self.peak_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._look()

    def cpu_seconds(self) -> float:
        """So far, with that of processes that have ended."""
        total = 0.0
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                total += sum(process.cpu_times()[:4])
        return total

    def _look_on(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            self._look()

    def _look(self) -> None:
        self.peak_bytes = max(self.peak_bytes, sum(resident_bytes(each) for each in self._processes()))

    def _processes(self) -> list[psutil.Process]:
        found = list(self._roots)
        for root in self._roots:
            with contextlib.suppress(psutil.Error):
                found += root.children(recursive=True)
        return found


def resident_bytes(process: psutil.Process) -> int:
    """A page that several processes share is counted once in all, where the system tells (PSS)."""
    with contextlib.suppress(psutil.Error):
        memory = process.memory_full_info()
        return int(getattr(memory, "pss", memory.rss))
    return 0
