"""A plan: what takes memory, at which moment most of it is alive at once, and how much that is.

Not everything that takes memory takes it at the same time: when the loss is derived, every activation is
there and no gradient; when the optimizer works, every gradient and no activation.  The need is the largest
total of any moment, not the sum of all parts.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from llmenv.catalog import memory_activations, memory_backward, memory_inference, memory_states
from llmenv.catalog.memory import Moment
from llmenv.catalog.memory_framework import framework

if TYPE_CHECKING:
    from llmenv.catalog.architecture import Architecture
    from llmenv.catalog.memory import Component, Recipe

ORDER = (
    "weights",
    "gradients",
    "optimizer",
    "optimizer_buffers",
    "activations",
    "scores",
    "block",
    "block_buffers",
    "dequantized",
    "logits",
    "key_values",
    "prompt_buffers",
    "framework",
)
"""Components as they are listed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """A recipe for one model, with the moments at which its memory may be highest."""

    architecture: Architecture
    recipe: Recipe
    moments: tuple[Moment, ...]

    @property
    def peak(self) -> Moment:
        """The moment that needs most."""
        return max(self.moments, key=lambda moment: moment.total)

    @property
    def total(self) -> float:
        """Bytes needed: all that is alive at the peak."""
        return self.peak.total

    @property
    def tensor_bytes(self) -> float:
        """Bytes of tensors at the peak, without the framework."""
        return sum(part.size for part in self.peak.components if part.key != "framework")

    @property
    def components(self) -> tuple[Component, ...]:
        """Everything that takes memory at some moment, each as large as it gets, in ORDER."""
        largest: dict[str, Component] = {}
        for part in (part for moment in self.moments for part in moment.components):
            if part.key not in largest or part.size > largest[part.key].size:
                largest[part.key] = part
        return tuple(largest[key] for key in ORDER if key in largest and largest[key].size)

    def at_peak(self, key: str) -> float:
        """Bytes of the component `key` that are alive at the peak; 0 where none are."""
        return sum(part.size for part in self.peak.components if part.key == key)


def plan(architecture: Architecture, recipe: Recipe) -> Plan:
    """The plan of one model trained or run after one recipe."""
    moments = _of_training(architecture, recipe) if recipe.trains else (_of_prompt(architecture, recipe),)
    return Plan(architecture=architecture, recipe=recipe, moments=moments)


def _of_training(architecture: Architecture, recipe: Recipe) -> tuple[Moment, ...]:
    staying = (
        memory_states.weights(architecture, recipe),
        memory_states.optimizer(architecture, recipe),
        framework(recipe),
    )
    kept = (
        memory_activations.activations(architecture, recipe),
        memory_activations.scores(architecture, recipe),
    )
    block = memory_activations.block(architecture, recipe)
    working = memory_backward.buffers(architecture, recipe)
    alive = {
        "loss": (*kept, memory_activations.logits(architecture, recipe)),
        "last_block": (
            *kept,
            *(block if recipe.checkpointing else ()),
            *working,
            memory_states.gradient_of_output(architecture, recipe),
        ),
        "first_block": (
            *block,
            *working,
            memory_states.gradients_before_first_block(architecture, recipe),
        ),
        "update": (
            memory_states.gradients(architecture, recipe),
            memory_states.optimizer_buffers(architecture, recipe),
        ),
    }
    return tuple(Moment(name=name, components=(*staying, *parts)) for name, parts in alive.items())


def _of_prompt(architecture: Architecture, recipe: Recipe) -> Moment:
    return Moment(
        name="prompt",
        components=(
            memory_states.weights(architecture, recipe),
            memory_inference.key_values(architecture, recipe),
            memory_inference.prompt_buffers(architecture, recipe),
            memory_inference.scores(architecture, recipe),
            *((memory_states.dequantized(architecture, recipe),) if recipe.is_quantized else ()),
            framework(recipe),
        ),
    )
