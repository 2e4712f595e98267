"""Reads the shape of a model from its `config.json`, in the keys that Hugging Face models publish."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from llmenv.catalog.architecture import Architecture, Family
from llmenv.catalog.stored_weights import StoredWeightsError, stored_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

LLAMA_TYPES = frozenset({"llama", "mistral", "qwen2"})
KNOWN_TYPES = ("gpt2", *sorted(LLAMA_TYPES))
LARGEST_COUNT = 10**9


class ModelConfigError(ValueError):
    """A configuration that cannot be planned for. The text is one sentence."""


def parse_config(text: str, *, name: str) -> Architecture:
    """The shape in the text of a `config.json`. Raises ModelConfigError, which names the file as `name`."""
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ModelConfigError(
            f"{name} is no config.json of a model: its JSON is nested too deeply."
        ) from error
    except ValueError as error:
        raise ModelConfigError(f"{name} is no config.json of a model: it is not JSON.") from error
    if not isinstance(content, dict):
        raise ModelConfigError(f"{name} is no config.json of a model: it is JSON, but no object.")
    return architecture_of(content, name=name)


def architecture_of(config: Mapping[str, Any], *, name: str) -> Architecture:
    """The shape that the keys of a configuration describe; ModelConfigError for one of another family."""
    kind = config.get("model_type")
    keys = _Keys(config, name)
    if kind == "gpt2":
        return _as_stored(_gpt2(keys, name), config)
    if isinstance(kind, str) and kind in LLAMA_TYPES:
        return _as_stored(_llama(keys, name, kind), config)
    said = f"its model_type is {kind!r}" if kind else "it has no model_type"
    raise ModelConfigError(f"{name} cannot be planned for: {said}, known are {', '.join(KNOWN_TYPES)}.")


def _as_stored(architecture: Architecture, config: Mapping[str, Any]) -> Architecture:
    try:
        return dataclasses.replace(architecture, stored=stored_weights(config))
    except StoredWeightsError as error:
        raise ModelConfigError(
            f"{architecture.name} cannot be planned for: it is stored quantized {error}."
        ) from error


def _gpt2(keys: _Keys, name: str) -> Architecture:
    width, heads = keys.count("n_embd"), keys.count("n_head")
    return Architecture(
        name=name,
        family=Family.GPT2,
        layers=keys.count("n_layer"),
        width=width,
        feed_forward=keys.count("n_inner", 4 * width),
        vocabulary=keys.count("vocab_size"),
        heads=heads,
        key_value_heads=heads,
        head_width=keys.divided(width, heads, "n_embd", "n_head"),
        positions=keys.count("n_positions", 1024),
        is_tied=keys.flag("tie_word_embeddings", default=True),
        attention_dropout=keys.probability("attn_pdrop", 0.1),
        residual_dropout=keys.probability("resid_pdrop", 0.1),
    )


def _llama(keys: _Keys, name: str, kind: str) -> Architecture:
    width, heads = keys.count("hidden_size"), keys.count("num_attention_heads")
    key_value_heads = keys.count("num_key_value_heads", heads)
    keys.divided(heads, key_value_heads, "num_attention_heads", "num_key_value_heads")
    head_width = config_head_width(keys, width, heads)
    has_bias = keys.flag("attention_bias", default=False)
    return Architecture(
        name=name,
        family=Family.LLAMA,
        layers=keys.count("num_hidden_layers"),
        width=width,
        feed_forward=keys.count("intermediate_size"),
        vocabulary=keys.count("vocab_size"),
        heads=heads,
        key_value_heads=key_value_heads,
        head_width=head_width,
        positions=keys.count("max_position_embeddings", 2048),
        is_tied=keys.flag("tie_word_embeddings", default=False),
        has_query_bias=has_bias or kind == "qwen2",
        has_output_bias=has_bias,
        has_feed_forward_bias=keys.flag("mlp_bias", default=False),
        attention_dropout=keys.probability("attention_dropout", 0.0),
    )


def config_head_width(keys: _Keys, width: int, heads: int) -> int:
    """As stated, else the width divided among the heads."""
    if keys.has("head_dim"):
        return keys.count("head_dim")
    return keys.divided(width, heads, "hidden_size", "num_attention_heads")


class _Keys:
    """The values of a configuration, each checked before it is used."""

    def __init__(self, config: Mapping[str, Any], name: str) -> None:
        self._config = config
        self._name = name

    def has(self, key: str) -> bool:
        return self._config.get(key) is not None

    def count(self, key: str, default: int | None = None) -> int:
        """A whole number of at least 1; `default` where the key is absent or null."""
        value = self._config.get(key)
        if value is None and default is not None:
            return default
        if value is None:
            raise ModelConfigError(f"{self._name} cannot be planned for: it has no {key}.")
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST_COUNT:
            raise self._wrong(key, value, "a whole number from 1 to 10^9")
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        value = self._config.get(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return value

    def probability(self, key: str, default: float) -> float:
        value = self._config.get(key)
        if value is None:
            return default
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
            raise self._wrong(key, value, "a number from 0 to 1")
        return float(value)

    def divided(self, dividend: int, divisor: int, *keys: str) -> int:
        """What a whole division gives; the two keys must divide."""
        quotient, rest = divmod(dividend, divisor)
        if rest:
            raise ModelConfigError(
                f"{self._name} cannot be planned for: its {keys[0]} {dividend} is not a multiple of"
                f" its {keys[1]} {divisor}."
            )
        return quotient

    def _wrong(self, key: str, value: object, wanted: str) -> ModelConfigError:
        return ModelConfigError(
            f"{self._name} cannot be planned for: its {key} is {str(value)[:40]!r}, not {wanted}."
        )
