"""MLX for a check: installed or a clear verdict, its device named, its products as exact as they are.

Nothing here imports mlx before `use_mlx` is called: away from Apple Silicon its absence is no error.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
from typing import TYPE_CHECKING, Any, Dict

from .roundoff import TF32_ROUNDOFF, UNIT_ROUNDOFF

if TYPE_CHECKING:
    from .context import Probe

# mlx-lm's `train_model(args, model, train_set, valid_set)` is as old as this.
OLDEST_MLX_LM = (0, 26)


def use_mlx(probe: Probe) -> str:
    """Choose MLX's device for this check, record it as a fact, and return its name, as in "Device(gpu, 0)".

    Skips where MLX is not installed, but on Apple Silicon, where the import that follows says so as an error.
    """
    on_apple_silicon = platform.system() == "Darwin" and platform.machine() == "arm64"
    if importlib.util.find_spec("mlx") is None and not on_apple_silicon:
        probe.skip("MLX is not installed, and this is not Apple Silicon.")
    import mlx.core as mx

    if probe.device == "cpu":
        mx.set_default_device(mx.cpu)
    device = str(mx.default_device())
    probe.fact("mlx_version", mx.__version__)
    probe.fact("default_device", device)
    return device


def use_mlx_lm(probe: Probe) -> str:
    """`use_mlx`, with mlx-lm beside it; skips where that is missing or too old."""
    device = use_mlx(probe)
    if importlib.util.find_spec("mlx_lm") is None:
        probe.skip("mlx-lm is not installed, so MLX has no language models here.")
    version = importlib.metadata.version("mlx-lm")
    probe.fact("mlx_lm_version", version)
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST_MLX_LM:
        probe.skip("mlx-lm {version} is older than 0.26, which this check needs.", version=version)
    return device


def is_on_gpu() -> bool:
    """Whether MLX computes on a GPU, where a sum has no fixed order and some operations are approximate."""
    import mlx.core as mx

    return "gpu" in str(mx.default_device())


def product_roundoff(dtype: str) -> float:
    """The unit roundoff of the operands of a product in `dtype` on MLX's device.

    The M5's matrix units and their successors round FP32 operands to TF32 unless MLX_ENABLE_TF32=0 (KI065).
    """
    return TF32_ROUNDOFF if dtype == "float32" and rounds_to_tf32() else UNIT_ROUNDOFF[dtype]


def rounds_to_tf32() -> bool:
    """Whether products in FP32 round their operands to TF32 on MLX's device."""
    generation = re.match(r"Apple M(\d+)", _device_name())
    has_units = generation is not None and int(generation[1]) >= 5 and is_on_gpu()
    return has_units and os.environ.get("MLX_ENABLE_TF32", "1") != "0"


def _device_name() -> str:
    """What MLX calls its device; "" where this version does not say (before 0.12.2)."""
    import mlx.core as mx

    described: Dict[str, Any] = {}
    if hasattr(mx, "device_info"):
        described = mx.device_info()
    elif mx.metal.is_available() and hasattr(mx.metal, "device_info"):
        described = mx.metal.device_info()
    return str(described.get("device_name", ""))
