"""What a process takes before any model: Python, the libraries' code and their first buffers.

The one part of a plan that no formula gives.  It was measured, with models so small (two blocks of width 64)
that nothing else counts, by `benchmarks/plan_accuracy.py`, which validates plans on other models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.catalog.memory import Component, Device, Method

if TYPE_CHECKING:
    from llmenv.catalog.memory import Recipe

PROCESS = {
    Method.FULL: 369_000_000,
    Method.LORA: 440_000_000,
    Method.QLORA: 443_000_000,
    Method.INFERENCE: 374_000_000,
}
"""Bytes of a process with Python 3.11, torch 2.13, transformers 5.24, and where they are needed PEFT 0.21 and
bitsandbytes 0.50, on Linux and x86-64.
"""
WORKSPACES = 2 * 32 * 2**20
"""On CUDA the allocator holds tensors and a workspace of cuBLAS for the forward and one for the backward
thread, 32 MiB each on an H100 (at::cuda::getChosenWorkspaceSize); the process itself lies in other memory.
"""


def framework(recipe: Recipe) -> Component:
    """In the memory that the plan is about: on CUDA that of the GPU, elsewhere that of the process."""
    if recipe.device is Device.CUDA:
        return Component(
            key="framework",
            size=WORKSPACES,
            formula="framework_cuda",
            values={"bytes": WORKSPACES},
        )
    size = PROCESS[recipe.method]
    return Component(key="framework", size=size, formula="framework", values={"bytes": size})
