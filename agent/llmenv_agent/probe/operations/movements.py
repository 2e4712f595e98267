"""What moves, joins, repeats or casts values and computes nothing: it must be equal to the last bit."""

from __future__ import annotations

from typing import Any, Dict, Tuple

from .operands import index, normal
from .operation import DTYPES, Operation

EXACT: Dict[str, Any] = {"dtypes": DTYPES, "roundings": 0}


def operations() -> Tuple[Operation, ...]:
    import torch
    from torch.nn import functional

    x, pair, square = (normal("b n k"),), (normal("b n k"), normal("b t k")), (normal("b n n"),)
    return (
        Operation("cat", lambda a, b: torch.cat([a, b], 1), pair, large={"n": 1025, "t": 1023}, **EXACT),
        Operation("stack", lambda a, b: torch.stack([a, b], 1), (*x, *x), **EXACT),
        Operation("chunk", lambda a: a.chunk(2, -1), x, **EXACT),
        Operation("split", lambda a: a.split([5, 12], 1), x, **EXACT),
        Operation("contiguous", lambda a: a.contiguous(), x, large={"n": 1025, "k": 257}, **EXACT),
        Operation("clone", torch.clone, x, **EXACT),
        Operation("copy", lambda a: torch.empty_like(a, requires_grad=False).copy_(a), x, **EXACT),
        Operation("copy_of_turned", _copy_of_turned, x, large={"n": 1025, "k": 257}, **EXACT),
        Operation("copy_into_slice", _copy_into_slice, x, **EXACT),
        Operation("heads_apart_and_together", _heads_apart_and_together, x, **EXACT),
        Operation("permute_reshape", lambda a: a.permute(2, 0, 1).reshape(-1), x, **EXACT),
        Operation("repeat_interleave", lambda a: a.repeat_interleave(2, 1), x, DTYPES),
        Operation("repeat", lambda a: a.repeat(2, 1, 3), x, DTYPES),
        Operation("expand", lambda a: a[..., None].expand(*a.shape, 4).flatten(-2), x, DTYPES),
        Operation("tril", torch.tril, square, **EXACT),
        Operation("triu", lambda a: a.triu(1), square, **EXACT),
        Operation("flip", lambda a: a.flip(1), x, **EXACT),
        Operation("roll", lambda a: a.roll(3, 1), x, **EXACT),
        Operation("pad", lambda a: functional.pad(a, (1, 2, 3, 0), value=7.0), x, **EXACT),
        Operation("narrow", lambda a: a.narrow(1, 3, 9), x, **EXACT),
        Operation("diagonal", lambda a: a.diagonal(dim1=-2, dim2=-1), square, **EXACT),
        Operation("to_float32", lambda a: a.to(torch.float32), x, roundings=0),
        Operation("to_float16", lambda a: a.to(torch.float16), x, roundings=0),
        Operation("to_bfloat16", lambda a: a.to(torch.bfloat16), x, roundings=0),
        Operation("to_int64", lambda a: (16 * a).to(torch.int64), x, roundings=0),
        Operation("index_to_float", lambda i: i.to(torch.float32), (index("b n", "v"),), ("int64",)),
        Operation("causal_mask", _causal_mask, x, ("float32",), roundings=0, is_differentiable=False),
    )


def _copy_of_turned(x: Any) -> Any:
    """Into contiguous memory from a view that runs across it."""
    turned = x.transpose(1, 2)
    return turned.new_empty(turned.shape).copy_(turned)


def _copy_into_slice(x: Any) -> Any:
    """How a cache of keys and values takes in new tokens: written into a part of a larger block."""
    cache = x.new_zeros((x.shape[0], x.shape[1] + 7, x.shape[2]))
    cache[:, 4:-3] = x
    return cache


def _heads_apart_and_together(x: Any) -> Any:
    apart = x.unflatten(-1, (4, -1)).transpose(1, 2)
    return apart.transpose(1, 2).flatten(-2)


def _causal_mask(x: Any) -> Any:
    import torch

    return torch.full((x.shape[1], x.shape[1]), float("-inf"), device=x.device).triu(1)
