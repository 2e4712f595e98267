"""Optimizers of mlx.optimizers, each with the formula of its first step in float64.

MLX's Adam corrects no bias unless asked: its first step is lr*(1-b1)*g / (sqrt((1-b2)*g^2) + eps).
"""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, List, NamedTuple

BETA1, BETA2, EPSILON, DECAY, MOMENTUM = 0.9, 0.999, 1e-8, 0.01, 0.9


class Method(NamedTuple):
    """An optimizer by its class, with its arguments and the formula of its first step.

    The formula takes a weight, its gradient and the learning rate to the new weight, in float64.
    """

    kind: str
    arguments: Dict[str, Any]
    first_step: Callable[[float, float, float], float]

    def optimizer(self) -> Any:
        """A new one, without state."""
        from mlx import optimizers

        return getattr(optimizers, self.kind)(**self.arguments)

    def step_error(self, before: List[float], gradients: List[float], after: List[float]) -> float:
        """The largest error of a new weight in |weight| + |step|; infinite where one is not finite."""
        error, rate = 0.0, float(self.arguments["learning_rate"])
        for new, old, gradient in zip(after, before, gradients):  # noqa: B905 # Python 3.9
            right = self.first_step(old, gradient, rate)
            off = abs(new - right) / (abs(old) + abs(right - old) or 1.0)
            error = max(error, off if math.isfinite(off) else math.inf)
        return error


def sgd(weight: float, gradient: float, rate: float) -> float:
    """The momentum begins at the gradient."""
    return weight - rate * gradient


def adam(weight: float, gradient: float, rate: float) -> float:
    mean, square = (1 - BETA1) * gradient, (1 - BETA2) * gradient**2
    return weight - rate * mean / (math.sqrt(square) + EPSILON)


def adamw(weight: float, gradient: float, rate: float) -> float:
    """The weight decays first, by lr*decay*w, apart from the gradient."""
    return adam(weight * (1 - rate * DECAY), gradient, rate)


_ADAM = {"learning_rate": 3e-3, "betas": [BETA1, BETA2], "eps": EPSILON}
METHODS = (
    Method("SGD", {"learning_rate": 0.3, "momentum": MOMENTUM}, sgd),
    Method("Adam", _ADAM, adam),
    Method("AdamW", {**_ADAM, "weight_decay": DECAY}, adamw),
)
