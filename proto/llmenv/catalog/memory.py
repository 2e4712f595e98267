"""The words of a memory plan: how a model is trained or run, and what takes memory then.

All sizes are bytes; a gigabyte is 10^9 bytes.  What is planned is one recipe, the one that Hugging Face
models, PEFT and torch follow unless told otherwise: no autocast, torch.optim.AdamW, the loss of every token,
adapters on every linear layer of the blocks and without dropout.  `docs/planning.md` has the reasons.
"""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FLOAT32 = 4
FLOAT16 = 2
ADAM_STATES = 2
"""First and second moment, each as large as what is trained (Kingma and Ba, 2015)."""
NF4_DOUBLE_QUANTIZED = (4 + 8 / 64 + 32 / (64 * 256)) / 8
"""Bytes a weight: 4 bits, and two levels of quantization constants (Dettmers et al., 2023, section 3)."""


class Method(Enum):
    """Whether every parameter is trained, adapters, adapters beside 4-bit weights, or nothing."""

    FULL = "full"
    LORA = "lora"
    QLORA = "qlora"
    INFERENCE = "inference"


class DataType(Enum):
    """How the model's weights are held, those that are not in 4 bits."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"

    @property
    def width(self) -> int:
        """Bytes a value."""
        return FLOAT32 if self is DataType.FLOAT32 else FLOAT16


class Device(Enum):
    """Where it runs, which decides how attention is computed and how the optimizer loops."""

    MPS = "mps"
    CUDA = "cuda"
    CPU = "cpu"


class Attention(Enum):
    """FUSED never holds the scores of all pairs of tokens; MATH keeps them for the backward pass."""

    FUSED = "fused"
    MATH = "math"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained or run.

    `sequence` is tokens a sequence, for inference the prompt and what is generated; `rank` is that of LoRA.
    `in_4bit` is for inference alone: QLoRA always holds the blocks' linear layers in 4 bits.
    `attention` is the implementation wished for, None for what torch takes on the device.
    """

    method: Method
    dtype: DataType
    device: Device = Device.MPS
    batch: int = 1
    sequence: int = 1024
    rank: int = 16
    checkpointing: bool = False
    in_4bit: bool = False
    attention: Attention | None = None

    @property
    def tokens(self) -> int:
        return self.batch * self.sequence

    @property
    def trains(self) -> bool:
        return self.method is not Method.INFERENCE

    @property
    def has_adapters(self) -> bool:
        return self.method in {Method.LORA, Method.QLORA}

    @property
    def is_quantized(self) -> bool:
        return self.in_4bit or self.method is Method.QLORA

    @property
    def casts_for_adapters(self) -> bool:
        """Whether each adapted layer copies its input to float32: PEFT keeps adapters in float32."""
        return self.has_adapters and self.dtype.width != FLOAT32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Component:
    """Something that takes memory: `key` names it and its source in the texts, `formula` the words there of
    how `size` (bytes) is computed from `values`.
    """

    key: str
    size: float
    formula: str
    values: Mapping[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moment:
    """When memory may be highest, with what is alive then."""

    name: str
    components: tuple[Component, ...]

    @property
    def total(self) -> float:
        """Bytes of all components together."""
        return sum(component.size for component in self.components)
