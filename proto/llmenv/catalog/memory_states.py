"""What stays from step to step: weights, gradients and the states of AdamW, and what an update needs.

Sources.  AdamW keeps two states a trained parameter, in its type (Kingma and Ba, 2015; torch.optim.AdamW).
LoRA adds rank x (in + out) parameters to a layer (Hu et al., 2022, section 4.1), which PEFT keeps in float32.
NF4 with double quantization takes 4.127 bits a weight (Dettmers et al., 2023, "QLoRA", section 3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.catalog.memory import (
    ADAM_STATES,
    FLOAT32,
    NF4_DOUBLE_QUANTIZED,
    Component,
    Device,
    Method,
)

if TYPE_CHECKING:
    from llmenv.catalog.architecture import Architecture
    from llmenv.catalog.memory import Recipe


def weights(architecture: Architecture, recipe: Recipe) -> Component:
    """The model as it is held, adapters included.

    Quantized, it is in the bits that it is stored in, else the linear layers of the blocks in 4 bits.
    """
    width = recipe.dtype.width
    adapters = architecture.lora_parameters(recipe.rank) if recipe.has_adapters else 0
    if recipe.is_quantized:
        stored, quantized = architecture.stored, architecture.quantized_weights
        bits = 8 * NF4_DOUBLE_QUANTIZED if stored is None else stored.bits
        other = architecture.parameters - quantized
        return Component(
            key="weights",
            size=bits / 8 * quantized + width * other + FLOAT32 * adapters,
            formula="weights_quantized_adapters" if adapters else "weights_quantized",
            values={
                "quantized": quantized,
                "bits": bits,
                "other": other,
                "width": width,
                "adapters": adapters,
            },
        )
    return Component(
        key="weights",
        size=width * architecture.parameters + FLOAT32 * adapters,
        formula="weights_adapters" if adapters else "weights",
        values={"parameters": architecture.parameters, "width": width, "adapters": adapters},
    )


def trained_parameters(architecture: Architecture, recipe: Recipe) -> int:
    """All of them, the adapters alone, or none."""
    if recipe.has_adapters:
        return architecture.lora_parameters(recipe.rank)
    return architecture.parameters if recipe.trains else 0


def trained_width(recipe: Recipe) -> int:
    """Bytes of a trained parameter, of its gradient and of each of its states."""
    return FLOAT32 if recipe.has_adapters else recipe.dtype.width


def gradients(architecture: Architecture, recipe: Recipe) -> Component:
    """One a trained parameter, in its type."""
    trained, width = trained_parameters(architecture, recipe), trained_width(recipe)
    return Component(
        key="gradients",
        size=trained * width,
        formula="gradients",
        values={"trained": trained, "width": width},
    )


def optimizer(architecture: Architecture, recipe: Recipe) -> Component:
    """The two states of AdamW."""
    trained, width = trained_parameters(architecture, recipe), trained_width(recipe)
    return Component(
        key="optimizer",
        size=ADAM_STATES * trained * width,
        formula="optimizer",
        values={"trained": trained, "width": width, "states": ADAM_STATES},
    )


def optimizer_buffers(architecture: Architecture, recipe: Recipe) -> Component:
    """What an update computes beside the states: of all parameters at once where torch loops in `foreach`,
    which it does on CUDA, else two of the largest parameter.
    """
    width = trained_width(recipe)
    if recipe.device is Device.CUDA:
        trained = trained_parameters(architecture, recipe)
        return Component(
            key="optimizer_buffers",
            size=trained * width,
            formula="optimizer_buffers_foreach",
            values={"trained": trained, "width": width},
        )
    largest = _largest_trained(architecture, recipe)
    return Component(
        key="optimizer_buffers",
        size=2 * largest * width,
        formula="optimizer_buffers_single",
        values={"largest": largest, "width": width},
    )


def dequantized(architecture: Architecture, recipe: Recipe) -> Component:
    """The largest 4-bit layer, expanded to the type of the computation while it is used."""
    largest = max(linear.weights for linear in architecture.block_linears)
    return Component(
        key="dequantized",
        size=largest * recipe.dtype.width,
        formula="dequantized",
        values={"largest": largest, "width": recipe.dtype.width},
    )


def gradient_of_output(architecture: Architecture, recipe: Recipe) -> Component:
    """That of the output layer, which is there before those of the blocks; none where it is frozen."""
    trained = architecture.embedding_parameters if recipe.method is Method.FULL else 0
    width = trained_width(recipe)
    return Component(
        key="gradients",
        size=trained * width,
        formula="gradients",
        values={"trained": trained, "width": width},
    )


def gradients_before_first_block(architecture: Architecture, recipe: Recipe) -> Component:
    """All but those of the first block, of which the last linear layer has its own, and of the embedding."""
    trained, width = trained_parameters(architecture, recipe), trained_width(recipe)
    if recipe.method is Method.FULL:
        last = architecture.block_linears[-1].weights
        trained -= architecture.block_parameters - last + architecture.input_parameters
    return Component(
        key="gradients",
        size=trained * width,
        formula="gradients",
        values={"trained": trained, "width": width},
    )


def _largest_trained(architecture: Architecture, recipe: Recipe) -> int:
    linears = architecture.block_linears
    if recipe.has_adapters:
        return max(recipe.rank * max(linear.inputs, linear.outputs) for linear in linears)
    return max(architecture.embedding_parameters, *(linear.weights for linear in linears))
