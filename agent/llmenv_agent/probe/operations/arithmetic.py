"""Elementwise arithmetic of two and three operands, with broadcasting, and comparisons."""

from __future__ import annotations

from typing import Tuple

from .operands import mask, nonzero, normal
from .operation import DTYPES, Operation

WHOLE = ("int64",)


def operations() -> Tuple[Operation, ...]:
    import torch

    x, y, divisor = normal("b n k"), normal("b n k"), nonzero("b n k")
    row, column = normal("k"), normal("b n 1")
    return (
        Operation("add", torch.add, (x, y), DTYPES, large={"n": 1025, "k": 257}),
        Operation("add_row", torch.add, (x, row), DTYPES, length="b n"),
        Operation("add_column", torch.add, (x, column), length="k"),
        Operation("subtract_scaled", lambda a, b: torch.sub(a, b, alpha=2), (x, y), DTYPES),
        Operation("multiply", torch.mul, (x, y), DTYPES, large={"n": 1025, "k": 257}),
        Operation("multiply_row", torch.mul, (x, row), length="b n"),
        Operation("divide", torch.div, (x, divisor)),
        Operation("divide_whole", lambda a, b: torch.div(a, b, rounding_mode="floor"), (x, divisor), WHOLE),
        Operation("remainder", torch.remainder, (x, divisor), WHOLE),
        Operation("addcmul", lambda a, b, c: torch.addcmul(a, b, c, value=0.5), (x, y, divisor)),
        # Non-contiguous operands made AdamW learn nothing (pytorch #118115, #189420).
        Operation("addcdiv", lambda a, b, c: torch.addcdiv(a, b, c, value=0.5), (x, y, divisor)),
        Operation("lerp", lambda a, b: torch.lerp(a, b, 0.3), (x, y)),
        Operation("clamp", lambda a: a.clamp(-1, 1), (x,), DTYPES, roundings=0),
        Operation("maximum", torch.maximum, (x, divisor), DTYPES, roundings=0),
        Operation("minimum", torch.minimum, (x, divisor), DTYPES, roundings=0),
        Operation("sign", torch.sign, (divisor,), DTYPES, roundings=0),
        Operation("round", torch.round, (x,), roundings=0),
        Operation("compare", lambda a, b: (a < b, a >= b, a == b), (x, y), DTYPES, roundings=0),
        Operation("logical", lambda a, b: (a & b, a | b, ~a), (mask("b n k"), mask("b n k")), WHOLE),
        Operation("isfinite", lambda a, b: (a / (b - b)).isfinite(), (x, y), roundings=0),
    )
