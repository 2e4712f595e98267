"""MLX for benchmarks: present or a skip, on the device asked for, waited for, and judged in plain Python.

MLX is lazy: what is not evaluated is not computed, so an action that is timed evaluates its result itself.
"""

from __future__ import annotations

import importlib.util
import math
import os
import re
from typing import TYPE_CHECKING, Any, List

from .precision import BOUNDS

if TYPE_CHECKING:
    from .context import Probe
    from .findings import Findings

# The matrix units of the M5 and later round float32 operands to TF32 unless MLX_ENABLE_TF32=0 (mlx #3534).
TF32_BOUND = 2e-2


def require(probe: Probe) -> Any:
    """The module mlx.core with its default device set; ends the check as skip where there is no MLX."""
    if importlib.util.find_spec("mlx") is None:
        probe.skip("MLX is not installed.")
    import mlx.core as mx

    if probe.device == "cpu":
        mx.set_default_device(mx.cpu)
    probe.fact("default_device", str(mx.default_device()))
    return mx


def synchronize() -> None:
    """Wait for the default stream."""
    import mlx.core as mx

    mx.synchronize()


def product_bound(probe: Probe, dtype_name: str) -> float:
    """The bound of a product's relative error, wider where the chip rounds float32 to TF32."""
    generation = re.match(r"Apple M(\d+)", probe.machine.chip)
    is_tf32 = (
        generation is not None and int(generation[1]) >= 5 and os.environ.get("MLX_ENABLE_TF32", "1") != "0"
    )
    return TF32_BOUND if dtype_name == "float32" and is_tf32 else BOUNDS[dtype_name]


def refuse_wrong(findings: Findings, observed: List[float], reference: List[float], *, bound: float) -> None:
    """End as `fail` where max|y - reference| / max|reference| is above `bound`, or not finite."""
    differences = [abs(value - exact) for value, exact in zip(observed, reference)]  # noqa: B905 (Python 3.9 has no strict)
    # max() of a NaN depends on where it stands.
    worst = max(differences) if all(map(math.isfinite, differences)) else math.inf
    error = worst / max(map(abs, reference))
    if not error <= bound:
        findings.fail(
            "What was timed computes wrong: relative error {error:.1e}, more than {bound:.0e}.",
            error=error,
            bound=bound,
        )
    findings.measure("output_error", error, "1", better="lower")
