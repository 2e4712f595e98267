"""The variables that torch reads for MPS when it is loaded, judged by how its source reads them.

aten/src/ATen/mps/MPSAllocator.mm takes the watermark ratios with strtod, for which a word is 0, and refuses
what is not 0 <= high <= 2 and 0 <= low <= high, with 2 in place of a high one of 0, which lifts the limit.
Not set, they are 1.7 and 1.4 on unified memory.  aten/src/ATen/mps/MPSFallback.mm takes its variable with
std::stoi, which throws on a word.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from .findings import Findings

FALLBACK = "PYTORCH_ENABLE_MPS_FALLBACK"
HIGH, LOW = "PYTORCH_MPS_HIGH_WATERMARK_RATIO", "PYTORCH_MPS_LOW_WATERMARK_RATIO"
DEFAULT_HIGH, DEFAULT_LOW, HIGHEST = 1.7, 1.4, 2.0
MOST_CHARACTERS = 40


def judge_fallback(findings: Findings) -> None:
    text = os.environ.get(FALLBACK, "0")
    number = re.match(r"\s*[+-]?\d+", text)
    if number is None:
        findings.fail(
            "{variable} is {text}: torch on a Mac reads a number there and is not loaded without one.",
            "KI102",
            variable=FALLBACK,
            text=repr(text[:MOST_CHARACTERS]),
        )
    is_on = int(number.group()) != 0
    findings.fact("fallback_on", is_on)
    if is_on:
        findings.passed("The fallback is on: an operator that MPS lacks runs on the CPU, slowly.")
    else:
        findings.passed("The fallback is off: an operator that MPS lacks raises an error.")


def judge_high_watermark(findings: Findings) -> None:
    ratio = _ratio(findings, HIGH, DEFAULT_HIGH)
    if not 0 <= ratio <= HIGHEST:
        findings.fail("torch refuses a high watermark of {ratio:g}: it is 0 to 2.", "KI101", ratio=ratio)
    if ratio == 0:
        findings.warn(
            "The memory limit of MPS is lifted: a training too large may freeze the Mac instead of failing.",
            "KI009",
        )
    findings.passed("torch may take {ratio:g} times the GPU's recommended working set.", ratio=ratio)


def judge_low_watermark(findings: Findings) -> None:
    """Lowering the high one alone leaves the low one above it, and nothing can be allocated."""
    low = _ratio(findings, LOW, DEFAULT_LOW)
    high = _number(os.environ.get(HIGH, str(DEFAULT_HIGH))) or HIGHEST
    if not 0 <= low <= high:
        findings.fail(
            "torch refuses a low watermark of {low:g} with a high one of {high:g}: MPS gives no memory.",
            "KI101",
            low=low,
            high=high,
        )
    findings.passed("torch begins to give memory back at {ratio:g} times the working set.", ratio=low)


def _ratio(findings: Findings, variable: str, default: float) -> float:
    text = os.environ.get(variable)
    findings.fact("is_set", text is not None)
    ratio = default if text is None else _number(text)
    if ratio is None:
        findings.fail(
            "{variable} is {text}, no number: torch takes it for 0, which is no limit.",
            "KI101",
            variable=variable,
            text=repr((text or "")[:MOST_CHARACTERS]),
        )
    return ratio


def _number(text: str) -> Optional[float]:
    try:
        return float(text)
    except ValueError:
        return None
