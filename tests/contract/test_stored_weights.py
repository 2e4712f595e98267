"""How many bits a weight takes in a checkpoint that is quantized already."""

from __future__ import annotations

from typing import Any

import pytest
from llmenv.catalog.stored_weights import StoredWeightsError, stored_weights

MLX = {"group_size": 64, "bits": 4}
NF4 = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128}


@pytest.mark.parametrize(
    ("config", "title", "bits", "has_embeddings"),
    [
        ({"quantization": MLX}, "MLX 4-bit, group 64", 4.5, True),
        ({"quantization": MLX, "quantization_config": MLX}, "MLX 4-bit, group 64", 4.5, True),
        ({"quantization_config": {"group_size": 32, "bits": 8}}, "MLX 8-bit, group 32", 9.0, True),
        ({"quantization": {"group_size": 32, "bits": 4, "mode": "mxfp4"}}, "MLX 4-bit, group 32", 4.25, True),
        ({"quantization": {**MLX, "lm_head": {"bits": 6}}}, "MLX 4-bit, group 64, mixed", 4.5, True),
        ({"quantization_config": NF4}, "bitsandbytes 4-bit", 4.5, False),
        (
            {"quantization_config": {**NF4, "bnb_4bit_use_double_quant": True}},
            "bitsandbytes 4-bit, double quantization",
            4 + 8 / 64 + 32 / (64 * 256),
            False,
        ),
        (
            {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}},
            "bitsandbytes 8-bit",
            8.0,
            False,
        ),
        ({"quantization_config": GPTQ}, "GPTQ 4-bit, group 128", 4 + 20 / 128, False),
        ({"quantization_config": {**GPTQ, "group_size": -1}}, "GPTQ 4-bit", 4.0, False),
        ({"quantization_config": {**GPTQ, "quant_method": "awq"}}, "AWQ 4-bit, group 128", 4.15625, False),
        ({"quantization_config": {"quant_method": "fp8"}}, "FP8", 8.0, False),
        ({"quantization_config": {"quant_method": "mxfp4"}}, "MXFP4", 4.25, False),
    ],
)
def test_bits_are_those_of_the_format(
    config: dict[str, Any], title: str, bits: float, *, has_embeddings: bool
) -> None:
    """Codes, and a group's share of its scale and zero point."""
    stored = stored_weights(config)
    assert stored is not None
    assert (stored.title, stored.bits, stored.has_embeddings) == (title, bits, has_embeddings)


@pytest.mark.parametrize("config", [{}, {"quantization": None, "quantization_config": None}])
def test_nothing_said_is_nothing_stored(config: dict[str, Any]) -> None:
    """Weights are then held in the type asked for."""
    assert stored_weights(config) is None


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"quantization": 4}, "in words that are no object"),
        ({"quantization": {"bits": 4}}, "with group_size 'None', not a whole number from 1 to 4,096"),
        ({"quantization": {**MLX, "bits": "four"}}, "with bits 'four', not a whole number from 1 to 8"),
        ({"quantization": {**MLX, "bits": True}}, "with bits 'True', not a whole number from 1 to 8"),
        ({"quantization_config": {}}, "by ''; known are mlx, bitsandbytes"),
        ({"quantization_config": {"quant_method": "hqq"}}, "by 'hqq'; known are mlx, bitsandbytes"),
        ({"quantization_config": {"quant_method": ["awq"]}}, "by "),
        ({"quantization_config": {**GPTQ, "bits": 0}}, "with bits '0', not a whole number from 1 to 8"),
        (
            {"quantization_config": {"quant_method": "bitsandbytes"}},
            "by bitsandbytes, and neither load_in_4bit nor load_in_8bit is true",
        ),
    ],
)
def test_what_cannot_be_told_is_refused(config: dict[str, Any], words: str) -> None:
    """Rather than taken for 16 bits."""
    with pytest.raises(StoredWeightsError) as refused:
        stored_weights(config)
    assert str(refused.value).startswith(words)
