"""What a canary is: the issue it stands for, a computation of that issue's own, and the answer that is right.

Where it can be, operands are small whole numbers, so that every product and sum is exact in float32 (below
2^24) and in TF32, in any order of summation: then the bound is 0, and one term of 50,257 shows.  Elsewhere
the bound is COARSE or COARSE_BF16: eight roundings to the format a device may compute in, TF32 (unit
roundoff 2^-11) or bfloat16 (2^-8).  An error is max|y - reference| / max|reference|, or max|y| where the
reference is zero, against float64 on the CPU; a value that is not finite, or another shape, is infinitely
wrong.
"""

from __future__ import annotations

import math
from typing import Any, Callable, List, NamedTuple, Sequence, Tuple, Type

COARSE = 8 * 2.0**-11
COARSE_BF16 = 8 * 2.0**-8
# Half-precision attention rounds the scores, the probabilities, their sum and the output.
FOUR_ROUNDINGS_BF16 = 4 * 2.0**-8

MEBIBYTE = 2**20
POISON = 3.0
POISONED_BLOCKS = tuple(size * MEBIBYTE for size in (64, 32, 16, 8, 4, 2, 1)) + 16 * (64 * 1024,)


class Issue(NamedTuple):
    """Where an issue was reported, and which versions and chips it affects, in words."""

    url: str
    affected: str


class NotOffered(Exception):  # noqa: N818 # it is no error: the sentence says what this version lacks
    """This version of the library does not have what the issue is about."""


class Problem(NamedTuple):
    """A computation and its right answer.

    `observe` computes anew each time it is called, on the device, and gives as many tensors as `expected`
    has, which are float64 on the CPU.  `right_refusals` are exceptions that are as right as the answer.
    """

    observe: Callable[[], Sequence[Any]]
    expected: Sequence[Any]
    bound: float = 0.0
    right_refusals: Tuple[Type[Exception], ...] = ()


class Canary(NamedTuple):
    """One row of the table: its name, the issue's id in the catalogue, and what builds the problem.

    `needed_bytes` is given, with its arithmetic, for what takes more than a gigabyte.  `is_by_design` says
    that the library means to compute so: a limitation, not a failure.
    """

    name: str
    issue: str
    build: Callable[[Workbench], Problem]
    library: str = "torch"
    needed_bytes: int = 0
    arithmetic: str = ""
    is_by_design: bool = False


class Workbench:
    """The device and random numbers that a problem is built with, and the state of the device's allocator."""

    def __init__(self, device: Any, seed: int) -> None:
        import torch

        self.device = device
        self._generator = torch.Generator().manual_seed(seed)

    def whole(self, *shape: int, limit: int = 1) -> Any:
        """Whole numbers from -limit to limit, as float32 on the CPU."""
        import torch

        drawn = torch.randint(-limit, limit + 1, shape, generator=self._generator)
        return drawn.to(torch.float32)

    def normal(self, *shape: int) -> Any:
        """Standard normal numbers, float32 on the CPU."""
        import torch

        return torch.randn(shape, generator=self._generator)

    def uniform(self, *shape: int) -> Any:
        """Numbers from 0 to 1, float32 on the CPU."""
        import torch

        return torch.rand(shape, generator=self._generator)

    def below(self, limit: int, *shape: int) -> Any:
        """Indices from 0 to limit - 1, int64 on the CPU."""
        import torch

        return torch.randint(limit, shape, generator=self._generator)

    def freshen(self) -> None:
        """Give what the allocator keeps back to the system: what comes next is mostly zeroed memory."""
        import torch

        if self.device.type in ("cuda", "mps"):
            getattr(torch, self.device.type).empty_cache()

    def churn(self) -> None:
        """Leave the allocator full of freed blocks that are not zero: who reads too far finds them."""
        import torch

        blocks = [torch.full((size // 4,), POISON, device=self.device) for size in POISONED_BLOCKS]
        float(blocks[-1].sum().item())
        del blocks


def errors(problem: Problem, bench: Workbench, *, repetitions: int) -> List[float]:
    """The error of each repetition: the first with a fresh allocator, the others after churn."""
    found = []
    for repetition in range(repetitions):
        if repetition:
            bench.churn()
        else:
            bench.freshen()
        found.append(_error(problem))
    return found


def _error(problem: Problem) -> float:
    try:
        observed = list(problem.observe())
    except problem.right_refusals:
        return 0.0
    if len(observed) != len(problem.expected):
        return math.inf
    return max(map(relative_error, observed, problem.expected))


def relative_error(observed: Any, expected: Any) -> float:
    """max|observed - expected| / max|expected|; without the divisor where that is zero."""
    import torch

    value = observed.detach().cpu().double()
    if value.shape != expected.shape:
        return math.inf
    difference = (value - expected).abs()
    if not bool(torch.isfinite(difference).all()):
        return math.inf
    scale = float(expected.abs().max().item())
    return float(difference.max().item()) / (scale or 1.0)
