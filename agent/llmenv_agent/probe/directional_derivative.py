"""A gradient against derivatives along random directions, which a function of plain numbers gives in float64.

The derivative is the central difference (f(w+hd) - f(w-hd)) / 2h with h = 1e-4, whose own error is h^2.
"""

from __future__ import annotations

import math
import random
from typing import Any, Callable, Dict, List

STEP = 1e-4
DIRECTIONS = 3


def gradient_error(
    function: Callable[[Dict[str, Any]], float],
    parameters: Dict[str, Any],
    name: str,
    gradient: Any,
    *,
    seed: int,
) -> float:
    """Largest |g.d - derivative along d| / |g| of parameter `name`, over three directions of unit length.

    Parameters and gradient are nested lists of one or two dimensions.  Infinite where the gradient is zero
    or not finite.
    """
    generator = random.Random(f"{seed}/{name}")  # noqa: S311 # directions, no secret
    observed, weights = _flat(gradient), _flat(parameters[name])
    norm = _norm(observed)
    if not math.isfinite(norm) or norm == 0:
        return math.inf
    errors = []
    for _ in range(DIRECTIONS):
        direction = _unit_direction(generator, len(weights))
        ahead, behind = (
            function({**parameters, name: _like(parameters[name], weights, direction, step)})
            for step in (STEP, -STEP)
        )
        along = math.fsum(one * other for one, other in zip(observed, direction))  # noqa: B905 # Python 3.9
        errors.append(abs(along - (ahead - behind) / (2 * STEP)) / norm)
    return max(errors)


def _unit_direction(generator: random.Random, size: int) -> List[float]:
    drawn = [generator.gauss(0, 1) for _ in range(size)]
    length = _norm(drawn)
    return [number / length for number in drawn]


def _norm(numbers: List[float]) -> float:
    return math.sqrt(math.fsum(number**2 for number in numbers))


def _flat(nested: Any) -> List[float]:
    return [number for row in nested for number in row] if isinstance(nested[0], list) else list(nested)


def _like(nested: Any, weights: List[float], direction: List[float], step: float) -> Any:
    """weights + step*direction in the shape of `nested`."""
    moved = [weight + step * part for weight, part in zip(weights, direction)]  # noqa: B905 # Python 3.9
    if not isinstance(nested[0], list):
        return moved
    width = len(nested[0])
    return [moved[start : start + width] for start in range(0, len(moved), width)]
