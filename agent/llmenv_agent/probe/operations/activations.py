"""Activations and other functions of one number, the gated ones of today's models included."""

from __future__ import annotations

from typing import Tuple

from .operands import normal, positive
from .operation import Operation

# One rounding of the argument and one of the result; exp and pow pass the first on times their argument, 4.
STEEP = 12


def operations() -> Tuple[Operation, ...]:
    import torch
    from torch.nn import functional

    x, p, gate = (normal("b n k"),), (positive("b n k"),), (normal("b n k"), normal("b n k"))
    wide = {"n": 1025, "k": 257}
    return (
        Operation("gelu", functional.gelu, x, large=wide),
        Operation("gelu_tanh", lambda a: functional.gelu(a, approximate="tanh"), x, large=wide),
        Operation("silu", functional.silu, x, large=wide),
        Operation("swiglu", lambda a, b: functional.silu(a) * b, gate),
        Operation("geglu", lambda a, b: functional.gelu(a) * b, gate),
        Operation("relu", functional.relu, x),
        Operation("relu_squared", lambda a: functional.relu(a).square(), x, roundings=STEEP),
        Operation("softplus", functional.softplus, x),
        Operation("log_sigmoid", functional.logsigmoid, x),
        Operation("sigmoid", torch.sigmoid, x),
        Operation("tanh", torch.tanh, x),
        Operation("erf", torch.erf, x),
        Operation("exp", torch.exp, x, roundings=STEEP),
        Operation("log", torch.log, p),
        Operation("sqrt", torch.sqrt, p),
        Operation("rsqrt", torch.rsqrt, p),
        Operation("reciprocal", torch.reciprocal, p),
        Operation("square", torch.square, x),
        Operation("pow", lambda a: torch.pow(a, 3.5), p, roundings=STEEP),
        Operation("sin", torch.sin, x),
        Operation("cos", torch.cos, x),
        Operation("abs", torch.abs, x, roundings=0),
        Operation("neg", torch.neg, x, roundings=0),
        Operation("softcap", lambda a: 30 * torch.tanh(a / 30), x),
    )
