"""Data types by name: whether the device has them, and how exact a product in them has to be.

A product is held to max|y - reference| / max|reference| against float64 on the CPU from the same rounded
operands: 1e-4 in FP32, where a wrong answer was observed at 3.3e-4 (pytorch #193487), and 5e-3 in FP16 and
2e-2 in BF16, ten and five times the unit roundoffs 2^-11 and 2^-8.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .findings import Findings

BOUNDS = {"float32": 1e-4, "float16": 5e-3, "bfloat16": 2e-2}


def torch_dtype(name: str, device: Any, findings: Findings) -> Any:
    """The torch.dtype called `name`; skips where this system or device has none."""
    import torch

    is_missing = name == "bfloat16" and (
        (device.type == "mps" and _macos_release() < 14)
        or (device.type == "cuda" and not torch.cuda.is_bf16_supported())
    )
    if is_missing:
        findings.skip("There is no {dtype} on this device: on MPS it needs macOS 14.", dtype=name)
    return getattr(torch, name)


def refuse_wrong(findings: Findings, observed: Any, reference: Any, *, bound: float) -> float:
    """End as `fail` what was computed wrong; returns the relative error max|y - reference| / max|reference|.

    `observed` and `reference` are torch tensors of one shape; the reference is float64 on the CPU.
    A speed of wrong results is no speed, and no output at all is the fastest.
    """
    difference = (observed.detach().cpu().double() - reference).abs().max().item()
    error = float(difference / reference.abs().max().item())
    if not error <= bound:
        findings.fail(
            "What was timed computes wrong: relative error {error:.1e}, more than {bound:.0e}.",
            error=error,
            bound=bound,
        )
    findings.measure("output_error", error, "1", better="lower")
    return error


def _macos_release() -> int:
    return int(platform.mac_ver()[0].partition(".")[0] or 0)
