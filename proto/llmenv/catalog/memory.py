"""How much memory a training needs before activations, by formula.

What is counted is exact: weights, gradients and optimizer states.  What is left out depends on
batch, sequence and implementation: activations, caches and the framework itself.  So every figure
is a lower bound.  All sizes are bytes; a gigabyte is 10^9 bytes.

Sources.  AdamW keeps two float32 states a parameter (Kingma and Ba, 2015); mixed precision adds a
float32 master copy, 16 bytes a parameter in all (Rajbhandari et al., 2020, "ZeRO", section 3.1).
LoRA adds r * (in + out) parameters to a layer (Hu et al., 2022, section 4.1).  NF4 with double
quantization takes 4.127 bits a parameter (Dettmers et al., 2023, "QLoRA", section 3).
"""

from __future__ import annotations

import dataclasses

FLOAT32 = 4.0
FLOAT16 = 2.0
# 4 bits, and 8/64 + 32/(64*256) bits for the two levels of quantization constants.
NF4_DOUBLE_QUANTIZED = (4 + 8 / 64 + 32 / (64 * 256)) / 8
ADAM_STATES = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes of one training or inference, before activations."""

    weights: float
    gradients: float = 0.0
    optimizer: float = 0.0

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.optimizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """A decoder of the Llama family: no biases, gated feed-forward, output layer of its own."""

    name: str
    layers: int
    width: int
    feed_forward: int
    vocabulary: int
    key_value_width: int

    @property
    def linear_parameters(self) -> int:
        """Parameters of the linear layers inside the blocks: what 4-bit loading quantizes."""
        attention = 2 * self.width * self.width + 2 * self.width * self.key_value_width
        return self.layers * (attention + 3 * self.width * self.feed_forward)

    @property
    def other_parameters(self) -> int:
        """Parameters of embedding, output layer and norms."""
        return 2 * self.vocabulary * self.width + (2 * self.layers + 1) * self.width

    @property
    def parameters(self) -> int:
        return self.linear_parameters + self.other_parameters

    def lora_parameters(self, rank: int) -> int:
        """Trainable parameters of LoRA on every linear layer inside the blocks."""
        attention = 2 * (self.width + self.width) + 2 * (self.width + self.key_value_width)
        return self.layers * rank * (attention + 3 * (self.width + self.feed_forward))


# As published: TinyLlama 1.1B, OpenLLaMA 3B, Llama 2 7B and 13B, Llama 30B.
TINYLLAMA_1B = Architecture(
    name="TinyLlama 1.1B", layers=22, width=2048, feed_forward=5632, vocabulary=32_000, key_value_width=256
)
OPENLLAMA_3B = Architecture(
    name="OpenLLaMA 3B", layers=26, width=3200, feed_forward=8640, vocabulary=32_000, key_value_width=3200
)
LLAMA_7B = Architecture(
    name="Llama 2 7B", layers=32, width=4096, feed_forward=11_008, vocabulary=32_000, key_value_width=4096
)
LLAMA_13B = Architecture(
    name="Llama 2 13B", layers=40, width=5120, feed_forward=13_824, vocabulary=32_000, key_value_width=5120
)
LLAMA_30B = Architecture(
    name="Llama 30B", layers=60, width=6656, feed_forward=17_920, vocabulary=32_000, key_value_width=6656
)


def full(parameters: int, *, mixed_precision: bool = False) -> Footprint:
    """Training every parameter with AdamW, in float32 or in mixed precision with a float32 master copy."""
    states = ADAM_STATES * FLOAT32 * parameters
    if mixed_precision:
        return Footprint(
            weights=FLOAT16 * parameters,
            gradients=FLOAT16 * parameters,
            optimizer=states + FLOAT32 * parameters,
        )
    return Footprint(weights=FLOAT32 * parameters, gradients=FLOAT32 * parameters, optimizer=states)


def lora(base_parameters: int, trainable_parameters: int, *, base_bytes: float = FLOAT16) -> Footprint:
    """Training adapters, which PEFT keeps in float32, beside a frozen base of `base_bytes` a parameter."""
    return _adapters(trainable_parameters, frozen=base_bytes * base_parameters)


def qlora(linear_parameters: int, other_parameters: int, trainable_parameters: int) -> Footprint:
    """Training float32 adapters beside linear layers in 4-bit NF4; the other parameters stay in 16 bits."""
    frozen = NF4_DOUBLE_QUANTIZED * linear_parameters + FLOAT16 * other_parameters
    return _adapters(trainable_parameters, frozen=frozen)


def inference(parameters: int, *, weight_bytes: float = FLOAT16) -> Footprint:
    """Holding the weights, without the key-value cache."""
    return Footprint(weights=weight_bytes * parameters)


def key_value_cache(architecture: Architecture, *, tokens: int, value_bytes: float = FLOAT16) -> float:
    """Bytes of keys and values of `tokens` positions in all layers."""
    return 2 * architecture.layers * architecture.key_value_width * tokens * value_bytes


def _adapters(trainable: int, *, frozen: float) -> Footprint:
    return Footprint(
        weights=frozen + FLOAT32 * trainable,
        gradients=FLOAT32 * trainable,
        optimizer=ADAM_STATES * FLOAT32 * trainable,
    )
