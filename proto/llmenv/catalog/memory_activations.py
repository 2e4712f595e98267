"""What a forward pass keeps for its backward pass, tensor by tensor, and what the loss adds.

Counted from the code of transformers (modeling_llama, modeling_gpt2, loss_utils) and PEFT (lora/layer.py), as
Korthikanti et al. (2022, "Reducing Activation Recomputation in Large Transformer Models", section 4) count
for Megatron: each operation keeps what its derivative needs, a tensor that two need is kept once.  A frozen
linear layer needs no input of its own, an adapter does.  Fused attention keeps its inputs, its output and
one float32 a head and token (Dao et al., 2022, "FlashAttention", section 3.1); math keeps the scores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.catalog.architecture import Family
from llmenv.catalog.memory import FLOAT32, Attention, Component, Device, Method

if TYPE_CHECKING:
    from llmenv.catalog.architecture import Architecture
    from llmenv.catalog.memory import Recipe

LOSS_COPIES = 3
"""log_softmax keeps its output; its backward pass adds the gradients of that output and of the logits."""


def attention_of(architecture: Architecture, recipe: Recipe) -> Attention:
    """What torch's scaled_dot_product_attention takes unless something else is wished for.

    MPS computes math (ATen/native/transformers/attention.cpp: with a gradient in the general way, without in
    a kernel that returns the scores).  The fused kernel of the CPU has no dropout (sdp_utils_cpp.cpp), and of
    CUDA's kernels for float32 none shares key-value heads (documentation of `enable_gqa`).
    """
    if recipe.attention is not None:
        return recipe.attention
    is_grouped = architecture.key_value_heads < architecture.heads
    is_math = {
        Device.MPS: True,
        Device.CUDA: is_grouped and recipe.dtype.width == FLOAT32,
        Device.CPU: recipe.trains and architecture.attention_dropout > 0,
    }
    return Attention.MATH if is_math[recipe.device] else Attention.FUSED


def activations(architecture: Architecture, recipe: Recipe) -> Component:
    """Kept by all blocks, the last norm included; with checkpointing the input of each block alone."""
    head = head_bytes(architecture, recipe)
    if recipe.checkpointing:
        per_token = recipe.dtype.width * architecture.width
        formula = "checkpoints"
    else:
        per_token = block_bytes(architecture, recipe)
        formula = "activations"
    return Component(
        key="activations",
        size=recipe.tokens * (architecture.layers * per_token + head),
        formula=formula,
        values={
            "tokens": recipe.tokens,
            "layers": architecture.layers,
            "per_token": per_token,
            "head": head,
        },
    )


def scores(architecture: Architecture, recipe: Recipe) -> Component:
    """The square term of all blocks: none with fused attention, none yet with checkpointing."""
    layers = 0 if recipe.checkpointing else architecture.layers
    return score_component(architecture, recipe, layers=layers)


def score_component(architecture: Architecture, recipe: Recipe, *, layers: int) -> Component:
    """The scores of some layers, each of which has one value a head and pair of tokens, or several."""
    per_pair = score_bytes(architecture, recipe)
    pairs = recipe.batch * architecture.heads * recipe.sequence**2
    return Component(
        key="scores",
        size=layers * pairs * per_pair,
        formula="scores",
        values={
            "layers": layers,
            "batch": recipe.batch,
            "heads": architecture.heads,
            "sequence": recipe.sequence,
            "per_pair": per_pair,
        },
    )


def block(architecture: Architecture, recipe: Recipe) -> tuple[Component, ...]:
    """What one block keeps: with checkpointing, what it computes again before its backward pass."""
    per_token = block_bytes(architecture, recipe)
    return (
        Component(
            key="block",
            size=recipe.tokens * per_token,
            formula="block",
            values={"tokens": recipe.tokens, "per_token": per_token},
        ),
        score_component(architecture, recipe, layers=1),
    )


def logits(architecture: Architecture, recipe: Recipe) -> Component:
    """Float32 copies of a value for each word of the vocabulary and each token, when the loss is derived."""
    return Component(
        key="logits",
        size=LOSS_COPIES * FLOAT32 * recipe.tokens * architecture.vocabulary,
        formula="logits",
        values={
            "copies": LOSS_COPIES,
            "tokens": recipe.tokens,
            "vocabulary": architecture.vocabulary,
            "width": FLOAT32,
        },
    )


def block_bytes(architecture: Architecture, recipe: Recipe) -> int:
    """Kept by one block a token, without the scores of math attention, bytes."""
    linears = architecture.block_linears
    kept = (
        _norms(architecture, recipe)
        + _attention(architecture, recipe)
        + feed_forward_bytes(architecture, recipe)
    )
    if recipe.casts_for_adapters:
        kept += FLOAT32 * sum(linear.inputs for linear in linears)
    if recipe.has_adapters:
        kept += FLOAT32 * recipe.rank * len(linears)
    if architecture.residual_dropout:
        kept += 2 * _mask_width(recipe, recipe.dtype.width) * architecture.width
    return kept


def feed_forward_bytes(architecture: Architecture, recipe: Recipe) -> int:
    """Kept a token by the feed-forward part, bytes: gate, its SiLU and up, or the four steps of GPT-2's GELU;
    then the input of the last layer.
    """
    is_input_kept = not recipe.casts_for_adapters
    steps = 4 if architecture.family is Family.GPT2 else 3
    return recipe.dtype.width * architecture.feed_forward * (steps + is_input_kept)


def head_bytes(architecture: Architecture, recipe: Recipe) -> int:
    """Kept a token by the last norm and the output layer, bytes."""
    width = architecture.width
    if architecture.family is Family.GPT2:
        kept = recipe.dtype.width * width
        return kept + recipe.dtype.width * width * (recipe.method is Method.FULL)
    return width * (FLOAT32 + 2 * recipe.dtype.width * (recipe.method is Method.FULL))


def score_bytes(architecture: Architecture, recipe: Recipe) -> int:
    """Kept by math attention for each head and pair of tokens: the softmax, in float32 whatever the type of
    the model; with dropout also its mask and what it leaves.  Fused attention keeps none.
    """
    if attention_of(architecture, recipe) is Attention.FUSED:
        return 0
    dropped = FLOAT32 + _mask_width(recipe, FLOAT32) if architecture.attention_dropout else 0
    return FLOAT32 + dropped


def _norms(architecture: Architecture, recipe: Recipe) -> int:
    """Two norms: their input, in RMSNorm as float32, and their output where an unconverted copy is needed.

    RMSNorm also keeps the normalized value where its weight is trained.
    """
    width, is_full = architecture.width, recipe.method is Method.FULL
    is_output_kept = is_full or not recipe.casts_for_adapters
    output = recipe.dtype.width * is_output_kept
    if architecture.family is Family.GPT2:
        return 2 * width * (recipe.dtype.width + output)
    return 2 * width * (FLOAT32 + output + recipe.dtype.width * is_full)


def _attention(architecture: Architecture, recipe: Recipe) -> int:
    """Query, keys, values and output.

    GPT-2 computes query, keys and values as one tensor, of which the cache (there unless checkpointing is on)
    copies keys and values.  Math keeps scaled float32 copies, with keys and values repeated for all heads,
    and its output is kept only where the next layer needs it unconverted.
    """
    width = recipe.dtype.width
    if attention_of(architecture, recipe) is Attention.MATH:
        output = 0 if recipe.casts_for_adapters else width
        return (3 * FLOAT32 + output) * architecture.attention_width
    if architecture.family is Family.GPT2:
        copies = 0 if recipe.checkpointing else 2
        return (4 + copies) * width * architecture.width + FLOAT32 * architecture.heads
    fused = 2 * architecture.attention_width + 2 * architecture.key_value_width
    return width * fused + FLOAT32 * architecture.heads


def _mask_width(recipe: Recipe, width: int) -> int:
    """Bytes of a value of a dropout mask: a boolean where dropout is one kernel, which it is on CUDA, else
    one of what is dropped, `width`.
    """
    return 1 if recipe.device is Device.CUDA else width
