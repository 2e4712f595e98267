"""Layouts: the same values, laid out in memory in another way.

contiguous    as drawn
transposed    the last two dimensions lie in memory the other way round
sliced        every second value of a block twice as wide, from its second on; between them lie wrong values
expanded      one slice of the first dimension, repeated with stride 0; so is the gradient that comes in
zero_size     the batch is empty
large         sizes at which kernels change or counters overflow; the row of the table says which
"""

from __future__ import annotations

from typing import Any

SMALL = ("contiguous", "transposed", "sliced", "expanded", "zero_size")
LAYOUTS = (*SMALL, "large")
DENSE = ("contiguous", "transposed")


def stored(values: Any, layout: str) -> Any:
    """The block of memory that `laid_out` views; one dimension is neither transposed nor expanded."""
    import torch

    if layout == "transposed" and values.dim() > 1:
        return values.transpose(-2, -1).contiguous()
    if layout == "sliced" and values.dim() > 0:
        return torch.stack([values.flip(-1), values], -1).flatten(-2)
    if layout == "expanded" and values.dim() > 1:
        return values[:1].clone()
    return values.contiguous()


def laid_out(block: Any, layout: str, first: int) -> Any:
    """The view of a block that has the values; `first` is the size of their first dimension."""
    if layout == "transposed" and block.dim() > 1:
        return block.transpose(-2, -1)
    if layout == "sliced" and block.dim() > 0:
        return block[..., 1::2]
    if layout == "expanded" and block.dim() > 1:
        return block.expand(first, *block.shape[1:])
    return block


def incoming_gradient(shape: Any, layout: str, generator: Any) -> Any:
    """Eighths from -15/8 to 15/8 without 0, exact in every data type; float64 on the CPU.

    In the layout "expanded", where many sums are one, they are positive, so that it does not cancel.
    """
    import torch

    sign = 1 if layout == "expanded" else 2 * torch.randint(2, tuple(shape), generator=generator) - 1
    return sign * torch.randint(1, 16, tuple(shape), generator=generator).double() / 8
