"""The suite of the simulated history: twelve real checks with about sixty measurements a run."""

from __future__ import annotations

import functools

from llmenv_agent import suites
from llmenv_agent.definitions import read_definitions
from llmenv_agent.simulation import bench_checks, quick_checks

NAME = "weekly"
PLAYED = (
    quick_checks.PACKAGES,
    quick_checks.SETTINGS,
    quick_checks.TORCH_BASICS,
    quick_checks.TORCH_TRAINING,
    quick_checks.TRANSFORMERS_GENERATE,
    quick_checks.PEFT_LORA,
    quick_checks.MLX_NATIVE,
    quick_checks.TORCH_QUANTIZATION,
    bench_checks.BENCH_MATMUL,
    bench_checks.BENCH_MEMORY_BANDWIDTH,
    bench_checks.BENCH_LORA,
    bench_checks.BENCH_GENERATION,
)
BY_NAME = {check.name: check for check in PLAYED}


@functools.cache
def simulated_suite() -> suites.Suite:
    """As a lab would list it in its configuration; definitions and their hashes are those of this version."""
    named = suites.NamedSuite(
        name=NAME, checks=tuple(check.name for check in PLAYED), parameters=bench_checks.PARAMETERS
    )
    return suites.listed(named, read_definitions())
