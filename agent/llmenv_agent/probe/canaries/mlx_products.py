"""Matrix products of MLX that known issues get wrong."""

from __future__ import annotations

from typing import Any, List

from .canary import Problem, Workbench


def single_precision(bench: Workbench) -> Problem:
    """KI065: a float32 product of 256 terms, which the M5 computes in TF32 unless told otherwise.

    The bound is that of a float32 sum in any order: 256 x 2^-24 of the sum of the terms' sizes.
    """
    left, right = bench.normal(256, 256), bench.normal(256, 256)
    exact = left.double() @ right.double()
    sizes = left.double().abs() @ right.double().abs()
    bound = 256 * 2.0**-24 * float(sizes.max()) / float(exact.abs().max())
    return Problem(lambda: [_product(bench, left, right)], [exact], bound)


def rows_around_8(bench: Workbench) -> Problem:
    """KI066: from nine rows on a product takes the kernels that one Metal compiler gets wrong.

    Whole numbers up to 8: exact in TF32 as well.
    """
    right = bench.whole(512, 96, limit=8)
    lefts = [bench.whole(rows, 512, limit=8) for rows in (3, 8, 9, 32, 64)]

    def observe() -> List[Any]:
        return [_product(bench, left, right) for left in lefts]

    return Problem(observe, [left.double() @ right.double() for left in lefts])


def _product(bench: Workbench, left: Any, right: Any) -> Any:
    """Of two torch tensors, on the CPU where the check runs there and else on MLX's own device."""
    import mlx.core as mx
    import torch

    device = mx.cpu if bench.device.type == "cpu" else mx.default_device()
    with mx.stream(device):
        product = mx.matmul(mx.array(left.tolist()), mx.array(right.tolist()))
        return torch.tensor(product.tolist(), dtype=torch.float64)
