"""How long until a saved model is loaded and on the device, cold and warm?

A Llama with random weights is saved as safetensors and loaded through `from_pretrained`, moved to the
device, and every parameter is read there: loading alone only maps the file. Warm, the file lies in the
system's memory. Cold, the system was asked to forget it before every load, and was seen to have done so;
where it keeps the file (a file system in memory, a system that only root can ask) there is no cold figure.
The drive's own cache is out of reach, and so is code that was imported before.

The loaded weights must be the saved ones to the last bit, by the sum of their magnitudes in float64. How
trials are taken and judged is said in `llmenv_probe.timing` and `llmenv_probe.trials`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmenv_probe import page_cache, workloads
from llmenv_probe.timing import Timer

if TYPE_CHECKING:
    from pathlib import Path

    from llmenv_agent.probe.context import Probe
    from llmenv_agent.probe.findings import Findings

ORDER = 360
SUITES = ("bench",)
REQUIRES = ("torch", "transformers")
TIMEOUT_SECONDS = 600
TYPICAL_SECONDS = 12
CASE_TIMEOUT_SECONDS = 240
# Without a width and layers, the shape is that of `bench_generation`.
PARAMETERS = {
    "width": None,
    "layers": None,
    "trials": 10,
    "trial_seconds": 0.1,
    "cooldown_seconds": 2.0,
}
ALLOWED = {
    "width": "32..8192 by 32",
    "layers": "1..100",
    "trials": "10..1000",
    "trial_seconds": "0.001..60.0",
    "cooldown_seconds": "0.0..600.0",
}


def run(probe: Probe) -> None:
    device = probe.accelerator.torch_device()
    probe.fact("device", str(device))
    shape = workloads.generation_shape(probe, probe.device)
    shape = shape._replace(
        width=probe.parameters["width"] or shape.width, layers=probe.parameters["layers"] or shape.layers
    )
    probe.require_memory(8 * shape.about_parameters, f"2 x 4 bytes x {shape.about_parameters:,} parameters")
    folder = probe.scratch / "model"
    magnitude = _save(shape.build("cpu", seed=probe.seed), folder)
    timer = Timer(probe)
    for state in ("cold", "warm"):
        if not probe.is_completed(state):
            with timer.case(state, dtype="float32", **shape._asdict()) as case:
                _measure(timer, case, folder, device, state=state, magnitude=magnitude)


def _save(model: Any, folder: Path) -> float:
    model.save_pretrained(folder)
    return _magnitude(model)


def _measure(
    timer: Timer, case: Findings, folder: Path, device: Any, *, state: str, magnitude: float
) -> None:
    files = sorted(folder.glob("*.safetensors"))
    size = sum(path.stat().st_size for path in files)
    observed = _magnitude(_load(folder, device))
    if observed != magnitude:
        case.fail(
            "Loaded are not the saved weights: their magnitudes sum to {observed:.9g}, not {saved:.9g}.",
            observed=observed,
            saved=magnitude,
        )
    cold = page_cache.Forgotten(files) if state == "cold" else None
    series = timer.time(lambda: _load(folder, device), prepare=cold and cold.forget)
    if cold:
        cold.require_absence(case)
    seconds = series.measure_seconds(case, "load_seconds")
    series.measure_rate(case, "load_rate", "GB/s", work=size / 1e9)
    case.passed("{state}: {size:.2f} GB in {seconds:.3f} s.", state=state, size=size / 1e9, seconds=seconds)


def _load(folder: Path, device: Any) -> Any:
    """The model on the device, every parameter read.

    Nobody may keep it: what is mapped is not forgotten.
    """
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder).to(device)
    sum(parameter.sum() for parameter in model.parameters()).item()
    return model


def _magnitude(model: Any) -> float:
    """Sum of |w| over all parameters, in float64 on the CPU."""
    return sum(
        float(parameter.detach().cpu().double().abs().sum())
        for _, parameter in sorted(model.named_parameters())
    )
