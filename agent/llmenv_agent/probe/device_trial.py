"""Does one addition on the device come out right in this session?

For `llmenv-agent doctor`: in no suite, since `torch_basics` and `fallback` ask more.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .context import Probe

SUITES = ()
REQUIRES = ()
TIMEOUT_SECONDS = 120
PARAMETERS = {"elements": 2}


def run(probe: Probe) -> None:
    if importlib.util.find_spec("torch"):
        device = probe.accelerator.torch_device()
        version = importlib.import_module("torch").__version__
        probe.passed("torch {version} computes on {device}.", version=version, device=str(device))
    elif importlib.util.find_spec("mlx") and probe.device in ("mps", "cpu"):
        _try_mlx(probe, probe.parameters["elements"])
    else:
        probe.skip("There is neither torch nor mlx to try {device} with.", device=probe.device)


def _try_mlx(probe: Probe, elements: int) -> None:
    mlx: Any = importlib.import_module("mlx.core")
    device = mlx.gpu if probe.device == "mps" else mlx.cpu
    observed = float(mlx.sum(mlx.ones(elements, stream=device) + 1, stream=device).item())
    if observed != 2.0 * elements:
        probe.fail(
            "MLX computes wrong: {elements} times (1 + 1) is {observed} there.",
            elements=elements,
            observed=observed,
        )
    probe.passed("MLX computes on {device}.", device=str(device))
