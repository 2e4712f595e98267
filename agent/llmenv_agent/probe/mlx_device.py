"""MLX for benchmarks: waited for, and judged in plain Python.

MLX is lazy: what is not evaluated is not computed, so an action that is timed evaluates its result itself.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, List

from .mlx_backend import rounds_to_tf32
from .precision import BOUNDS

if TYPE_CHECKING:
    from .findings import Findings

# Where float32 operands are rounded to TF32 (mlx #3534).
TF32_BOUND = 2e-2


def synchronize() -> None:
    """Wait for the default stream."""
    import mlx.core as mx

    mx.synchronize()


def product_bound(dtype_name: str) -> float:
    """The bound of a product's relative error, wider where the device rounds float32 to TF32."""
    return TF32_BOUND if dtype_name == "float32" and rounds_to_tf32() else BOUNDS[dtype_name]


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
