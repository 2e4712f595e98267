"""One step of each optimizer and of gradient clipping, on contiguous and on transposed parameters.

The reference is the step's own formula, not torch's optimizer in float64.  A first step of Adam divides its
corrected averages by one another, g / (|g| + eps): Kingma and Ba, "Adam" (2015), algorithm 1 with t = 1.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Tuple

from .layouts import DENSE
from .operands import nonzero, normal
from .operation import Operation

# A large rate, so that a step that is lost or halved is far outside the bound.
RATE, DECAY, EPSILON, MOMENTUM = 0.5, 0.1, 1e-8, 0.9
LARGEST_NORM = 1.0
UNSCALED = 4.0
# Two averages, their corrections, a root, a quotient and the update, each kept in the data type.
STEP: Dict[str, Any] = {"roundings": 16, "layouts": DENSE, "is_differentiable": False}


def operations() -> Tuple[Operation, ...]:
    import torch
    from torch.nn import utils

    adam, adamw, sgd = torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD
    pair, exact = (normal("n k"), nonzero("n k")), {**STEP, "roundings": 0}
    decayed: Dict[str, Any] = {"weight_decay": DECAY}
    return (
        Operation("sgd", _step(sgd), pair, reference=_sgd, **STEP),
        Operation("sgd_momentum", _step(sgd, momentum=MOMENTUM, steps=2), pair, reference=_momentum, **STEP),
        Operation("adam", _step(adam, foreach=False), pair, reference=_adam, **STEP),
        Operation("adam_foreach", _step(adam, foreach=True), pair, reference=_adam, **STEP),
        Operation("adamw", _step(adamw, foreach=False, **decayed), pair, reference=_adamw, **STEP),
        Operation("adamw_foreach", _step(adamw, foreach=True, **decayed), pair, reference=_adamw, **STEP),
        Operation("adamw_fused", _step(adamw, fused=True, **decayed), pair, reference=_adamw, **STEP),
        # What a gradient scaler tells a fused step: how to unscale, and to take none (pytorch #186360).
        Operation("adamw_unscaling", _scaled_step(found_infinity=0.0), pair, reference=_adamw, **STEP),
        Operation("adamw_skipping", _scaled_step(found_infinity=1.0), pair, reference=_unchanged, **exact),
        Operation(
            "clip_grad_norm", _clip(utils.clip_grad_norm_), pair, reference=_clip_norm, length="n k", **STEP
        ),
        Operation("clip_grad_value", _clip(utils.clip_grad_value_), pair, reference=_clip_value, **exact),
    )


def _step(kind: Callable[..., Any], *, steps: int = 1, **options: Any) -> Callable[..., Any]:
    """The parameter after `steps` steps of torch's optimizer with the same gradient."""

    def step(parameter: Any, gradient: Any) -> Any:
        parameter.grad = gradient
        optimizer = kind([parameter], lr=RATE, **options)
        for _ in range(steps):
            optimizer.step()
        return parameter

    return step


def _scaled_step(*, found_infinity: float) -> Callable[..., Any]:
    def step(parameter: Any, gradient: Any) -> Any:
        import torch

        parameter.grad = gradient * UNSCALED
        optimizer = torch.optim.AdamW([parameter], lr=RATE, weight_decay=DECAY, fused=True)
        optimizer.grad_scale = torch.full((), UNSCALED, device=parameter.device)
        optimizer.found_inf = torch.full((), found_infinity, device=parameter.device)
        optimizer.step()
        return parameter

    return step


def _clip(clip: Callable[..., Any]) -> Callable[..., Any]:
    def clipped(parameter: Any, gradient: Any) -> Any:
        parameter.grad = gradient
        clip([parameter], LARGEST_NORM)
        return parameter.grad

    return clipped


def _sgd(parameter: Any, gradient: Any) -> Any:
    return parameter - RATE * gradient


def _momentum(parameter: Any, gradient: Any) -> Any:
    return parameter - RATE * gradient - RATE * (MOMENTUM * gradient + gradient)


def _adam(parameter: Any, gradient: Any) -> Any:
    return parameter - RATE * gradient / (gradient.abs() + EPSILON)


def _adamw(parameter: Any, gradient: Any) -> Any:
    return _adam(parameter * (1 - RATE * DECAY), gradient)


def _unchanged(parameter: Any, _: Any) -> Any:
    return parameter


def _clip_norm(_: Any, gradient: Any) -> Any:
    return gradient * (LARGEST_NORM / (gradient.square().sum().sqrt() + 1e-6)).clamp(max=1)


def _clip_value(_: Any, gradient: Any) -> Any:
    return gradient.clamp(-LARGEST_NORM, LARGEST_NORM)
