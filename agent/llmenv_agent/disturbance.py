"""What happened beside a check that spoils its measurements: another process on the GPU, or a sleep.

The verdict stands: what was right or wrong stays so. Figures that nobody may compare are not kept.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from llmenv_agent.clocks import SYSTEM_CLOCKS, Clocks, Span
from llmenv_agent.gpu_use import GpuUse, read_gpu
from llmenv_agent.verdict import spoken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from llmenv.fleet.v1 import result_pb2

    from llmenv_agent.gpu_use import GpuProcess, Reading

# What a screen takes when somebody looks at it stays below; a figure beside a tenth more is another figure.
GPU_SHARE = 0.1
SLEPT_SECONDS = 1.0
# Seldom, so that looking is no disturbance itself; a process that comes and goes in between is not seen.
LOOK_EVERY_SECONDS = 5.0
_GPU_DEVICES = ("mps", "cuda")


class Watched:
    """One check from its start to its end; `gpu` is None for one that does not use it."""

    def __init__(self, gpu: GpuUse | None, span: Span) -> None:
        self._gpu = gpu
        self._span = span

    def mark(self, result: result_pb2.Result) -> None:
        """Say in the conditions who else used the GPU; take the measurements out where they are spoilt."""
        others = self._gpu.others() if self._gpu is not None else []
        if self._gpu is not None and self._gpu.can_be_told:
            result.conditions_after.other_gpu_processes = len(others)
        reason = _of_sleep(self._span.slept_seconds()) or _of_others(others)
        if reason is not None and _has_measurements(result):
            withhold(result, reason)


@contextlib.contextmanager
def watched(
    device: str,
    *,
    clocks: Clocks = SYSTEM_CLOCKS,
    read: Callable[[], Reading | None] = read_gpu,
    look_every_seconds: float = LOOK_EVERY_SECONDS,
) -> Iterator[Watched]:
    """Watch the machine for as long as the block runs."""
    span = Span(clocks)
    if device not in _GPU_DEVICES:
        yield Watched(None, span)
        return
    gpu = GpuUse(read=read, clocks=clocks)
    with _looking(gpu, look_every_seconds):
        yield Watched(gpu, span)


@contextlib.contextmanager
def _looking(gpu: GpuUse, every_seconds: float) -> Iterator[None]:
    """In a thread of its own: a look may take a second, and the check need not wait for it."""
    ended = threading.Event()

    def keep_looking() -> None:
        gpu.look()
        while not ended.wait(every_seconds):
            gpu.look()
        gpu.look_back()

    thread = threading.Thread(target=keep_looking, name="llmenv-disturbance", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def withhold(result: result_pb2.Result, reason: result_pb2.Sentence) -> None:
    """Take out every measurement, also of the cases, and say why."""
    del result.measurements[:]
    for case in result.cases:
        del case.measurements[:]
    result.measurements_withheld.CopyFrom(reason)


def _has_measurements(result: result_pb2.Result) -> bool:
    return bool(result.measurements) or any(case.measurements for case in result.cases)


def _of_sleep(seconds: float) -> result_pb2.Sentence | None:
    if seconds < SLEPT_SECONDS:
        return None
    return spoken("The machine slept for {seconds:.0f} s meanwhile.", seconds=seconds)


def _of_others(others: Sequence[GpuProcess]) -> result_pb2.Sentence | None:
    if not others or others[0].share < GPU_SHARE:
        return None
    template = "Another process used the GPU meanwhile: {program}, {percent:.0f} % of the time."
    return spoken(template, program=others[0].name, percent=others[0].share * 100)
