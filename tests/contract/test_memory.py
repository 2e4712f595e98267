"""Memory formulas: published counts, exact figures, and what must hold for every size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmenv.catalog import memory, memory_advice
from llmenv.catalog.memory_advice import Fit

GPT2 = 124_439_808
GPT2_LORA = 1_179_648
COUNTS = st.integers(min_value=1, max_value=10**12)


@pytest.mark.parametrize(
    ("architecture", "parameters"),
    [
        (memory.TINYLLAMA_1B, 1_100_048_384),
        (memory.OPENLLAMA_3B, 3_426_473_600),
        (memory.LLAMA_7B, 6_738_415_616),
        (memory.LLAMA_13B, 13_015_864_320),
        (memory.LLAMA_30B, 32_528_943_616),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_counts_are_the_published_ones(architecture: memory.Architecture, parameters: int) -> None:
    """The shapes give the parameter counts of the released checkpoints, to the last one."""
    assert parameters == architecture.parameters


def test_lora_of_llama_7b_is_the_published_count() -> None:
    """Rank 8 on all linear layers of Llama 7B is 19,988,480 trainable parameters."""
    assert memory.LLAMA_7B.lora_parameters(8) == 19_988_480


def test_gpt2_weights_in_float32() -> None:
    """A process that holds GPT-2 cannot have a lower peak than this."""
    assert memory.inference(GPT2, weight_bytes=memory.FLOAT32).total == 497_759_232


def test_gpt2_full_training_takes_16_bytes_a_parameter() -> None:
    """In float32 and in mixed precision alike; only the split differs."""
    plain, mixed = memory.full(GPT2), memory.full(GPT2, mixed_precision=True)
    assert plain.total == mixed.total == 16 * GPT2 == 1_991_036_928
    assert (plain.weights, mixed.weights) == (497_759_232, 248_879_616)


def test_gpt2_lora_is_its_base_and_16_bytes_an_adapter_parameter() -> None:
    """Only the adapter has gradients and optimizer states."""
    footprint = memory.lora(GPT2, GPT2_LORA, base_bytes=memory.FLOAT32)
    assert footprint.total == 497_759_232 + 16 * GPT2_LORA
    assert footprint.gradients == 4_718_592


def test_nf4_takes_the_bits_of_its_publication() -> None:
    """4 bits and 0.127 for the constants."""
    assert pytest.approx(4.127, abs=5e-4) == 8 * memory.NF4_DOUBLE_QUANTIZED


def test_cache_of_llama_7b() -> None:
    """Half a megabyte a token: 2 x 32 layers x 4,096 x 2 bytes."""
    assert memory.key_value_cache(memory.LLAMA_7B, tokens=1) == 524_288


@given(COUNTS, COUNTS)
def test_more_parameters_need_more_memory(one: int, other: int) -> None:
    """Every formula grows with its counts."""
    small, large = sorted((one, other))
    assert memory.full(small).total <= memory.full(large).total
    assert (
        memory.lora(small, small).total <= memory.lora(large, small).total <= memory.lora(large, large).total
    )
    assert memory.qlora(small, 1, 1).total <= memory.qlora(large, 1, 1).total
    assert memory.inference(small).total <= memory.inference(large).total


@given(st.integers(min_value=1_000, max_value=10**12), st.floats(min_value=0.0, max_value=0.05))
def test_cheaper_methods_are_cheaper(parameters: int, share: float) -> None:
    """Inference < QLoRA < LoRA < full training, as long as adapters are a small share."""
    trainable = int(parameters * share)
    quantized = memory.qlora(parameters, 0, trainable).total
    half = memory.lora(parameters, trainable).total
    assert memory.inference(parameters, weight_bytes=memory.NF4_DOUBLE_QUANTIZED).total <= quantized
    assert quantized < half < memory.full(parameters).total


@given(st.integers(min_value=1, max_value=10**12), st.integers(min_value=1, max_value=10**12))
def test_more_memory_never_rules_a_plan_out(one: int, other: int) -> None:
    """What fits a machine fits every larger one."""
    small, large = sorted((one, other))
    fits = [
        {a.plan for a in memory_advice.advise(memory_bytes=None, working_set_bytes=size) if a.fit is Fit.FITS}
        for size in (small, large)
    ]
    assert fits[0] <= fits[1]


def test_a_bound_that_was_not_read_is_unknown() -> None:
    """The working set is no fixed share of memory, so 64 GB alone promise nothing."""
    advice = memory_advice.advise(memory_bytes=64 * 2**30, working_set_bytes=None)
    assert {a.fit for a in advice} == {Fit.UNKNOWN}
    assert {a.room_bytes for a in advice} == {None}


def test_memory_itself_rules_out_what_is_larger() -> None:
    """A 30B model in 4 bits does not go into 8 GB, whatever the system recommends."""
    advice = memory_advice.advise(memory_bytes=8 * 10**9, working_set_bytes=None)
    assert [a.plan.architecture.name for a in advice if a.fit is Fit.TOO_LARGE] == [
        "Llama 2 13B",
        "Llama 30B",
        "Llama 30B",
    ]


def test_room_is_what_the_working_set_leaves() -> None:
    """What remains for activations, exactly."""
    first = memory_advice.advise(memory_bytes=None, working_set_bytes=10**10)[0]
    assert first.room_bytes == 10**10 - first.plan.footprint.total
