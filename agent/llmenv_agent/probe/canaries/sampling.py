"""Draws and optimizer steps with a condition attached, which known issues disregard."""

from __future__ import annotations

from typing import Any, List

from .canary import NotOffered, Problem, Workbench

# The issue counts one draw in 220 over 151,936 words: 192 draws a repetition miss it with 0.995^192 = 0.42.
VOCABULARY, ROWS, ROUNDS = 151_936, 32, 6


def zero_probability(bench: Workbench) -> Problem:
    """KI058: one word has all the probability and the others exactly none: no other may be drawn."""
    import torch

    probabilities = torch.zeros(ROWS, VOCABULARY)
    probabilities[:, 12_345] = 1.0

    def observe() -> List[Any]:
        there = probabilities.to(bench.device)
        return [torch.stack([torch.multinomial(there, 1) for _ in range(ROUNDS)])]

    return Problem(observe, [torch.full((ROUNDS, ROWS, 1), 12_345.0, dtype=torch.float64)])


def index_in_range(bench: Workbench) -> Problem:
    """KI059: draws from the issue's own distributions; each index must be of a word that has a probability.

    What is compared is how many draws were not.
    """
    import torch

    distributions = [
        torch.tensor([2.3634e-04, 1.2352e-05, 0.0, 0.0, 0.0, 0.0]),
        torch.tensor([0.0, 100.0, 0.0]),
    ]

    def observe() -> List[Any]:
        return [torch.tensor([_impossible(each, bench) for each in distributions])]

    return Problem(observe, [torch.zeros(2, dtype=torch.float64)])


def index_behind_the_last(bench: Workbench) -> Problem:
    """KI120: draws with replacement from the issue's own ten words; none may be an eleventh.

    The issue found some among 100,000,000 draws: a million find it only where it is less rare.
    """
    import torch

    words = torch.tensor(
        [
            *(4.3330236804e-04, 1.6706718498e-07, 5.6105983504e-07, 2.5240040486e-05, 5.4649823142e-05),
            *(5.5108112283e-03, 9.9348586798e-01, 4.5977579077e-08, 4.8896443332e-04, 3.4132514770e-07),
        ]
    )

    def observe() -> List[Any]:
        drawn = torch.multinomial(words.to(bench.device), 1_000_000, True)
        return [((drawn < 0) | (drawn >= len(words))).sum()]

    return Problem(observe, [torch.zeros((), dtype=torch.float64)])


def _impossible(distribution: Any, bench: Workbench) -> int:
    """How many of 32 draws gave an index that is out of range or has no probability."""
    import torch

    there = distribution.to(bench.device)
    indices = [int(torch.multinomial(there, 1).item()) for _ in range(32)]
    return sum(not 0 <= index < len(distribution) or distribution[index] == 0 for index in indices)


def found_infinity(bench: Workbench) -> Problem:
    """KI053: a fused step with `found_inf` set changes nothing, and `grad_scale` divides the gradient.

    After a skipped step and one with gradient 1 and scale 4, the first moment is (1 - 0.9) / 4.
    """
    import torch

    def observe() -> List[Any]:
        found = []
        for kind in (torch.optim.Adam, torch.optim.AdamW):
            parameter = torch.nn.Parameter(torch.ones(4, device=bench.device))
            optimizer = _fused(kind, parameter)
            _step(optimizer, parameter, found_inf=1.0, grad_scale=1.0)
            found.append(parameter.detach().clone())
            _step(optimizer, parameter, found_inf=0.0, grad_scale=4.0)
            found.append(optimizer.state[parameter]["exp_avg"] * 40)
        return found

    return Problem(observe, [torch.ones(4, dtype=torch.float64)] * 4, 2.0**-20)


def _fused(kind: Any, parameter: Any) -> Any:
    try:
        return kind([parameter], lr=0.1, weight_decay=0.0, fused=True)
    except RuntimeError as refusal:
        raise NotOffered(str(refusal)) from refusal


def _step(optimizer: Any, parameter: Any, *, found_inf: float, grad_scale: float) -> None:
    """As a gradient scaler does it."""
    import torch

    parameter.grad = torch.ones_like(parameter)
    optimizer.found_inf = torch.full((), found_inf, device=parameter.device)
    optimizer.grad_scale = torch.full((), grad_scale, device=parameter.device)
    optimizer.step()
