"""Random numbers: what a draw may never be, and whether its moments are those of its distribution.

No draw has a reference, so the operation returns what is known beforehand: how many draws broke a rule
(none), or a mean whose limit is STANDARD_ERRORS standard errors, which a right generator exceeds twice in
10^9 times, beside what the roundings of bfloat16 displace in every draw.
"""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, Tuple

from .operands import mask, normal, ones, positive
from .operation import Operation

STANDARD_ERRORS = 6
DROPPED = 0.25
# Box and Muller's normal numbers, made of uniform ones in bfloat16 as torch 2.11 does on the CPU: those are
# multiples of 2^-8, so the smallest logarithms are missing, and by Stirling ln(512 pi) / 512 of the variance.
NORMAL_DEFICIT = 2**-6
# 1 / (1 - p) is rounded to bfloat16.
KEPT_ROUNDING = 2**-9
# Draws of a distribution: of 100,000 numbers, or of 8 tokens for each of 2 rows.
COUNT, TOKENS, DRAWS = 100_000, 8, 8192
MANY = {"b": 1, "n": 100, "k": 1000}
PLAIN, NOT_EMPTY = ("contiguous",), ("contiguous", "transposed", "sliced", "expanded")
RULE: Dict[str, Any] = {"layouts": NOT_EMPTY, "roundings": 0, "is_differentiable": False}


def operations() -> Tuple[Operation, ...]:
    drawn: Dict[str, Any] = {"layouts": PLAIN, "sizes": MANY, "is_differentiable": False}
    weights, numbers, single = (positive("b v"), mask("b v")), (ones("b n k"),), ("float32",)
    few = {"b": 2, "v": TOKENS}
    # A kept value is 1 / (1 - p), with probability 1 - p: variance p / (1 - p) about a mean of 1.
    dropped = _limit(DROPPED / (1 - DROPPED)) + KEPT_ROUNDING
    return (
        Operation("multinomial", _strays, weights, large={"v": 50257}, reference=_none, **RULE),
        Operation("multinomial_distinct", _repeats, weights, reference=_none, **RULE),
        Operation(
            "multinomial_shares",
            _shares,
            weights[:1],
            layouts=PLAIN,
            sizes=few,
            reference=_expected,
            limit=_share_limit(),
            is_differentiable=False,
        ),
        Operation("randperm", _out_of_place, numbers, single, PLAIN, roundings=0, is_differentiable=False),
        Operation("dropout", _kept_or_restored, (normal("b n k"),), reference=_scaled),
        Operation("dropout_share", _dropped_mean, numbers, reference=_moments(1), limit=dropped, **drawn),
        Operation("bernoulli_share", _bernoulli_mean, numbers, reference=_moments(1), limit=dropped, **drawn),
        # The variance of normal numbers has a standard error of sqrt(2 / n), their mean a smaller one.
        Operation(
            "normal_moments",
            _normal,
            numbers,
            reference=_moments(0, 1),
            limit=_limit(2) + NORMAL_DEFICIT,
            **drawn,
        ),
        # A mean of 1/2 and a variance of 1/12, a third of the mean's square; in bfloat16 the draws are
        # multiples of 2^-8, and their mean is half of that too small.
        Operation(
            "uniform_mean",
            _uniform,
            numbers,
            reference=_moments(0.5, 0),
            limit=_limit(1 / 3) + 2**-8,
            **drawn,
        ),
        Operation(
            "exponential_mean", _exponential, numbers, single, reference=_moments(1), limit=_limit(1), **drawn
        ),
    )


def _limit(relative_variance: float) -> float:
    return STANDARD_ERRORS * math.sqrt(relative_variance / COUNT)


def _share_limit() -> float:
    """Of shares p, relative to the largest, which is at least 1 / TOKENS: sqrt(p / DRAWS) / p at most."""
    return STANDARD_ERRORS * math.sqrt(TOKENS / DRAWS)


def _strays(weights: Any, allowed: Any) -> Any:
    """Draws that are no index, and draws of what has probability 0 (pytorch #92752, #192577)."""
    import torch

    probabilities = torch.where(allowed, weights, 0)
    draws = torch.multinomial(probabilities, 64, replacement=True)
    outside = (draws < 0) | (draws >= weights.shape[-1])
    impossible = probabilities.gather(-1, draws.where(~outside, 0)) <= 0
    return outside.sum(), impossible.sum()


def _repeats(weights: Any, _: Any) -> Any:
    """Draws without replacement that came before."""
    import torch

    draws = torch.multinomial(weights, 64).sort(-1)[0]
    return ((draws < 0) | (draws >= weights.shape[-1])).sum(), (draws[..., 1:] == draws[..., :-1]).sum()


def _none(weights: Any, _: Any) -> Any:
    return weights.new_zeros(()), weights.new_zeros(())


def _shares(weights: Any) -> Any:
    import torch

    draws = torch.multinomial(weights, DRAWS, replacement=True)
    return torch.stack([(draws == token).float().mean(-1) for token in range(TOKENS)], -1)


def _expected(weights: Any) -> Any:
    return weights / weights.sum(-1, keepdim=True)


def _out_of_place(numbers: Any) -> Any:
    """How many of 0 to 999 are not among a permutation of them."""
    import torch

    places = torch.randperm(1000, device=numbers.device).sort()[0]
    return (places != torch.arange(1000, device=numbers.device)).sum() * numbers[0, 0, 0]


def _kept_or_restored(x: Any) -> Any:
    """Dropout, with what it dropped put back: then every value and gradient is scaled by 1 / (1 - p)."""
    import torch
    from torch.nn import functional

    dropped = functional.dropout(x, DROPPED)
    return torch.where(dropped == 0, _scaled(x), dropped)


def _scaled(x: Any) -> Any:
    return x / (1 - DROPPED)


def _dropped_mean(numbers: Any) -> Any:
    from torch.nn import functional

    return functional.dropout(numbers, DROPPED).float().mean()[None]


def _bernoulli_mean(numbers: Any) -> Any:
    return (numbers * (1 - DROPPED)).bernoulli().float().mean()[None] / (1 - DROPPED)


def _normal(numbers: Any) -> Any:
    import torch

    draws = torch.randn_like(numbers).float()
    return torch.stack([draws.mean(), draws.var()])


def _uniform(numbers: Any) -> Any:
    """The mean, and the share outside of 0 to below 1."""
    import torch

    draws = torch.rand_like(numbers).float()
    return torch.stack([draws.mean(), ((draws < 0) | (draws >= 1)).float().mean()])


def _exponential(numbers: Any) -> Any:
    import torch

    return torch.empty_like(numbers).exponential_().mean()[None]


def _moments(*expected: float) -> Callable[[Any], Any]:
    import torch

    return lambda _: torch.tensor(expected, dtype=torch.float64)
