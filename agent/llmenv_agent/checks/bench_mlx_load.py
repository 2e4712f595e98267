"""How long until a saved model is loaded into MLX, cold and warm?

The Llama of `bench_mlx_model`'s generation with random weights in float32, saved as safetensors by MLX,
loaded by `load_weights` into a model that is there, and every array of it evaluated: MLX reads a file late.
Warm, the file lies in the system's memory; cold, the system was asked to forget it before every load, as in
`bench_model_load`.

The loaded weights must be the saved ones to the last bit. How trials are taken and judged is said in
`llmenv_probe.timing` and `llmenv_probe.trials`.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from llmenv_probe import mlx_device, mlx_models, mlx_workloads, page_cache, workloads
from llmenv_probe.mlx_backend import is_on_gpu, use_mlx
from llmenv_probe.timing import Timer

if TYPE_CHECKING:
    from pathlib import Path

    from llmenv_agent.probe.context import Probe
    from llmenv_agent.probe.findings import Findings

ORDER = 397
SUITES = ("bench",)
# Optional everywhere: what is not installed is skipped by `run`.
REQUIRES = ()
TIMEOUT_SECONDS = 600
TYPICAL_SECONDS = 8
CASE_TIMEOUT_SECONDS = 240
PARAMETERS = {"trials": 10, "trial_seconds": 0.1, "cooldown_seconds": 2.0}
ALLOWED = {"trials": "10..1000", "trial_seconds": "0.001..60.0", "cooldown_seconds": "0.0..600.0"}


def run(probe: Probe) -> None:
    use_mlx(probe)
    if importlib.util.find_spec("mlx_lm") is None:
        probe.skip("mlx_lm is not installed, and it is its Llama that is timed.")
    shape = workloads.generation_shape(probe, probe.device if is_on_gpu() else "cpu")
    probe.require_memory(8 * shape.about_parameters, f"2 x 4 bytes x {shape.about_parameters:,} parameters")
    model = mlx_workloads.llama(shape, seed=probe.seed, key_value_heads=max(1, shape.heads // 4))
    saved = mlx_models.base_arrays(model)
    path = probe.scratch / "model.safetensors"
    model.save_weights(str(path))
    timer = Timer(probe, mlx_device.synchronize)
    for state in ("cold", "warm"):
        if not probe.is_completed(state):
            with timer.case(state, dtype="float32", **shape._asdict()) as case:
                _load(model, path)
                _refuse_others(case, saved, model)
                _measure(timer, case, model, path, state=state)


def _refuse_others(case: Findings, saved: "dict[str, Any]", model: Any) -> None:
    if changed := mlx_models.changed_arrays(saved, model):
        case.fail("Loaded are not the saved weights: {names} differ.", names=", ".join(changed[:3]))


def _measure(timer: Timer, case: Findings, model: Any, path: Path, *, state: str) -> None:
    cold = page_cache.Forgotten([path]) if state == "cold" else None
    series = timer.time(lambda: _load(model, path), prepare=cold and cold.forget)
    if cold:
        cold.require_absence(case)
    size = path.stat().st_size
    seconds = series.measure_seconds(case, "load_seconds")
    series.measure_rate(case, "load_rate", "GB/s", work=size / 1e9)
    case.passed("{state}: {size:.2f} GB in {seconds:.3f} s.", state=state, size=size / 1e9, seconds=seconds)


def _load(model: Any, path: Path) -> None:
    """Every weight read from the file anew."""
    import mlx.core as mx

    model.load_weights(str(path))
    mx.eval(model.parameters())
