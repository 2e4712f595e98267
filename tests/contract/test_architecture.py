"""Shapes of models: published counts to the last parameter, config.json files, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from llmenv.catalog import models
from llmenv.catalog.architecture import Family
from llmenv.catalog.model_config import ModelConfigError, architecture_of, parse_config

LLAMA = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 176,
    "num_attention_heads": 4,
    "vocab_size": 256,
}


@pytest.mark.parametrize("model", models.catalogue(), ids=lambda model: model.name)
def test_counts_are_the_published_ones(model: models.KnownModel) -> None:
    """The shape gives the parameter count of the released checkpoint."""
    assert model.parameters == model.architecture.parameters


def test_gpt2_has_the_count_of_the_reference_report() -> None:
    """124,439,808, and 1,179,648 in adapters of rank 8 on its linear layers."""
    gpt2 = models.find("gpt2")
    assert gpt2 is not None
    assert gpt2.architecture.parameters == 124_439_808
    assert gpt2.architecture.lora_parameters(8) == 1_179_648


def test_lora_of_llama_7b_is_the_published_count() -> None:
    """Rank 8 on all linear layers of Llama 7B is 19,988,480 trainable parameters."""
    seven = models.find("7B")
    assert seven is not None
    assert seven.architecture.lora_parameters(8) == 19_988_480


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("7B", "llama-2-7b"),
        ("1.1b", "tinyllama-1.1b"),
        ("Qwen2.5-7B", "qwen2.5-7b"),
        ("Qwen/Qwen2.5-7B", "qwen2.5-7b"),
        ("HuggingFaceTB/SmolLM2-135M", "smollm2-135m"),
        ("openai-community/gpt2", "gpt2"),
    ],
)
def test_a_model_is_found_by_size_name_and_repository(word: str, name: str) -> None:
    """In upper and lower case."""
    found = models.find(word)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("word", ["", "8", "qwen", "openai-community/", "7B "])
def test_a_word_that_means_no_model_finds_none(word: str) -> None:
    """A model is never guessed."""
    assert models.find(word) is None


def test_names_and_sizes_are_unique() -> None:
    """Otherwise the first would hide the others."""
    words = [*models.names(), *(size.lower() for size in models.sizes())]
    assert len(words) == len(set(words))


def test_the_sizes_that_people_ask_for_are_there() -> None:
    """Each stands for a published model."""
    assert set(models.sizes()) == {"1.1B", "3B", "7B", "8B", "13B", "30B", "70B"}


def test_what_a_config_leaves_out_has_its_default() -> None:
    """As the configuration classes of transformers have it."""
    plain = architecture_of(LLAMA, name="x")
    assert (plain.key_value_heads, plain.head_width, plain.is_tied) == (4, 16, False)
    gpt2 = architecture_of(
        {"model_type": "gpt2", "n_embd": 64, "n_head": 4, "n_layer": 2, "vocab_size": 256}, name="x"
    )
    assert (gpt2.family, gpt2.feed_forward, gpt2.positions, gpt2.is_tied) == (Family.GPT2, 256, 1024, True)
    assert (gpt2.attention_dropout, gpt2.residual_dropout) == (0.1, 0.1)


def test_qwen2_has_biases_on_query_key_and_value() -> None:
    """Of 64 + 2 x 32 outputs in each of two layers."""
    shape = {**LLAMA, "num_key_value_heads": 2}
    plain = architecture_of(shape, name="x").parameters
    assert architecture_of({**shape, "model_type": "qwen2"}, name="x").parameters == plain + 2 * (64 + 64)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model_type": "bert"}, "its model_type is 'bert', known are gpt2, llama, mistral, qwen2"),
        ({"model_type": None}, "it has no model_type"),
        ({"model_type": ["llama"]}, "known are"),
        ({"hidden_size": None}, "it has no hidden_size"),
        ({"hidden_size": -64}, "its hidden_size is '-64', not a whole number"),
        ({"hidden_size": 64.0}, "its hidden_size is '64.0', not a whole number"),
        ({"hidden_size": True}, "its hidden_size is 'True', not a whole number"),
        ({"vocab_size": 10**12}, "its vocab_size is '1000000000000', not a whole number from 1 to 10\\^9"),
        ({"num_attention_heads": 5}, "its hidden_size 64 is not a multiple of its num_attention_heads 5"),
        ({"num_key_value_heads": 3}, "its num_attention_heads 4 is not a multiple"),
        ({"tie_word_embeddings": "no"}, "its tie_word_embeddings is 'no', not true or false"),
        ({"attention_dropout": 2}, "its attention_dropout is '2', not a number from 0 to 1"),
    ],
    ids=str,
)
def test_a_config_that_cannot_be_planned_for_is_one_sentence(changed: dict[str, Any], said: str) -> None:
    """It names the file, the key and what is wrong."""
    with pytest.raises(ModelConfigError, match=said) as refused:
        parse_config(json.dumps({**LLAMA, **changed}), name="m/config.json")
    assert str(refused.value).startswith("m/config.json ")
    assert str(refused.value).endswith(".")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "[" * 100_000, '{"model_type": NaN}'])
def test_a_file_that_holds_no_config_is_one_sentence(text: str) -> None:
    """Whatever it holds."""
    with pytest.raises(ModelConfigError, match=r"^c\.json .*\.$"):
        parse_config(text, name="c.json")
