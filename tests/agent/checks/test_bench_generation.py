"""bench_generation: first token, prefill and decode are timed of tokens that the logits put first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import CheckRunner

pytestmark = pytest.mark.training

SMALL = {"new_tokens": 8, "copy_megabytes": 1, "trial_seconds": 0.005, "cooldown_seconds": 0.0}
SMALL_SHAPE = """
from llmenv_probe import workloads
small = {"width": 32, "layers": 2, "heads": 4, "vocabulary": 64, "length": 16}
workloads.GENERATION_ON_CPU = workloads.GENERATION_ON_CPU._replace(**small)
"""


def test_first_token_and_rates_are_timed(run_check: CheckRunner) -> None:
    """Ten trials of each, bytes by formula, and shares of a known and of a measured bandwidth."""
    planted = SMALL_SHAPE + "probe.machine = probe.machine._replace(bandwidth_gb_per_s=2.0)"
    observed = run_check("bench_generation", SMALL, planted=planted)
    assert observed.cases == {"tinyllama/float32": "pass"}, observed.result.cases[0].reason.text
    measured = {each.name: each for each in observed.result.cases[0].measurements}
    for name in ("first_token_seconds", "prefill_rate", "decode_rate"):
        assert len(measured[name].trials) == 10
    seconds = measured["first_token_seconds"].trials
    assert list(measured["prefill_rate"].trials) == pytest.approx([16 / each for each in seconds])
    # Two layers of 32x32 (q, o), 32x8 (k, v) and 3 x 32x88, norms, and two embeddings of 64x32.
    weights = 4 * (2 * (2 * 32 * 32 + 2 * 32 * 8 + 3 * 32 * 88 + 2 * 32) + 32 + 2 * 64 * 32)
    cache = 4 * 2 * 2 * 8 * (16 + 8 / 2)
    read = (weights + cache) * measured["decode_rate"].value
    assert measured["decode_bandwidth"].value == pytest.approx(read / 1e9)
    assert measured["decode_share_of_bandwidth"].value == pytest.approx(read / 2e9)
    assert 0 < measured["decode_share_of_measured_bandwidth"].value < 1


def test_tokens_of_a_wrong_cache_have_no_speed(run_check: CheckRunner) -> None:
    """Keys and values of all but the last token are lost while decoding: fast, and another text."""
    planted = f"""{SMALL_SHAPE}
import torch
from transformers import cache_utils
right = cache_utils.DynamicLayer.update
def losing(self, keys, values, *rest, **options):
    keys, values = right(self, keys, values, *rest, **options)
    return (torch.zeros_like(keys), torch.randn_like(values)) if keys.shape[2] > 16 else (keys, values)
cache_utils.DynamicLayer.update = losing
"""
    observed = run_check("bench_generation", SMALL, planted=planted)
    assert observed.cases == {"tinyllama/float32": "fail"}
    assert "tokens are not those that the logits put first" in observed.result.cases[0].reason.text
