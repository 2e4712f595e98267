"""Memory plans: exact figures, and what must hold for every model and recipe."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmenv.catalog import memory_activations, memory_inference, memory_states, models
from llmenv.catalog.architecture import Architecture, Family
from llmenv.catalog.memory import (
    NF4_DOUBLE_QUANTIZED,
    Attention,
    DataType,
    Device,
    Method,
    Recipe,
)
from llmenv.catalog.memory_advice import Fit, Limit, changes, judge, reference_plans
from llmenv.catalog.memory_plan import ORDER, plan
from llmenv.catalog.texts import tables

GPT2 = 124_439_808
# How long an example takes says nothing about a plan.
settings.register_profile("plans", deadline=None)
settings.load_profile("plans")
WORDS = (tables("en"), tables("zh"))
TRAINING = (Method.FULL, Method.LORA, Method.QLORA)


def known(name: str) -> Architecture:
    found = models.find(name)
    assert found is not None
    return found.architecture


def recipe(method: Method = Method.FULL, dtype: DataType = DataType.FLOAT32, **changed: object) -> Recipe:
    plain = Recipe(method=method, dtype=dtype, device=Device.CPU, sequence=128)
    return dataclasses.replace(plain, **changed)  # type: ignore[arg-type]


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    """Of both families, with grouped heads and dropout."""
    family = draw(st.sampled_from(Family))
    groups, grouped = draw(st.integers(1, 8)), draw(st.sampled_from([1, 2, 4]))
    heads = groups * grouped
    head_width = draw(st.sampled_from([16, 64, 128]))
    dropout = draw(st.sampled_from([0.0, 0.1])) if family is Family.GPT2 else 0.0
    return Architecture(
        name="drawn",
        family=family,
        layers=draw(st.integers(1, 80)),
        width=heads * head_width,
        feed_forward=draw(st.integers(1, 30_000)),
        vocabulary=draw(st.integers(1, 200_000)),
        heads=heads,
        key_value_heads=heads if family is Family.GPT2 else groups,
        head_width=head_width,
        positions=4096,
        is_tied=draw(st.booleans()),
        attention_dropout=dropout,
        residual_dropout=dropout,
    )


RECIPES = st.builds(
    Recipe,
    method=st.sampled_from(Method),
    dtype=st.sampled_from(DataType),
    device=st.sampled_from(Device),
    batch=st.integers(1, 64),
    sequence=st.integers(1, 4096),
    rank=st.integers(1, 64),
    checkpointing=st.booleans(),
)


def test_gpt2_trained_in_full_takes_16_bytes_a_parameter() -> None:
    """Weights, gradients and two states of four bytes each."""
    asked = recipe()
    parts = [memory_states.weights, memory_states.gradients, memory_states.optimizer]
    assert sum(part(known("gpt2"), asked).size for part in parts) == 16 * GPT2 == 1_991_036_928


def test_an_update_needs_two_of_the_largest_parameter() -> None:
    """In GPT-2 the embedding; on CUDA, where all are updated at once, one of each."""
    on_cpu = memory_states.optimizer_buffers(known("gpt2"), recipe())
    on_cuda = memory_states.optimizer_buffers(known("gpt2"), recipe(device=Device.CUDA))
    assert on_cpu.size == 2 * 50_257 * 768 * 4
    assert on_cuda.size == 4 * GPT2


def test_lora_of_gpt2_is_its_base_and_16_bytes_an_adapter_parameter() -> None:
    """Adapters are float32 whatever the base is."""
    asked = recipe(Method.LORA, DataType.BFLOAT16, rank=8)
    parts = [memory_states.weights, memory_states.gradients, memory_states.optimizer]
    assert sum(part(known("gpt2"), asked).size for part in parts) == 2 * GPT2 + 16 * 1_179_648


def test_nf4_takes_the_bits_of_its_publication() -> None:
    """4 bits and 0.127 for the constants; embedding and output layer stay in 16."""
    assert pytest.approx(4.127, abs=5e-4) == 8 * NF4_DOUBLE_QUANTIZED
    llama = known("7B")
    weights = memory_states.weights(llama, recipe(Method.INFERENCE, DataType.FLOAT16, in_4bit=True))
    other = 2 * 32_000 * 4096 + 65 * 4096
    assert weights.size == NF4_DOUBLE_QUANTIZED * (llama.parameters - other) + 2 * other


def test_cache_of_llama_7b() -> None:
    """Half a megabyte a token: 2 x 32 layers x 4,096 x 2 bytes."""
    one = recipe(Method.INFERENCE, DataType.FLOAT16, sequence=1)
    assert memory_inference.key_values(known("7B"), one).size == 524_288


def test_a_block_of_llama_keeps_what_its_code_says() -> None:
    """In float32 six of the norms, query, output, keys and values, and four of the feed-forward width."""
    llama = known("tinyllama-1.1b")
    kept = 4 * (6 * 2048 + 2 * 2048 + 2 * 256 + 4 * 5632) + 4 * 32
    assert memory_activations.block_bytes(llama, recipe()) == kept


def test_logits_of_a_large_vocabulary_outweigh_a_small_model() -> None:
    """Three float32 copies of 151,936 values a token: 1.87 GB for 1,024 tokens of Qwen2.5 0.5B."""
    asked = recipe(Method.LORA, DataType.BFLOAT16, sequence=1024)
    assert memory_activations.logits(known("qwen2.5-0.5b"), asked).size == 3 * 4 * 1024 * 151_936


@pytest.mark.parametrize(
    ("device", "changed", "attention"),
    [
        (Device.MPS, {}, Attention.MATH),
        (Device.CUDA, {}, Attention.MATH),
        (Device.CUDA, {"dtype": DataType.BFLOAT16}, Attention.FUSED),
        (Device.CPU, {}, Attention.FUSED),
        (Device.MPS, {"attention": Attention.FUSED}, Attention.FUSED),
    ],
)
def test_attention_is_what_torch_takes(
    device: Device, changed: dict[str, object], attention: Attention
) -> None:
    """Unless another is wished for; grouped heads in float32 have no fused kernel on CUDA."""
    asked = recipe(device=device, **changed)
    assert memory_activations.attention_of(known("tinyllama-1.1b"), asked) is attention


def test_dropout_in_attention_costs_the_cpu_its_fused_kernel() -> None:
    """GPT-2 as published trains with 0.1; without a gradient nothing is dropped."""
    assert memory_activations.attention_of(known("gpt2"), recipe()) is Attention.MATH
    assert memory_activations.attention_of(known("gpt2"), recipe(Method.INFERENCE)) is Attention.FUSED


def test_math_attention_grows_with_the_square_of_the_sequence() -> None:
    """Fused attention has no such term."""
    short, long = (
        memory_activations.scores(known("7B"), recipe(device=Device.MPS, sequence=n)) for n in (512, 1024)
    )
    assert long.size == 4 * short.size == 32 * 32 * 1024**2 * 4
    assert memory_activations.scores(known("7B"), recipe()).size == 0


@given(architectures(), RECIPES, st.sampled_from(["batch", "sequence", "rank"]))
def test_more_of_anything_needs_more(architecture: Architecture, asked: Recipe, field: str) -> None:
    """Batch, sequence and rank."""
    larger = dataclasses.replace(asked, **{field: getattr(asked, field) + 1})
    assert plan(architecture, asked).total <= plan(architecture, larger).total


@given(architectures(), RECIPES, st.sampled_from(["layers", "vocabulary", "feed_forward"]))
def test_a_larger_model_needs_more(architecture: Architecture, asked: Recipe, field: str) -> None:
    """In depth, vocabulary and width."""
    larger = dataclasses.replace(architecture, **{field: getattr(architecture, field) + 1})
    assert plan(architecture, asked).total <= plan(larger, asked).total


@given(architectures(), RECIPES)
def test_a_plan_is_the_sum_of_what_is_alive_at_its_peak(architecture: Architecture, asked: Recipe) -> None:
    """No part is larger at the peak than at its largest, none is lost, and all have their words."""
    planned = plan(architecture, asked)
    at_peak = {part.key: planned.at_peak(part.key) for part in planned.components}
    assert planned.total == pytest.approx(sum(at_peak.values()))
    assert all(at_peak[part.key] <= part.size for part in planned.components)
    assert [part.key for part in planned.components] == [key for key in ORDER if key in at_peak]
    assert planned.total >= max(moment.total for moment in planned.moments)


@pytest.mark.parametrize("name", ["gpt2", "smollm2-135m", "qwen2.5-0.5b", "7B", "70B"])
def test_cheaper_methods_are_cheaper(name: str) -> None:
    """Inference < QLoRA < LoRA < full training of every known size."""
    needs = [
        plan(known(name), recipe(method, DataType.BFLOAT16)).total
        for method in (Method.INFERENCE, Method.QLORA, Method.LORA)
    ]
    full = plan(known(name), recipe(Method.FULL, DataType.FLOAT32)).total
    in_4bit = plan(known(name), recipe(Method.INFERENCE, DataType.BFLOAT16, in_4bit=True)).total
    assert in_4bit < needs[1] < needs[2] < full
    assert needs[0] < needs[2]


@pytest.mark.parametrize("method", TRAINING)
@pytest.mark.parametrize("name", ["gpt2", "smollm2-360m", "7B"])
def test_checkpointing_saves_memory(name: str, method: Method) -> None:
    """Of models with many layers, as long as activations matter."""
    asked = recipe(method, DataType.BFLOAT16, batch=4, sequence=1024)
    checkpointed = dataclasses.replace(asked, checkpointing=True)
    assert plan(known(name), checkpointed).total < plan(known(name), asked).total


@given(st.floats(1, 1e12), st.floats(1, 1e12), st.floats(1, 1e12))
def test_more_memory_never_rules_a_plan_out(needed: float, one: float, other: float) -> None:
    """What fits a machine fits every larger one."""
    small, large = sorted((one, other))
    if judge(needed, Limit(usable=small)).fit is Fit.FITS:
        assert judge(needed, Limit(usable=large)).fit is Fit.FITS


def test_a_bound_that_was_not_read_is_unknown() -> None:
    """The working set is no fixed share of memory, so 64 GB alone promise nothing, but rule out more."""
    limit = Limit(memory=64e9)
    assert judge(10e9, limit).fit is Fit.UNKNOWN
    assert judge(10e9, limit).room is None
    assert judge(65e9, limit).fit is Fit.TOO_LARGE
    assert judge(10e9, Limit()).fit is Fit.UNKNOWN


def test_room_and_machines_are_what_the_limit_leaves() -> None:
    """Exactly."""
    assert judge(3e9, Limit(usable=10e9)).room == 7e9
    assert judge(21e9, Limit(usable=10e9)).machines == 3


def test_the_table_of_64_gb_is_that_of_the_reference_report() -> None:
    """1-3B in 16 bits with LoRA, 7B and 13B with QLoRA, 30B quantized or on several machines."""
    fits = {
        (planned.architecture.name, planned.recipe.method, planned.recipe.checkpointing): judge(
            planned.total, Limit(usable=64e9)
        )
        for planned in reference_plans(Device.MPS)
    }
    assert fits["TinyLlama 1.1B", Method.LORA, False].fit is Fit.FITS
    assert fits["OpenLLaMA 3B", Method.LORA, False].fit is Fit.FITS
    assert fits["Llama 2 7B", Method.QLORA, False].fit is Fit.FITS
    assert fits["Llama 2 13B", Method.QLORA, True].fit is Fit.FITS
    assert fits["Llama 30B", Method.QLORA, True].fit is Fit.FITS
    assert fits["Llama 30B", Method.LORA, True].machines == 2


@given(st.sampled_from(["gpt2", "smollm2-360m", "7B"]), RECIPES, st.floats(1e9, 5e11))
def test_every_change_fits(name: str, asked: Recipe, usable: float) -> None:
    """What is suggested fits, and one more of it does not."""
    architecture = known(name)
    for change in changes(plan(architecture, asked), usable):
        assert change.plan.total <= usable
        if change.key in {"batch", "sequence"}:
            assert getattr(change.plan.recipe, change.key) == change.value
            more = dataclasses.replace(change.plan.recipe, **{change.key: change.value + 1})
            is_most = change.value == (4096 if change.key == "batch" else architecture.positions)
            assert is_most or plan(architecture, more).total > usable


def test_nothing_is_suggested_where_nothing_helps() -> None:
    """70B does not go into 8 GB."""
    assert changes(plan(known("70B"), recipe(Method.LORA, DataType.FLOAT16)), 8e9) == ()


@given(architectures(), RECIPES)
def test_every_part_of_a_plan_has_its_words(architecture: Architecture, asked: Recipe) -> None:
    """Component, formula, source and moment, in both languages."""
    planned = plan(architecture, asked)
    for words in WORDS:
        for moment in planned.moments:
            assert moment.name in words["plan_moment"]
        for part in planned.components:
            assert part.key in words["plan_component"]
            assert part.key in words["plan_source"]
            assert words["plan_formula"][part.formula].format(**part.values)
