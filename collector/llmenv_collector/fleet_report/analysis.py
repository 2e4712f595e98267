"""The processes of their own in which statistics run, so that whoever delivers never waits for numpy.

At most two, started when they are first needed and kept, for importing numpy takes longer than most answers.
One is started anew when it died, and ended when it took more memory or time than it may.  They end with the
collector, however that ends, since their sockets close then.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from llmenv_collector.errors import AnalysisError, AnalysisLimitError, CollectorError

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

MEMORY_BYTES = 1_000_000_000
SECONDS = 60.0
END_SECONDS = 5.0
PROCESSES = 2
MEMORY_EXIT = 3
"""Exit code of a process that ended itself, since it took more memory than it may."""


@dataclass(frozen=True)
class Bounds:
    """What one answer may use.  Waiting for another one's end counts as time."""

    seconds: float = SECONDS
    memory_bytes: int = MEMORY_BYTES


@dataclass(frozen=True)
class Failure:
    """What the process says when there is no answer."""

    sentence: str
    traceback: str = ""
    is_out_of_memory: bool = False


class Analysis:
    """Every method may be called from any thread; a process works out one answer at a time."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        self._bounds = bounds or Bounds()
        self._seats = [Seat() for _ in range(PROCESSES)]
        # The last one first: who asks for one thing after the other has one process.
        self._free: queue.LifoQueue[Seat] = queue.LifoQueue()
        for seat in self._seats:
            self._free.put(seat)
        self._is_closed = False

    def start(self) -> None:
        """Has the processes import what they need, while the caller reads."""
        taken: list[Seat] = []
        with contextlib.suppress(queue.Empty):
            while True:
                taken.append(self._free.get_nowait())
        for seat in reversed(taken):
            try:
                self._ready_worker(seat)
            finally:
                self._free.put(seat)

    def begin(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """As judge, while the caller does something else."""
        answer: Future[R] = Future()

        def work() -> None:
            try:
                answer.set_result(self.judge(function, *args, **kwargs))
            except Exception as error:  # noqa: BLE001 (whoever waits for the answer is told)
                answer.set_exception(error)

        threading.Thread(target=work, name="analysis", daemon=True).start()
        return answer

    def judge(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """What `function` returns there.

        It is found by its name, so it is a module's own; arguments and answer are plain values, dataclasses
        and arrays.  Raises AnalysisLimitError when it needs too much, the CollectorError that `function`
        raises, and AnalysisError when it fails otherwise.
        """
        deadline = time.monotonic() + self._bounds.seconds
        try:
            seat = self._free.get(timeout=self._bounds.seconds)
        except queue.Empty:
            raise self._late() from None
        try:
            answer: R = self._answer(seat, deadline, (function, args, kwargs))
        finally:
            self._free.put(seat)
        return answer

    def close(self) -> None:
        """Ends the processes, also while they work."""
        self._is_closed = True
        for seat in self._seats:
            if seat.worker is not None:
                seat.worker.end()

    def _answer(self, seat: Seat, deadline: float, request: tuple[Any, ...]) -> Any:
        worker = self._ready_worker(seat)
        try:
            answer = worker.ask(request, seconds=deadline - time.monotonic())
        except TimeoutError as error:
            raise self._late() from error
        except (EOFError, OSError) as error:
            raise self._died(worker.end()) from error
        if isinstance(answer, CollectorError):
            raise answer
        if not isinstance(answer, Failure):
            return answer
        if answer.is_out_of_memory:
            worker.end()
            raise self._too_big()
        logger.error("statistics failed: %s\n%s", answer.sentence, answer.traceback)
        raise AnalysisError(f"The statistics of this report failed: {answer.sentence}")

    def _ready_worker(self, seat: Seat) -> Worker:
        if self._is_closed:
            raise AnalysisError("The collector is about to end.")
        if seat.worker is None or not seat.worker.is_alive():
            seat.worker = Worker(self._bounds)
        return seat.worker

    def _late(self) -> AnalysisLimitError:
        return AnalysisLimitError(
            f"The statistics of this report took longer than {self._bounds.seconds:g} s and were ended:"
            " ask for a shorter period, or for fewer machines or checks."
        )

    def _too_big(self) -> AnalysisLimitError:
        return AnalysisLimitError(
            f"The statistics of this report needed more than {self._bounds.memory_bytes // 1_000_000} MB of"
            " memory and were ended: ask for a shorter period, or for fewer machines or checks."
        )

    def _died(self, returncode: int) -> AnalysisError:
        if returncode == MEMORY_EXIT:
            return self._too_big()
        how = f"by signal {-returncode}" if returncode < 0 else f"with exit code {returncode}"
        return AnalysisError(f"The process of the statistics ended {how}: ask again.")


@dataclass
class Seat:
    """Room for one process."""

    worker: Worker | None = None


class Worker:
    """The process, and the socket over which it is asked."""

    def __init__(self, bounds: Bounds) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "llmenv_collector.fleet_report.analysis_worker",
                    str(theirs.fileno()),
                    str(bounds.memory_bytes),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                # A thread a core costs memory and wins nothing on arrays of this size.
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        self._connection = Connection(ours.detach())

    def is_alive(self) -> bool:
        return not self._connection.closed and self._process.poll() is None

    def ask(self, request: tuple[Any, ...], *, seconds: float) -> Any:
        """Raises TimeoutError, or EOFError or OSError when the process died."""
        late = threading.Event()

        def end_it() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(max(seconds, 0.0), end_it)
        timer.start()
        try:
            self._connection.send(request)
            return self._connection.recv()
        except (EOFError, OSError):
            if late.is_set():
                self.end()
                raise TimeoutError from None
            raise
        finally:
            timer.cancel()

    def end(self) -> int:
        """Returns the process's exit code: its own, where it had ended by itself."""
        with contextlib.suppress(OSError):
            self._connection.close()
        try:
            return self._process.wait(END_SECONDS / 10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait(END_SECONDS)
