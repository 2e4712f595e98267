"""What running a model takes beside its weights: keys and values, and the pass over the prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.catalog.architecture import Family
from llmenv.catalog.memory import Attention, Component
from llmenv.catalog.memory_activations import attention_of

if TYPE_CHECKING:
    from llmenv.catalog.architecture import Architecture
    from llmenv.catalog.memory import Recipe


def key_values(architecture: Architecture, recipe: Recipe) -> Component:
    """Keys and values of every token in every layer, in the type of the weights."""
    return Component(
        key="key_values",
        size=2 * architecture.layers * architecture.key_value_width * recipe.tokens * recipe.dtype.width,
        formula="key_values",
        values={
            "layers": architecture.layers,
            "key_value_width": architecture.key_value_width,
            "tokens": recipe.tokens,
            "width": recipe.dtype.width,
        },
    )


def prompt_buffers(architecture: Architecture, recipe: Recipe) -> Component:
    """Alive at once in the feed-forward part of a layer while the prompt is read.

    The prompt is taken to be as long as the whole sequence.  Gate, up and their product lie beside four
    tensors of the model's width (two residuals, the embedding, the norm), the four steps of GPT-2's GELU
    beside six.
    """
    wide, narrow = (4, 6) if architecture.family is Family.GPT2 else (3, 4)
    values = wide * architecture.feed_forward + narrow * architecture.width
    return Component(
        key="prompt_buffers",
        size=recipe.tokens * values * recipe.dtype.width,
        formula="prompt_buffers",
        values={
            "tokens": recipe.tokens,
            "wide": wide,
            "feed_forward": architecture.feed_forward,
            "narrow": narrow,
            "model_width": architecture.width,
            "width": recipe.dtype.width,
        },
    )


def scores(architecture: Architecture, recipe: Recipe) -> Component:
    """With math attention the scores of one layer and their softmax."""
    copies = 2 if attention_of(architecture, recipe) is Attention.MATH else 0
    pairs = recipe.batch * architecture.heads * recipe.sequence**2
    return Component(
        key="scores",
        size=copies * pairs * recipe.dtype.width,
        formula="prompt_scores",
        values={
            "copies": copies,
            "batch": recipe.batch,
            "heads": architecture.heads,
            "sequence": recipe.sequence,
            "width": recipe.dtype.width,
        },
    )
