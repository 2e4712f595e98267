"""Attention that known issues get wrong, against softmax(QK'/sqrt(d)) V in float64."""

from __future__ import annotations

import math
from typing import Any, List, Optional

from .canary import COARSE, FOUR_ROUNDINGS_BF16, NotOffered, Problem, Workbench


def exact_attention(query: Any, key: Any, value: Any, mask: Optional[Any] = None) -> Any:
    """In float64; key-value heads are repeated for grouped queries, and a row that may look nowhere is 0.

    `mask` is added to the scores, or where it is bool says what may be looked at.
    """
    import torch

    groups = query.shape[1] // key.shape[1]
    key, value = (each.double().repeat_interleave(groups, dim=1) for each in (key, value))
    scores = query.double() @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, -math.inf)
    elif mask is not None:
        scores = scores + mask.double()
    return torch.softmax(scores, dim=-1).nan_to_num(0.0) @ value


def _attend(*operands: Any, **options: Any) -> Any:
    from torch.nn import functional

    return functional.scaled_dot_product_attention(*operands, **options)


def grouped_heads(bench: Workbench) -> Problem:
    """KI031: one bfloat16 query of 32 heads against 2 heads of 1,024 and of 1,025 keys."""
    import torch
    from torch.nn import functional

    documented = functional.scaled_dot_product_attention.__doc__ or ""
    if "enable_gqa" not in documented:
        raise NotOffered("scaled_dot_product_attention has no enable_gqa")
    sets = [
        [bench.normal(1, heads, length, 128).to(torch.bfloat16) for heads, length in shapes]
        for shapes in (((32, 1), (2, 1024), (2, 1024)), ((32, 1), (2, 1025), (2, 1025)))
    ]

    def observe() -> List[Any]:
        return [_attend(*(each.to(bench.device) for each in one), enable_gqa=True) for one in sets]

    return Problem(observe, [exact_attention(*one) for one in sets], FOUR_ROUNDINGS_BF16)


def odd_lengths(bench: Workbench) -> Problem:
    """KI032: one query against a number of keys that is no multiple of 32, with heads of 64, 96 and 128."""
    sizes = [(38, 64), (39, 128), (70, 96), (1030, 64)]
    sets = [[bench.normal(1, 4, length, width) for length in (1, keys, keys)] for keys, width in sizes]

    def observe() -> List[Any]:
        return [_attend(*(each.to(bench.device) for each in one)) for one in sets]

    return Problem(observe, [exact_attention(*one) for one in sets], COARSE)


def masked_rows(bench: Workbench) -> Problem:
    """KI033: a row whose mask lets it look nowhere is 0, not NaN; before torch 2.5 it was NaN everywhere."""
    import torch

    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 5):
        raise NotOffered("before torch 2.5 such rows were NaN on every device")
    query, key, value = (bench.normal(1, 1, 2, 4) for _ in range(3))
    mask = torch.tensor([[[[False, False], [True, True]]]])

    def observe() -> List[Any]:
        there = [each.to(bench.device) for each in (query, key, value)]
        return [_attend(*there, attn_mask=mask.to(bench.device))]

    return Problem(observe, [exact_attention(query, key, value, mask)], COARSE)


def mask_broadcast_in_part(bench: Workbench) -> Problem:
    """KI034: a mask (2, 1, 8, 8) for four heads, which only the first of two batches needs."""
    import torch

    query, key, value = (bench.normal(2, 4, 8, 64) for _ in range(3))
    mask = torch.zeros(2, 1, 8, 8)
    mask[0, 0, 4:, :4] = -math.inf

    def observe() -> List[Any]:
        there = [each.to(bench.device) for each in (query, key, value)]
        return [_attend(*there, attn_mask=mask.to(bench.device))]

    return Problem(observe, [exact_attention(query, key, value, mask)], COARSE)


def causal_in_half_precision(bench: Workbench) -> Problem:
    """KI118: is_causal=True in both half precisions, four heads of 64 tokens, as in the thread."""
    import torch

    drawn = [bench.normal(1, 4, 64, 64) for _ in range(3)]
    sets = [[each.to(dtype) for each in drawn] for dtype in (torch.bfloat16, torch.float16)]

    def observe() -> List[Any]:
        return [_attend(*(each.to(bench.device) for each in one), is_causal=True) for one in sets]

    causal = torch.ones(64, 64, dtype=torch.bool).tril()
    exact = [exact_attention(query, key, value, causal) for query, key, value in sets]
    return Problem(observe, exact, FOUR_ROUNDINGS_BF16)


def causal_and_mask(bench: Workbench) -> Problem:
    """KI035: a mask and is_causal together: refused, or both heeded; on MPS it has ended the process."""
    import torch

    query, key, value = (bench.normal(1, 2, length, 64) for length in (4, 16, 16))
    mask = torch.ones(1, 2, 4, 16, dtype=torch.bool)
    mask[..., 1] = False

    def observe() -> List[Any]:
        there = [each.to(bench.device) for each in (query, key, value)]
        return [_attend(*there, attn_mask=mask.to(bench.device), is_causal=True)]

    causal = torch.ones(4, 16, dtype=torch.bool).tril()
    return Problem(
        observe, [exact_attention(query, key, value, mask & causal)], COARSE, (RuntimeError, ValueError)
    )


def long_bfloat16(bench: Workbench) -> Problem:
    """KI036: 4,096 tokens in bfloat16; a softmax that does not sum in float32 is wrong beyond 3,068.

    Values lie between 1 and 2, so that a sum of probabilities that is not 1 shows.  The last 64 rows are
    compared.
    """
    import torch

    query, key = (bench.normal(1, 1, 4096, 64).to(torch.bfloat16) for _ in range(2))
    value = (1 + bench.uniform(1, 1, 4096, 64)).to(torch.bfloat16)

    def observe() -> List[Any]:
        there = [each.to(bench.device) for each in (query, key, value)]
        return [_attend(*there)[..., -64:, :]]

    return Problem(observe, [exact_attention(query[..., -64:, :], key, value)], FOUR_ROUNDINGS_BF16)


def full_context(bench: Workbench) -> Problem:
    """KI046: the attention block of GPT-2 medium (width 1024, 16 heads) at its full 1,024 tokens.

    In the issue 1,023 tokens are right and 1,024 wrong, so both are compared.  Products are those that
    transformers uses there: addmm, and a causal softmax by hand.
    """
    tokens, weight, bias = bench.normal(1024, 1024), bench.normal(1024, 3072) / 32, bench.normal(3072)

    def observe() -> List[Any]:
        there = [each.to(bench.device) for each in (tokens, weight, bias)]
        return [_gpt2_attention(there[0][:length], *there[1:]) for length in (1023, 1024)]

    exact = _gpt2_attention(tokens.double(), weight.double(), bias.double())
    return Problem(observe, [exact[:1023], exact], COARSE)


def _gpt2_attention(tokens: Any, weight: Any, bias: Any) -> Any:
    """(tokens, width) to (tokens, width), 16 heads."""
    import torch

    length, width = tokens.shape
    joined = torch.addmm(bias, tokens, weight).view(length, 3, 16, width // 16)
    query, key, value = (each.transpose(0, 1) for each in joined.unbind(dim=1))
    scores = torch.matmul(query, key.transpose(1, 2)) / math.sqrt(width // 16)
    causal = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
    least = torch.full((), torch.finfo(scores.dtype).min, dtype=scores.dtype, device=tokens.device)
    probabilities = torch.softmax(torch.where(causal, scores, least), dim=-1)
    return torch.matmul(probabilities, value).transpose(0, 1).reshape(length, width)
