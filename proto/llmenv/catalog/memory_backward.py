"""What one block needs beside what it keeps, while it is computed again or derived: buffers, soon free again.

Seen with torch's memory profiler in the feed-forward part, the widest of a block.  There the gradients of
the product, of gate and of up are alive at once, when the product itself is free already.  The output of a
float32 adapter is added to that of its 16-bit layer in float32, for which the CPU converts the latter first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.catalog.architecture import Family
from llmenv.catalog.memory import FLOAT32, Component, Device, Method
from llmenv.catalog.memory_activations import feed_forward_bytes, score_bytes
from llmenv.catalog.memory_states import dequantized

if TYPE_CHECKING:
    from llmenv.catalog.architecture import Architecture
    from llmenv.catalog.memory import Recipe

SCORE_COPIES = 2
"""Of math attention's scores, beside the softmax: its gradient and that of the scores."""


def buffers(architecture: Architecture, recipe: Recipe) -> tuple[Component, ...]:
    """Those of one block, the expanded layer with 4-bit weights among them.

    Its two parts are derived one after the other, so the larger need counts.
    """
    parts = (_of_feed_forward(architecture, recipe), _of_attention(architecture, recipe))
    expanded = (dequantized(architecture, recipe),) if recipe.method is Method.QLORA else ()
    return (max(parts, key=lambda part: part.size), *expanded)


def _of_feed_forward(architecture: Architecture, recipe: Recipe) -> Component:
    wide, narrow = _widths(architecture, recipe)
    return Component(
        key="block_buffers",
        size=recipe.tokens * (wide * architecture.feed_forward + narrow * architecture.width),
        formula="block_buffers",
        values={
            "tokens": recipe.tokens,
            "wide": wide,
            "feed_forward": architecture.feed_forward,
            "narrow": narrow,
            "model_width": architecture.width,
        },
    )


def _widths(architecture: Architecture, recipe: Recipe) -> tuple[int, int]:
    """Bytes a token for each unit of the feed-forward width, and for each of the model's width."""
    width = recipe.dtype.width
    if not recipe.casts_for_adapters:
        return 2 * width, width
    converted = FLOAT32 if recipe.device is Device.CPU else 0
    if architecture.family is Family.GPT2:
        return FLOAT32, 2 * width + FLOAT32
    return FLOAT32 + converted, 4 * width + FLOAT32


def _of_attention(architecture: Architecture, recipe: Recipe) -> Component:
    """Math attention's, less what the feed-forward part has freed by then; nothing with fused attention."""
    copies = SCORE_COPIES if score_bytes(architecture, recipe) else 0
    pairs = recipe.batch * architecture.heads * recipe.sequence**2
    freed = recipe.tokens * feed_forward_bytes(architecture, recipe)
    return Component(
        key="block_buffers",
        size=max(0, copies * FLOAT32 * pairs - freed),
        formula="score_buffers",
        values={
            "copies": copies,
            "batch": recipe.batch,
            "heads": architecture.heads,
            "sequence": recipe.sequence,
            "width": FLOAT32,
            "freed": freed,
        },
    )
