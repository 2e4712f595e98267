"""How wrong a result may be: the float64 reference on the CPU, the error against it, and its bound.

The operands are rounded to the data type under test first, so that the reference has the same inputs and
the error is the operation's own.  The error is normwise, max|y - reference| / max|reference|, of every
output and every gradient by itself, and is held to

    roundings * u(dtype) + (FUNCTION_ROUNDOFFS + CONFIDENCE * sqrt(length)) * u(float32)

- u is the unit roundoff: 2^-24, 2^-11 and 2^-8 for float32, float16 and bfloat16.
- `roundings` counts the roundings to the data type itself from operands to result, each worth one u of the
  largest value: Higham, "Accuracy and Stability of Numerical Algorithms" (2002), lemma 3.1, gamma_n = n*u to
  first order.  Where an intermediate value of size S enters an exponential, its rounding counts S times.
- `length` is how many terms a sum has, which is to be held in float32 whatever the operands are.  The worst
  case gamma_n would let n*u pass; roundings of independent sign grow with sqrt(n): Higham and Mary, "A new
  approach to probabilistic rounding error analysis" (SIAM J. Sci. Comput. 41, 2019), CONFIDENCE * sqrt(n) * u
  with probability at least 1 - 2*exp(-CONFIDENCE^2 / 2), 0.9993 for 4, were every rounding as large as it can
  be.
- FUNCTION_ROUNDOFFS is what approximations of exp, tanh, erf, log or sin may cost in float32: the 1.3e-6
  relative and 1e-5 absolute of torch.testing's defaults, to which PyTorch holds every operator on MPS, are
  3.8e-6 of a largest output of 4.

For a product over K = 50,257 in float32 the bound is 5.8e-5.  It admits what was right on an M1 Pro (1.4e-6
by MPSGraph, 1.8e-5 by PyTorch's Metal kernel) and refuses what was wrong (3.3e-4, pytorch #193487).

Integers and what only moves values have the bound 0.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from .roundoff import UNIT_ROUNDOFF

FUNCTION_ROUNDOFFS = 64
CONFIDENCE = 4


def bound(dtype: str, *, roundings: float, length: int = 1) -> float:
    """Largest normwise error of a right result in `dtype`; 0 for integers, and without roundings."""
    if dtype not in UNIT_ROUNDOFF or roundings == 0:
        return 0.0
    in_float32 = FUNCTION_ROUNDOFFS + CONFIDENCE * math.sqrt(length)
    return roundings * UNIT_ROUNDOFF[dtype] + in_float32 * UNIT_ROUNDOFF["float32"]


class Deviation(NamedTuple):
    """What separates an observed tensor from its reference.

    `untouched` counts values that the memory held before; `not_finite` those that are NaN or infinite where
    the reference is not, or the other way round.  `error` is that of all other values, relative to the
    largest of the reference.
    """

    total: int
    untouched: int
    not_finite: int
    error: float


def deviation(observed: Any, expected: Any, *, stale: float) -> Deviation:
    """Compare a tensor of the device with a float64 tensor on the CPU of the same shape.

    `stale` is the value that freed memory was filled with.  Both are compared on the CPU.
    """
    seen = observed.detach().cpu().double()
    untouched = (seen == stale) & (expected != stale)
    regular = expected.isfinite()
    is_same_stray = (seen == expected) | (seen.isnan() & expected.isnan())
    stray = (regular ^ seen.isfinite()) | (~regular & ~is_same_stray)
    judged = regular & ~stray & ~untouched
    # Operands are of size 1, so where all of the reference is 0 an absolute error is a relative one.
    scale = _largest(expected, regular) or 1.0
    return Deviation(
        total=expected.numel(),
        untouched=int(untouched.sum()),
        not_finite=int(stray.sum()),
        error=_largest(seen - expected, judged) / scale,
    )


def _largest(values: Any, counted: Any) -> float:
    """The largest size among those counted; 0 where there are none."""
    return float(values.abs().where(counted, 0).max()) if values.numel() else 0.0
