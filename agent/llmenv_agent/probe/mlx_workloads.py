"""The Llama of mlx_lm with random weights, in the shapes of `workloads`, for benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .mlx_models import PROJECTIONS

if TYPE_CHECKING:
    from .workloads import Shape


def llama(shape: Shape, *, seed: int, key_value_heads: int) -> Any:
    """In float32, its weights computed."""
    import mlx.core as mx
    from mlx_lm.models.llama import Model, ModelArgs

    mx.random.seed(seed)
    model = Model(
        ModelArgs(
            model_type="llama",
            hidden_size=shape.width,
            num_hidden_layers=shape.layers,
            intermediate_size=shape.width * 11 // 4,
            num_attention_heads=shape.heads,
            num_key_value_heads=key_value_heads,
            rms_norm_eps=1e-5,
            vocab_size=shape.vocabulary,
            tie_word_embeddings=False,
        )
    )
    mx.eval(model.parameters())
    return model


def adapt(model: Any, *, layers: int, rank: int) -> None:
    """Put LoRA on every linear layer of its blocks; all else is frozen."""
    import mlx.core as mx
    from mlx_lm.tuner.utils import linear_to_lora_layers

    model.freeze()
    options = {"rank": rank, "scale": 2.0, "dropout": 0.0, "keys": list(PROJECTIONS)}
    linear_to_lora_layers(model, layers, options)
    mx.eval(model.parameters())


def random_tokens(shape: Shape, texts: int, *, seed: int) -> Any:
    """Token ids (texts, length)."""
    import mlx.core as mx

    return mx.random.randint(0, shape.vocabulary, (texts, shape.length), key=mx.random.key(seed))
