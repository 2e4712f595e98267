"""The most bytes that torch had allocated while models trained or ran, by its own profiler.

`TARGET_PYTHON allocation_peaks.py RECIPES_JSON` prints a list, one number for each recipe of the list.
Weights are not among them: they are there before the profiler begins.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "processes"))
from train_or_run import adapted, built, generate, train


def main() -> None:
    print(json.dumps([peak(recipe) for recipe in json.loads(sys.argv[1])]))  # noqa: T201 (its answer)


def peak(recipe: dict[str, Any]) -> int:
    import torch

    torch.manual_seed(0)
    model = adapted(built(recipe), recipe)
    if recipe["checkpointing"]:
        model.gradient_checkpointing_enable()
        model.enable_input_require_grads()
    tokens = torch.randint(recipe["config"]["vocab_size"], (recipe["batch"], recipe["sequence"]))
    backend = torch.nn.attention.SDPBackend
    kernels = [backend.MATH] if recipe["attention"] == "math" else [backend.FLASH_ATTENTION, backend.MATH]
    with (
        torch.nn.attention.sdpa_kernel(kernels),
        torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
        ) as profile,
    ):
        (generate if recipe["method"] == "inference" else train)(model, tokens)
    return highest(profile)


def highest(profile: Any) -> int:
    """Of the running sum of what was allocated and freed, in order of time."""
    events = profile.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    total = most = 0
    for _, size in changes:
        total += size
        most = max(most, total)
    return most


if __name__ == "__main__":
    main()
