"""Products of matrices, and what is made of them: linear layers, einsum, convolutions.

K is the dimension summed over.  From 32,767 on, products on M1 and M2 read past their operand (pytorch
#195163, #183535), the backward pass of GPT-2's output layer has K = 50,257, and 32,769 rows were wrong on
MPS (#111634). A sum that lacks one term of 50,257 is within any bound on real numbers; the product of ones
is exactly K.
"""

from __future__ import annotations

from typing import Any, Tuple

from .operands import leaning, normal, ones
from .operation import Operation

LONG = (768, 3072, 32766, 32767, 32768, 32769, 50257)
PLAIN = ("contiguous",)


def operations() -> Tuple[Operation, ...]:
    import torch
    from torch.nn import functional

    # Expanded, all rows of `a` are one and all rows of `b`: their product is a single sum.
    a, b, c = leaning("n k"), leaning("k m"), normal("n m")
    long = normal("n k"), normal("k m")
    x, y, z = normal("b n k"), normal("b k m"), normal("b n m")
    weight, bias = normal("m k"), normal("m")
    heads, channels = (normal("b n h d"), normal("b t h d")), normal("b k t")
    table, tall, wide = normal("v k"), {"n": 32769, "k": 16}, {"v": 50257, "b": 1, "k": 128}
    return (
        Operation("mm", torch.mm, (a, b), large=tall, length="k n"),
        Operation("mv", torch.mv, (a, leaning("k")), length="k n"),
        Operation("outer", torch.outer, (leaning("n"), leaning("k")), length="k"),
        Operation("addmm", torch.addmm, (c, a, b), length="k n"),
        Operation("matmul_2d_weight", torch.matmul, (x, b), length="k n"),
        Operation("matmul_4d", torch.matmul, (normal("b h n k"), normal("b h k m")), length="k n"),
        Operation("bmm", torch.bmm, (x, y), length="k n"),
        Operation("baddbmm", torch.baddbmm, (z, x, y), length="k n"),
        Operation("einsum", lambda p, q: torch.einsum("bij,bjk->bik", p, q), (x, y), length="k n"),
        Operation("einsum_heads", lambda p, q: torch.einsum("bnhd,bthd->bhnt", p, q), heads, length="d n t"),
        Operation("linear", functional.linear, (x, weight, bias), length="k n"),
        Operation("linear_without_bias", functional.linear, (x, weight), length="k n"),
        Operation("linear_weight_view", lambda p, q: functional.linear(p, q.t()), (x, b), length="k n"),
        Operation("linear_summed", _summed, (leaning("b n k"), leaning("h k")), length="k n"),
        Operation("output_layer", functional.linear, (x, table), large=wide, length="k n v"),
        Operation("conv1d", functional.conv1d, (channels, normal("m k 3"), bias), length="k t"),
        Operation("conv1d_depthwise", _depthwise, (channels, normal("k 1 4")), length="t"),
        *(Operation(f"mm_{k}", torch.mm, long, layouts=PLAIN, sizes={"k": k}, length="k") for k in LONG),
        *(_product_of_ones(k, ("float32",)) for k in LONG),
        # The largest K that every order of summation and every partial sum in the dtype itself has exactly.
        _product_of_ones(2048, ("float16",)),
        _product_of_ones(256, ("bfloat16",)),
    )


def _product_of_ones(k: int, dtypes: Tuple[str, ...]) -> Operation:
    import torch

    operands = ones("n k"), ones("k m")
    layouts = ("contiguous", "transposed")
    return Operation(
        f"ones_{k}", torch.mm, operands, dtypes, layouts, {"k": k}, roundings=0, is_differentiable=False
    )


def _summed(x: Any, weight: Any) -> Any:
    """A loss that is a plain sum sends back one number, expanded (pytorch #180201)."""
    from torch.nn import functional

    return functional.linear(x, weight).sum()


def _depthwise(sequence: Any, kernel: Any) -> Any:
    from torch.nn import functional

    return functional.conv1d(sequence, kernel, padding=3, groups=sequence.shape[1])
