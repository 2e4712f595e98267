"""Does the machine hold its speed, and its memory, when it trains for a long time?

Steps of a Llama with random weights for a given time, without a pause, in windows of a given length; each
window's tokens a second are a trial, in order. The machine throttles when the Mann-Kendall test finds a
falling trend (one-sided 0.001) and the median of the last quarter of the windows is at least 5 % below that
of the first: a warning with the share that was lost. Fewer than twelve windows are too few to say, and the
check says so.

Every step takes the same memory, so the peak is reached early: what it grows by after the first quarter of
the time is a leak where it is over 5 % and 64 MiB, which allocators may round and fragment. The peak is the
process's on the CPU, the accelerator's elsewhere.

The steps must train: the logits are those of float64 on the CPU, the loss of the batch falls, and stays
finite.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, NamedTuple

from llmenv_probe import workloads
from llmenv_probe.training_step import TrainingStep
from llmenv_probe.trials import LEAST_DECLINE, Series, trend

if TYPE_CHECKING:
    from llmenv_agent.probe.context import Probe

ORDER = 400
SUITES = ("soak",)
REQUIRES = ("torch", "transformers")
# Beside the time asked for: imports, the model, the reference, and the last step.
TIMEOUT_SECONDS = 300
TIMEOUT_PARAMETER = "seconds"
# The default time, and the 8 s that a soak of 25 s took beside it.
TYPICAL_SECONDS = 608
# Without texts (a batch), they are chosen by the device and its memory.
PARAMETERS = {"seconds": 600.0, "window_seconds": 10.0, "texts": None}
ALLOWED = {"seconds": "1..2592000.0", "window_seconds": "0.01..3600.0", "texts": "1..1024"}

LEAST_WINDOWS = 12
# A soak of a night has longer windows, not more: the trend compares each with each.
MOST_WINDOWS = 500
LEAK_SHARE, LEAK_BYTES = 0.05, 64 * 2**20


class _Window(NamedTuple):
    """`rate` in tokens a second, and the peak in bytes at its end."""

    rate: float
    peak_bytes: float


def run(probe: Probe) -> None:
    device = probe.accelerator.torch_device()
    probe.fact("device", str(device))
    shape = workloads.training_shapes(device.type)["llama"]
    texts = probe.parameters["texts"] or workloads.texts_that_fit(probe, shape.training_bytes)
    probe.require_memory(shape.training_bytes(texts), shape.words(texts))
    step = TrainingStep(shape.build(device, seed=probe.seed), shape.tokens(texts, seed=probe.seed).to(device))
    probe.fact("texts", texts)
    step.refuse_wrong_logits(probe)
    step.note_first_loss()
    # The first step is slower than any other: libraries choose their kernels in it.
    step()
    probe.accelerator.reset_peak()

    windows = _soak(probe, step)
    step.refuse_unlearned(probe)
    _judge_memory(probe, windows)
    _judge_speed(probe, windows)


def _soak(probe: Probe, step: TrainingStep) -> "list[_Window]":
    """Windows that follow each other; the last one ends with or after the time asked for."""
    end = time.perf_counter() + probe.parameters["seconds"]
    seconds = max(probe.parameters["window_seconds"], probe.parameters["seconds"] / MOST_WINDOWS)
    windows = []
    while time.perf_counter() < end:
        windows.append(_window(probe, step, seconds=seconds))
    return windows


def _window(probe: Probe, step: TrainingStep, *, seconds: float) -> _Window:
    probe.accelerator.synchronize()
    started = now = time.perf_counter()
    steps = 0
    while not steps or now - started < seconds:
        step()
        probe.accelerator.synchronize()
        steps += 1
        now = time.perf_counter()
    return _Window(steps * step.tokens.numel() / (now - started), probe.peak_memory_bytes())


def _judge_memory(probe: Probe, windows: "list[_Window]") -> None:
    early, late = windows[len(windows) // 4].peak_bytes, windows[-1].peak_bytes
    probe.measure("peak_memory", late, "byte", better="lower")
    growth = probe.measure("memory_growth", late - early, "byte", better="lower")
    if growth > max(LEAK_BYTES, LEAK_SHARE * early):
        probe.warn(
            "Memory grows while training: the peak rose by {growth:.2f} GB after the first quarter.",
            remedy="KI113",
            growth=growth / 1e9,
        )


def _judge_speed(probe: Probe, windows: "list[_Window]") -> None:
    rates = [window.rate for window in windows]
    series = Series(seconds=tuple(1 / rate for rate in rates))
    rate = series.measure_rate(probe, "tokens_per_second", "token/s", work=1)
    if len(rates) < LEAST_WINDOWS:
        probe.warn(
            "{windows} windows are too few to say whether the speed falls: {least} are needed.",
            remedy="KI114",
            windows=len(rates),
            least=LEAST_WINDOWS,
        )
        return
    lost = _lost_share(rates)
    falling = trend(rates)
    probe.measure("lost_share", lost, "1", better="lower")
    probe.measure("trend_change", falling.change, "1", better="higher")
    probe.measure("trend_p_value", falling.p_value, "1")
    if falling.is_decline and lost >= LEAST_DECLINE:
        probe.warn(
            "Throttles: the last quarter of the windows was {lost:.1f} % slower than the first "
            "({rate:.1f} tokens/s in the middle).",
            remedy="KI112",
            lost=100 * lost,
            rate=rate,
        )
    probe.passed(
        "Held {rate:.1f} tokens/s over {windows} windows, "
        "the last quarter {lost:.1f} % slower than the first.",
        rate=rate,
        windows=len(rates),
        lost=100 * lost,
    )


def _lost_share(rates: "list[float]") -> float:
    """From the median of the first quarter to that of the last; negative where it got faster."""
    quarter = len(rates) // 4
    return 1 - statistics.median(rates[-quarter:]) / statistics.median(rates[:quarter])
