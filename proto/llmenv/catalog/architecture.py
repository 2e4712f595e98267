"""The shape of a causal language model, and the parameters that follow from it, to the last one.

Two families: GPT-2, and Llama with what grew from it (Mistral and Qwen2: grouped heads, biases, tied
embeddings).
"""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmenv.catalog.stored_weights import StoredWeights


class Family(Enum):
    """Whose blocks a model is built of."""

    GPT2 = "gpt2"
    LLAMA = "llama"


@dataclasses.dataclass(frozen=True)
class Linear:
    """One linear layer: its inputs and outputs, counts, and whether it adds a bias."""

    inputs: int
    outputs: int
    has_bias: bool

    @property
    def weights(self) -> int:
        return self.inputs * self.outputs

    @property
    def parameters(self) -> int:
        return self.weights + self.outputs * self.has_bias

    def lora_parameters(self, rank: int) -> int:
        """Of the two matrices of an adapter (Hu et al., 2022, section 4.1)."""
        return rank * (self.inputs + self.outputs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """A decoder. Widths, heads and positions are counts; `positions` is the longest sequence it was made for.

    `attention_dropout` and `residual_dropout` are probabilities in training: where they are not zero, their
    masks take memory.  `stored` is how the weights are held where they come quantized.
    """

    name: str
    family: Family
    layers: int
    width: int
    feed_forward: int
    vocabulary: int
    heads: int
    key_value_heads: int
    head_width: int
    positions: int
    is_tied: bool = False
    has_query_bias: bool = False
    has_output_bias: bool = False
    has_feed_forward_bias: bool = False
    attention_dropout: float = 0.0
    residual_dropout: float = 0.0
    stored: StoredWeights | None = None

    @property
    def attention_width(self) -> int:
        """Of all query heads side by side."""
        return self.heads * self.head_width

    @property
    def key_value_width(self) -> int:
        """Of all key heads side by side; the same for values."""
        return self.key_value_heads * self.head_width

    @property
    def block_linears(self) -> tuple[Linear, ...]:
        """The linear layers of one block: what LoRA adapts and 4-bit loading quantizes."""
        if self.family is Family.GPT2:
            return (
                Linear(self.width, 3 * self.width, has_bias=True),
                Linear(self.width, self.width, has_bias=True),
                Linear(self.width, self.feed_forward, has_bias=True),
                Linear(self.feed_forward, self.width, has_bias=True),
            )
        key_value = Linear(self.width, self.key_value_width, self.has_query_bias)
        gated = Linear(self.width, self.feed_forward, self.has_feed_forward_bias)
        return (
            Linear(self.width, self.attention_width, self.has_query_bias),
            key_value,
            key_value,
            Linear(self.attention_width, self.width, self.has_output_bias),
            gated,
            gated,
            Linear(self.feed_forward, self.width, self.has_feed_forward_bias),
        )

    @property
    def linear_weights(self) -> int:
        """Weights, without biases, of the linear layers of all blocks."""
        return self.layers * sum(linear.weights for linear in self.block_linears)

    @property
    def quantized_weights(self) -> int:
        """Those in few bits when the model is quantized: the checkpoint's, else those of linear layers."""
        if self.stored is None or not self.stored.has_embeddings:
            return self.linear_weights
        return self.linear_weights + self.embedding_parameters * (1 if self.is_tied else 2)

    @property
    def block_parameters(self) -> int:
        """Of one block with its two norms."""
        return sum(linear.parameters for linear in self.block_linears) + 2 * self._norm_parameters

    @property
    def embedding_parameters(self) -> int:
        """Of the token embedding alone; as many as of the output layer."""
        return self.vocabulary * self.width

    @property
    def input_parameters(self) -> int:
        """Of what only the input passes: embeddings, without one that is the output layer as well."""
        learned_positions = self.positions * self.width if self.family is Family.GPT2 else 0
        return learned_positions + (0 if self.is_tied else self.embedding_parameters)

    @property
    def parameters(self) -> int:
        blocks = self.layers * self.block_parameters
        return blocks + self._norm_parameters + self.input_parameters + self.embedding_parameters

    def lora_parameters(self, rank: int) -> int:
        """Trainable parameters of LoRA on every linear layer of the blocks."""
        return self.layers * sum(linear.lora_parameters(rank) for linear in self.block_linears)

    @property
    def _norm_parameters(self) -> int:
        """LayerNorm has a bias beside its weight, RMSNorm has none."""
        return self.width * (2 if self.family is Family.GPT2 else 1)
