"""Small causal language models of the families that people train, and a language that they can learn.

Built from the family's own configuration class, with random weights: what a check proves with them is the
code of torch, transformers and peft on this device, not what a checkpoint knows.
"""

from __future__ import annotations

from typing import Any, Dict, Optional

# TinyLlama is a Llama with grouped-query attention: 4 key-value heads for 32 query heads as published.
FAMILIES = ("gpt2", "llama", "qwen2", "tinyllama")


def small_model(
    family: str,
    *,
    seed: int,
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    vocabulary: int = 256,
    positions: int = 256,
    dropout: float = 0.0,
    **options: Any,
) -> Any:
    """A transformers model in float32 on the CPU, the same for the same seed.

    `dropout` is that of GPT-2 after embeddings, attention and MLP, and of the others in attention, where
    they have it.
    `options` go to the configuration, for instance `attn_implementation="eager"`.
    Raises ValueError for a family that is not in FAMILIES.
    """
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    shape = {
        "width": width,
        "layers": layers,
        "heads": heads,
        "vocabulary": vocabulary,
        "positions": positions,
    }
    return AutoModelForCausalLM.from_config(_configuration(family, shape, dropout), **options)


def learnable_tokens(count: int, length: int, *, vocabulary: int, seed: int, noise: float = 0.1) -> Any:
    """Token ids (count, length), int64, each following from the one before by one fixed random permutation.

    A share `noise` of the tokens is drawn uniformly instead, so that the cross-entropy of the next token
    cannot fall to zero: a model that has learned the permutation stays near
    -(1-n) ln(1-n+n/V) - n ln(n/V) nats, one that has not near ln V.
    ValueError where no token has a next one: a loss of nothing is NaN, and every NaN is like the other.
    """
    import torch

    if min(length, vocabulary) < 2:
        raise ValueError("A language needs 2 tokens and sequences of 2 at least.")
    generator = torch.Generator().manual_seed(seed)
    follows = torch.randperm(vocabulary, generator=generator)
    tokens = torch.randint(vocabulary, (count, length), generator=generator)
    is_noise = torch.rand(count, length, generator=generator) < noise
    for position in range(1, length):
        expected = follows[tokens[:, position - 1]]
        tokens[:, position] = torch.where(is_noise[:, position], tokens[:, position], expected)
    return tokens


def _configuration(family: str, shape: Dict[str, int], dropout: float) -> Any:
    import transformers

    ends: Dict[str, Optional[int]] = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    if family == "gpt2":
        return transformers.GPT2Config(
            n_embd=shape["width"],
            n_layer=shape["layers"],
            n_head=shape["heads"],
            n_positions=shape["positions"],
            vocab_size=shape["vocabulary"],
            resid_pdrop=dropout,
            embd_pdrop=dropout,
            attn_pdrop=dropout,
            **ends,
        )
    classes = {"llama": "LlamaConfig", "tinyllama": "LlamaConfig", "qwen2": "Qwen2Config"}
    if family not in classes:
        raise ValueError(f"no small model of the family {family!r}, only of {', '.join(FAMILIES)}")
    return getattr(transformers, classes[family])(
        hidden_size=shape["width"],
        intermediate_size=shape["width"] * 11 // 4,
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["heads"] if family == "llama" else max(1, shape["heads"] // 4),
        max_position_embeddings=shape["positions"],
        vocab_size=shape["vocabulary"],
        tie_word_embeddings=False,
        attention_dropout=dropout,
        **ends,
    )
