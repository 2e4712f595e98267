"""Normalisations: layer norm, RMS norm and their gradients, also of a frozen input."""

from __future__ import annotations

from typing import Any, Tuple

from .operands import normal, positive
from .operation import Operation

GROUPS = 8
# The CPU adds up the gradient of a weight over 51 rows in the data type itself: 4 * sqrt(51), by the rule of
# sums in reference.py.
ROUNDINGS = 29


def operations() -> Tuple[Operation, ...]:
    from torch.nn import functional

    x, weight, bias = normal("b n k"), positive("k"), normal("k")
    channels = normal("b k n")
    wide = {"k": 4096}
    rows = (
        Operation(
            "layer_norm", _layer_norm, (x, weight, bias), large=wide, roundings=ROUNDINGS, length="k n"
        ),
        Operation("layer_norm_plain", lambda a: functional.layer_norm(a, a.shape[-1:]), (x,), length="k"),
        # Embeddings are frozen and the norm is not: its gradients were wrong (pytorch #183825).
        Operation("layer_norm_frozen_input", _frozen, (x, weight, bias), roundings=ROUNDINGS, length="k n"),
        Operation("rms_norm_by_hand", _rms_norm_by_hand, (x, weight), large=wide, length="k n"),
        Operation("group_norm", _group_norm, (channels, weight, bias), roundings=ROUNDINGS, length="k n"),
        Operation("normalize", lambda a: functional.normalize(a, dim=-1), (x,), length="k"),
    )
    # It came with torch 2.4.
    return (*rows, *_rms_norm()) if hasattr(functional, "rms_norm") else rows


def _rms_norm() -> Tuple[Operation, ...]:
    from torch.nn import functional

    def rms_norm(x: Any, weight: Any) -> Any:
        return functional.rms_norm(x, x.shape[-1:], weight, 1e-6)

    return (Operation("rms_norm", rms_norm, (normal("b n k"), positive("k")), length="k n"),)


def _layer_norm(x: Any, weight: Any, bias: Any) -> Any:
    from torch.nn import functional

    return functional.layer_norm(x, x.shape[-1:], weight, bias)


def _frozen(x: Any, weight: Any, bias: Any) -> Any:
    return _layer_norm(x.detach(), weight, bias)


def _group_norm(x: Any, weight: Any, bias: Any) -> Any:
    from torch.nn import functional

    return functional.group_norm(x, GROUPS, weight, bias)


def _rms_norm_by_hand(x: Any, weight: Any) -> Any:
    """As Llama writes it: the mean square in float32, whatever the data type; float64 stays float64."""
    import torch

    wide = x if x.dtype == torch.float64 else x.float()
    scaled = wide * (wide.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt()
    return weight * scaled.to(x.dtype)
