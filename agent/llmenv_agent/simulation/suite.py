"""The suite of the simulated history: twelve real checks with about sixty measurements a run."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv_agent import suites
from llmenv_agent.definitions import read_definitions
from llmenv_agent.simulation import bench_checks, language_checks, quick_checks

if TYPE_CHECKING:
    from llmenv_agent.definitions import Definition

NAME = "weekly"
PLAYED = (
    quick_checks.PACKAGES,
    quick_checks.SETTINGS,
    quick_checks.TORCH_BASICS,
    quick_checks.TORCH_TRAINING,
    language_checks.TRANSFORMERS_GENERATE,
    language_checks.PEFT_LORA,
    quick_checks.MLX_NATIVE,
    quick_checks.TORCH_QUANTIZATION,
    bench_checks.BENCH_MATMUL,
    bench_checks.BENCH_MEMORY_BANDWIDTH,
    bench_checks.BENCH_LORA,
    bench_checks.BENCH_GENERATION,
)
BY_NAME = {check.name: check for check in PLAYED}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A check of the suite with its parameters."""

    definition: Definition
    parameters_json: str
    timeout_seconds: float


@dataclass(frozen=True, kw_only=True)
class SimulatedSuite:
    """As a run announces it."""

    name: str
    version: str
    asked: tuple[Asked, ...]


@functools.cache
def simulated_suite() -> SimulatedSuite:
    """As a lab would list it in its configuration; definitions and their hashes are those of this version."""
    suite = _listed()
    return SimulatedSuite(
        name=suite.name,
        version=suite.version,
        asked=tuple(_asked(suite, definition) for definition in suite.definitions),
    )


def _asked(suite: suites.Suite, definition: Definition) -> Asked:
    parameters = definition.complete(suite.parameters.get(definition.name, {}))
    return Asked(
        definition=definition,
        parameters_json=json.dumps(parameters, sort_keys=True),
        timeout_seconds=definition.deadline_seconds(parameters),
    )


def _listed() -> suites.Suite:
    named = suites.NamedSuite(
        name=NAME, checks=tuple(check.name for check in PLAYED), parameters=bench_checks.PARAMETERS
    )
    return suites.listed(named, read_definitions())
