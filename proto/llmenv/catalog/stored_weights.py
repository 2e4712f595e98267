"""How a checkpoint on the disk holds its weights, where it is quantized already: the bits that each takes.

Read from `quantization_config` of transformers or `quantization` of mlx-lm, which writes both.  Scales and
zero points count, a group's share of them for each weight; what a row or a whole tensor has once does not.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HALF_BITS, FLOAT_BITS, BYTE_BITS = 16, 32, 8
BITSANDBYTES_BLOCK, CONSTANTS_BLOCK = 64, 256
MICROSCALED_BLOCK = 32
WHOLE_ROW = -1


class StoredWeightsError(ValueError):
    """A quantization whose bits cannot be told; the text goes on after "it is stored quantized"."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredWeights:
    """`bits` a weight with its share of scales; `title` such as "MLX 4-bit, group 64".

    `has_embeddings` says that embeddings and output layer are held so too, not the blocks' layers alone.
    """

    title: str
    bits: float
    has_embeddings: bool = False


def stored_weights(config: Mapping[str, Any]) -> StoredWeights | None:
    """None where nothing is said of a quantization. Raises StoredWeightsError."""
    by_mlx, by_transformers = config.get("quantization"), config.get("quantization_config")
    if by_mlx is not None:
        return _mlx(_Keys(by_mlx))
    if by_transformers is None:
        return None
    keys = _Keys(by_transformers)
    method = keys.text("quant_method")
    if not method and keys.value("group_size") is not None:
        return _mlx(keys)
    if method not in METHODS:
        raise StoredWeightsError(f"by {method!r}; known are mlx, {', '.join(METHODS)}")
    return METHODS[method](keys)


class _Keys:
    """The values of one configuration, each checked before it is used."""

    def __init__(self, config: object) -> None:
        if not isinstance(config, dict):
            raise StoredWeightsError("in words that are no object")
        self._config = config

    def text(self, key: str) -> str:
        return str(self._config.get(key) or "")[:40]

    def value(self, key: str) -> object:
        """None where the key is absent or null."""
        return self._config.get(key)

    def flag(self, key: str) -> bool:
        return self._config.get(key) is True

    def count(self, key: str, most: int) -> int:
        value = self._config.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise StoredWeightsError(f"with {key} {str(value)[:40]!r}, not a whole number from 1 to {most:,}")
        return value

    @property
    def has_exceptions(self) -> bool:
        """Whether single layers, by their names, are held otherwise."""
        return any(isinstance(value, dict) for value in self._config.values())


def _mlx(keys: _Keys) -> StoredWeights:
    """A scale and a bias of 16 bits a group, one byte a group in the microscaled formats; embeddings too."""
    bits, group, mode = keys.count("bits", 8), keys.count("group_size", 4096), keys.text("mode")
    scales = BYTE_BITS if mode and mode != "affine" else 2 * HALF_BITS
    title = f"MLX {bits}-bit, group {group}" + (", mixed" if keys.has_exceptions else "")
    return StoredWeights(title=title, bits=bits + scales / group, has_embeddings=True)


def _bitsandbytes(keys: _Keys) -> StoredWeights:
    """Dettmers et al., 2023, section 3; in 8 bits a row has one scale."""
    if keys.flag("load_in_8bit"):
        return StoredWeights(title="bitsandbytes 8-bit", bits=8)
    if not keys.flag("load_in_4bit"):
        raise StoredWeightsError("by bitsandbytes, and neither load_in_4bit nor load_in_8bit is true")
    if keys.flag("bnb_4bit_use_double_quant"):
        bits = 4 + BYTE_BITS / BITSANDBYTES_BLOCK + FLOAT_BITS / (BITSANDBYTES_BLOCK * CONSTANTS_BLOCK)
        return StoredWeights(title="bitsandbytes 4-bit, double quantization", bits=bits)
    return StoredWeights(title="bitsandbytes 4-bit", bits=4 + FLOAT_BITS / BITSANDBYTES_BLOCK)


def _grouped(name: str) -> Callable[[_Keys], StoredWeights]:
    """A scale of 16 bits and a zero point as wide as the weights, a group."""

    def read(keys: _Keys) -> StoredWeights:
        bits = keys.count("bits", 8)
        if keys.value("group_size") == WHOLE_ROW:
            return StoredWeights(title=f"{name} {bits}-bit", bits=bits)
        group = keys.count("group_size", 4096)
        return StoredWeights(
            title=f"{name} {bits}-bit, group {group}", bits=bits + (HALF_BITS + bits) / group
        )

    return read


def _fp8(_: _Keys) -> StoredWeights:
    return StoredWeights(title="FP8", bits=8)


def _mxfp4(_: _Keys) -> StoredWeights:
    """OCP Microscaling Formats 1.0, 5.1: a byte of scale for 32 weights."""
    return StoredWeights(title="MXFP4", bits=4 + BYTE_BITS / MICROSCALED_BLOCK)


METHODS: Mapping[str, Callable[[_Keys], StoredWeights]] = {
    "bitsandbytes": _bitsandbytes,
    "gptq": _grouped("GPTQ"),
    "awq": _grouped("AWQ"),
    "fp8": _fp8,
    "mxfp4": _mxfp4,
}
