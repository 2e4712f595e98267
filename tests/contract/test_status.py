"""The words of status and the rule for ready."""

from __future__ import annotations

import pytest
from llmenv.catalog.status import CORE_CHECKS, WORDS, blocking_checks, troubled_checks
from llmenv.fleet.v1 import result_pb2

ALL_PASS = dict.fromkeys((*CORE_CHECKS, "mlx_native"), "pass")


def test_every_status_has_one_word() -> None:
    """A status without a word could not be shown."""
    assert set(WORDS) == set(result_pb2.Status.values())
    assert len(set(WORDS.values())) == len(WORDS)


def test_pass_and_warn_are_ready() -> None:
    """A known limitation with a remedy does not keep people from training."""
    assert blocking_checks({**ALL_PASS, "peft_lora": "warn"}, is_apple_silicon=True) == {}


@pytest.mark.parametrize("word", sorted(set(WORDS.values()) - {"pass", "warn"}))
def test_every_other_word_blocks(word: str) -> None:
    """Skip, unknown, error, timeout and crash are not ready."""
    words = {**ALL_PASS, "torch_training": word}
    assert blocking_checks(words, is_apple_silicon=True) == {"torch_training": word}


def test_a_check_that_never_ran_is_unknown_and_blocks() -> None:
    """Never-run is never shown as healthy."""
    assert blocking_checks({}, is_apple_silicon=False) == dict.fromkeys(CORE_CHECKS, "unknown")


def test_mlx_counts_on_apple_silicon_only() -> None:
    """Elsewhere MLX is not what people train with."""
    words = dict.fromkeys(CORE_CHECKS, "pass")
    assert blocking_checks(words, is_apple_silicon=False) == {}
    assert blocking_checks(words, is_apple_silicon=True) == {"mlx_native": "unknown"}


@pytest.mark.parametrize("word", sorted(set(WORDS.values()) - {"pass", "warn", "skip"}))
def test_planned_check_that_did_not_end_well_is_troubled(word: str) -> None:
    """Core or not: a wrong operation is trouble though the environment is ready."""
    words = {**ALL_PASS, "ops": word}
    assert troubled_checks(words, ["torch_basics", "ops"], is_apple_silicon=True) == {"ops": word}


def test_skip_is_trouble_for_a_core_check_alone() -> None:
    """What is not installed may be skipped, training may not; what was not planned is not missed."""
    words = {"torch_basics": "skip", "qlora_torch": "skip"}
    assert troubled_checks(words, words, is_apple_silicon=True) == {"torch_basics": "skip"}
    assert troubled_checks(words, ["qlora_torch"], is_apple_silicon=True) == {}
    assert troubled_checks({}, ["leak"], is_apple_silicon=True) == {"leak": "unknown"}
