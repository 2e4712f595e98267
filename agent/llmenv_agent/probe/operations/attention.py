"""Attention as models call it: masks, causal, grouped heads, one token against a cache, rotary positions."""

from __future__ import annotations

from typing import Any, Dict, Tuple

from .operands import index, mask, normal, positive
from .operation import Operation

# A score of 5 standard deviations enters an exponential, so its rounding counts 5 times, in the forward pass
# and in the gradient; the other 8 are those of any operation.
ROUNDINGS = 18
EXACTNESS: Dict[str, Any] = {"roundings": ROUNDINGS, "length": "t d n"}
# One token against a cache: kernels change at 1,024, and read past 1,025 in bf16 (pytorch #174861, #169222).
CACHES = (1024, 1025, 4096)
DECODING = {"b": 1, "h": 8, "g": 2, "d": 64}
# GPT-2's whole context, where 1,024 tokens were wrong and 1,023 right (#116331).
WHOLE_CONTEXT = {"n": 1024, "b": 1, "h": 2}
ANGLES = 128
FLOAT32 = ("float32",)


def operations() -> Tuple[Operation, ...]:
    from torch.nn.functional import scaled_dot_product_attention as attention

    query, near = normal("b h n d"), (normal("b h n d"), normal("b h n d"), normal("b h n d"))
    far = query, normal("b h t d"), normal("b h t d")
    angles = positive("n d"), positive("n d")
    rows = (
        Operation("attention", attention, far, **EXACTNESS),
        Operation("attention_causal", _causal, near, large=WHOLE_CONTEXT, **EXACTNESS),
        Operation("attention_scaled", lambda q, k, v: attention(q, k, v, scale=0.1), far, **EXACTNESS),
        Operation("attention_boolean_mask", attention, (*far, mask("b h n t")), **EXACTNESS),
        Operation("attention_float_mask", attention, (*far, normal("b h n t")), **EXACTNESS),
        # Partly broadcast: one mask for all heads, for all queries, for the whole batch (pytorch #184180).
        Operation("attention_mask_of_heads", attention, (*far, mask("b 1 n t")), **EXACTNESS),
        Operation("attention_mask_of_queries", attention, (*far, mask("b 1 1 t")), **EXACTNESS),
        Operation("attention_mask_of_batch", attention, (*far, mask("n t")), **EXACTNESS),
        Operation("attention_left_padding", _left_padded, near, **EXACTNESS),
        Operation("attention_by_hand", _by_hand, near, **EXACTNESS),
        Operation("rope_halves", _rope_halves, (query, *angles)),
        Operation("rope_pairs", _rope_pairs, (query, *angles)),
        # The rounding of an angle of up to 1.5 * 128, and of one more step in reducing it, is an absolute
        # one.
        Operation("rope_angles", _rope_angles, (index("n", ANGLES), positive("d")), FLOAT32, roundings=400),
    )
    # Grouped heads came with torch 2.5; before, models repeat keys and values.
    return (*rows, *_grouped_heads()) if "enable_gqa" in str(attention.__doc__) else rows


def _grouped_heads() -> Tuple[Operation, ...]:
    keys_and_values = normal("b g t d"), normal("b g t d")
    grouped, decoding = (normal("b h n d"), *keys_and_values), (normal("b h 1 d"), *keys_and_values)
    plain: Dict[str, Any] = {"reference": _repeated, "layouts": ("contiguous",), **EXACTNESS}
    return (
        Operation("attention_grouped", _grouped, grouped, reference=_repeated, **EXACTNESS),
        *(
            Operation(
                f"attention_cache_{tokens}", _grouped, decoding, sizes={**DECODING, "t": tokens}, **plain
            )
            for tokens in CACHES
        ),
    )


def _causal(query: Any, key: Any, value: Any) -> Any:
    from torch.nn.functional import scaled_dot_product_attention

    return scaled_dot_product_attention(query, key, value, is_causal=True)


def _grouped(query: Any, key: Any, value: Any) -> Any:
    from torch.nn.functional import scaled_dot_product_attention

    return scaled_dot_product_attention(query, key, value, enable_gqa=True)


def _repeated(query: Any, key: Any, value: Any) -> Any:
    from torch.nn.functional import scaled_dot_product_attention

    repeats = query.shape[1] // key.shape[1]
    return scaled_dot_product_attention(
        query, key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    )


def _left_padded(query: Any, key: Any, value: Any) -> Any:
    """Causal, and three more tokens of padding with each sequence, whose own rows see nothing and are not
    used.

    What attention gives for a row without any key differs between kernels; NaN there must not reach the
    gradients of the others (pytorch #156707).
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    batch, tokens = query.shape[0], query.shape[2]
    position = torch.arange(tokens, device=query.device)
    padding = 3 * torch.arange(batch, device=query.device)[:, None, None, None]
    visible = (position <= position[:, None]) & (position >= padding)
    attended = scaled_dot_product_attention(query, key, value, attn_mask=visible)
    if attended is None:  # of an empty batch in 16 bits, by torch 2.11 on CUDA; the row's verdict says so
        return None
    return attended.masked_fill(position[:, None] < padding, 0)


def _by_hand(query: Any, key: Any, value: Any) -> Any:
    """Causal attention of products, a mask and softmax, as models write it that do not call the kernel."""
    import torch

    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).triu(1)
    return scores.masked_fill(future, float("-inf")).softmax(-1) @ value


def _rope_halves(query: Any, cosine: Any, sine: Any) -> Any:
    """The rotation of Llama and its family: the first half of the features pairs with the second."""
    import torch

    first, second = query.chunk(2, -1)
    return query * cosine + torch.cat([-second, first], -1) * sine


def _rope_pairs(query: Any, cosine: Any, sine: Any) -> Any:
    """The rotation of GPT-J: each even feature pairs with the odd one after it."""
    import torch

    turned = torch.stack([-query[..., 1::2], query[..., ::2]], -1).flatten(-2)
    return query * cosine + turned * sine


def _rope_angles(positions: Any, frequencies: Any) -> Any:
    angles = positions[:, None] * frequencies
    return angles.cos(), angles.sin()
