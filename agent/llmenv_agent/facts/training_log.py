"""Progress lines of `mlx_lm.lora` (and trainers in its style) and of nanoGPT.

Rates are medians: a first iteration may be twenty times slower than the rest.
"""

from __future__ import annotations

import re

from llmenv_agent.facts.observed import Observed, Reading
from llmenv_agent.facts.quantities import median

NUMBER = r"([0-9]{1,15}(?:\.[0-9]{1,15})?)"
LOSS = re.compile(rf"^iter [0-9]+: (?:train )?loss {NUMBER}", re.MULTILINE | re.IGNORECASE)
VALIDATION_LOSS = re.compile(rf"\bval loss {NUMBER}", re.IGNORECASE)
MILLISECONDS = re.compile(rf"\btime {NUMBER}ms")
RATE = re.compile(rf"\bIt/sec {NUMBER}")
TOKEN_RATE = re.compile(rf"\bTokens/sec {NUMBER}")
PEAK_MEMORY = re.compile(rf"\bPeak mem {NUMBER} GB")


def parse_training_log(text: str) -> Observed:
    """How many iterations are logged, the loss before and after, median rates and peak memory."""
    losses = _numbers(LOSS, text)
    validation = _numbers(VALIDATION_LOSS, text)
    peaks = _numbers(PEAK_MEMORY, text)
    readings: dict[str, Reading] = {
        "logged_iterations": len(losses) or None,
        "first_loss": losses[0] if losses else None,
        "last_loss": losses[-1] if losses else None,
        "last_validation_loss": validation[-1] if validation else None,
        "median_iterations_per_second": median(_numbers(RATE, text)),
        "median_tokens_per_second": median(_numbers(TOKEN_RATE, text)),
        "median_iteration_ms": median(_numbers(MILLISECONDS, text)),
        "peak_memory_gb": max(peaks) if peaks else None,
    }
    return Observed(readings={name: value for name, value in readings.items() if value is not None})


def _numbers(pattern: re.Pattern[str], text: str) -> list[float]:
    return [float(number) for number in pattern.findall(text)]
