"""What a parameter may be is one line in the check's file; nonsense is refused before anything runs."""

from __future__ import annotations

from typing import Any

import pytest
from llmenv_agent.definitions import Definition, DefinitionError, read_definitions
from llmenv_agent.parameter_rules import parse_rule

CHECKS = read_definitions()
PARAMETERS = [(check.name, name) for check in CHECKS.values() for name in check.parameters]
# A bound that lets everything through is no bound: each of these is nonsense to any parameter of ours.
NONSENSE = {
    "negative": -1,
    "huge": 10**30,
    "huge number": 1e300,
    "not a number": float("nan"),
    "infinite": float("inf"),
    "no text": "",
    "blank": "  ",
    "empty list": [],
    "empty object": {},
    "yes": True,
    "list in a list": [[1]],
    "list with nothing": [None],
    "one value twice": ["float32", "float32"],
}


@pytest.mark.parametrize(
    ("rule", "value", "read"),
    [
        ("1..100", 1, 1),
        ("1..100", 100, 100),
        ("8..64 by 8", 16, 16),
        ("0.5..2.0", 2, 2),
        ("0.0..1", 0.25, 0.25),
        ("auto | float32", "auto", "auto"),
        ("text", "gpt2", "gpt2"),
        ("names", "mm, bmm", ["mm", "bmm"]),
        ("names", ["mm"], ["mm"]),
        ("list of 1..8", [8, 1], [8, 1]),
        ("list of a | b", ("b",), ["b"]),
    ],
)
def test_value_within_a_rule_is_read(rule: str, value: object, read: object) -> None:
    """Both ends belong to a range; names in one text become a list."""
    assert read == parse_rule(rule).read(value)


@pytest.mark.parametrize(
    ("rule", "value", "words"),
    [
        ("1..100", 0, "a whole number from 1 to 100"),
        ("1..100", 1.0, "a whole number from 1 to 100"),
        ("8..64 by 8", 12, "a whole number from 8 to 64, a multiple of 8"),
        ("0.5..2.0", 2.5, "a number from 0.5 to 2"),
        ("1..2592000.0", -1, "a number from 1 to 2592000"),
        ("auto | float32", "float8", "one of auto, float32"),
        ("text", 7, "text"),
        ("names", "mm,,bmm", "names, in a list or with commas between them"),
        ("list of 1..8", 4, "a list of which each is a whole number from 1 to 8, none twice"),
        ("list of 1..8", [9], "a list of which each is a whole number from 1 to 8, none twice"),
        ("list of a | b", ["a", "a"], "a list of which each is one of a, b, none twice"),
    ],
)
def test_value_outside_is_told_what_it_must_be(rule: str, value: object, words: str) -> None:
    """The rule says it of itself."""
    parsed = parse_rule(rule)
    assert words == parsed.words
    with pytest.raises(ValueError, match=r"\w"):
        parsed.read(value)


@pytest.mark.parametrize(
    "rule", ["", "5..1", "1..", "-1..4", "0.5..2.0 by 2", "1..9 by 0", "a|b", "list of ", "any thing", 7]
)
def test_what_is_no_rule_is_refused(rule: object) -> None:
    """A typing error must not allow everything."""
    with pytest.raises(ValueError, match=r"\w"):
        parse_rule(rule)


def test_every_parameter_of_ours_has_a_rule() -> None:
    """And no rule is of another parameter."""
    assert {check.name: set(check.parameters) for check in CHECKS.values()} == {
        check.name: set(check.rules) for check in CHECKS.values()
    }


@pytest.mark.parametrize(("check", "name"), PARAMETERS, ids=lambda part: part)
def test_nonsense_is_one_sentence(check: str, name: str) -> None:
    """It says of which check and parameter, what it must be, and what it is."""
    definition = CHECKS[check]
    for value in NONSENSE.values():
        said = _refusal(definition, name, value)
        assert said.startswith(f"{check}: parameter {name} must be "), value
        assert said.endswith(f", not {value!r}."), value
        assert "\n" not in said


def _refusal(definition: Definition, name: str, value: Any) -> str:
    with pytest.raises(DefinitionError) as refused:
        definition.complete({name: value})
    return str(refused.value)


@pytest.mark.parametrize(("check", "name"), PARAMETERS, ids=lambda part: part)
def test_nothing_is_asked_for_only_where_it_is_the_default(check: str, name: str) -> None:
    """`null` lets the check choose where it does so by default, and is no value elsewhere."""
    definition = CHECKS[check]
    if definition.parameters[name] is None:
        assert definition.complete({name: None})[name] is None
    else:
        assert f"parameter {name} must be " in _refusal(definition, name, None)


@pytest.mark.parametrize(
    ("check", "name", "value"),
    [
        ("lora_memory", "width", 1),
        ("gradient_checkpointing", "width", 1),
        ("bench_matmul", "sizes", [0]),
        ("bench_matmul", "dtypes", ["float8"]),
        ("accelerate_launch", "batch_size", 7),
        ("datasets_local", "rows", 5),
        ("gradient_accumulation", "micro_batches", 1),
        ("gradient_accumulation", "sequence_length", 1),
        ("leak", "blocks", 2),
        ("mlx_distributed", "examples", 3),
        ("mlx_distributed", "classes", 1),
        ("mlx_generate", "prompt_tokens", 1),
        ("mlx_generate", "width", 100),
        ("mlx_training", "length", 1),
        ("qlora_mlx", "width", 100),
        ("qlora_torch", "width", 128),
        ("determinism", "sequence_length", 1),
        ("torch_training", "learning_rate", 0.0),
        ("transformers_generate", "dtype", "int8"),
        ("soak", "seconds", 0),
    ],
)
def test_question_without_an_answer_is_refused(check: str, name: str, value: object) -> None:
    """What a library would refuse in its own words, or a check call wrong on a machine that is right."""
    with pytest.raises(DefinitionError, match=f"{check}: parameter {name} must be .*, not "):
        CHECKS[check].complete({name: value})
