"""How fast is a matrix product, by data type and size?

A square product n x n x n counts 2n^3 operations.  The largest size of a type comes first: its rate is the
measured peak that the smaller sizes are held against.  In FP32 the rate is also given as a share of the
chip's computed peak, its GPU cores times their clock, where the catalogue knows it; never of a quoted one.

Each product is compared with float64 on the CPU in sixteen columns of one row, to the bound of its type in
`llmenv_probe.precision`, and its output is filled with NaN before: what was not computed is no result.
How trials are taken and judged is said in `llmenv_probe.timing` and `llmenv_probe.trials`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmenv_probe import precision, roofline
from llmenv_probe.timing import Timer

if TYPE_CHECKING:
    from llmenv_agent.probe.context import Probe
    from llmenv_agent.probe.findings import Findings

ORDER = 300
SUITES = ("bench",)
REQUIRES = ("torch",)
TIMEOUT_SECONDS = 600
TYPICAL_SECONDS = 21
CASE_TIMEOUT_SECONDS = 150
# Without dtypes and sizes, they are chosen by the device.
PARAMETERS = {"dtypes": None, "sizes": None, "trials": 10, "trial_seconds": 0.1, "cooldown_seconds": 2.0}
ALLOWED = {
    "dtypes": "list of float32 | float16 | bfloat16",
    "sizes": "list of 1..65536",
    "trials": "10..1000",
    "trial_seconds": "0.001..60.0",
    "cooldown_seconds": "0.0..600.0",
}

ON_CPU: "dict[str, tuple[Any, ...]]" = {"dtypes": ("float32", "bfloat16"), "sizes": (512, 1024)}
ON_ACCELERATOR: "dict[str, tuple[Any, ...]]" = {
    "dtypes": ("float32", "float16", "bfloat16"),
    "sizes": (1024, 4096, 8192),
}
COLUMNS_COMPARED = 16


def run(probe: Probe) -> None:
    device = probe.accelerator.torch_device()
    probe.fact("device", str(device))
    chosen = ON_CPU if device.type == "cpu" else ON_ACCELERATOR
    timer = Timer(probe)
    for dtype in probe.parameters["dtypes"] or chosen["dtypes"]:
        peak = 0.0
        for size in sorted(probe.parameters["sizes"] or chosen["sizes"], reverse=True):
            name = f"{dtype}/{size}"
            if not probe.is_completed(name):
                with timer.case(name, dtype=dtype, size=size) as case:
                    rate = _measure(probe, timer, case, device, dtype_name=dtype, size=size, peak=peak)
                    peak = max(peak, rate)


def _measure(
    probe: Probe, timer: Timer, case: Findings, device: Any, *, dtype_name: str, size: int, peak: float
) -> float:
    """The rate in operations a second; `peak` is the highest of this type so far, 0 for none."""
    import torch

    dtype = precision.torch_dtype(dtype_name, device, case)
    # Two operands and the result, and the operands once more in float32 while they are drawn.
    needed = (3 * dtype.itemsize + 8) * size**2
    probe.require_memory(needed, f"(3 x {dtype.itemsize} + 8) bytes x {size}^2", findings=case)
    generator = torch.Generator().manual_seed(probe.seed)
    left, right = (torch.randn(size, size, generator=generator).to(device, dtype) for _ in range(2))
    out = torch.full((size, size), float("nan"), dtype=dtype, device=device)

    series = timer.time(lambda: torch.mm(left, right, out=out))
    _compare(case, left, right, out, precision.BOUNDS[dtype_name])
    operations = roofline.matmul_operations(size, size, size)
    rate = series.measure_rate(case, "matmul_rate", "FLOP/s", work=operations)
    if dtype_name == "float32":
        roofline.measure_share(case, "share_of_computed_peak", rate / 1e12, probe.machine.fp32_tflops)
    roofline.measure_share(case, "share_of_measured_peak", rate, peak)
    case.passed("{rate:.3f} TFLOP/s.", rate=rate / 1e12)
    return float(rate)


def _compare(case: Findings, left: Any, right: Any, out: Any, bound: float) -> None:
    """The middle row of the product, in columns spread over all of it."""
    size = len(out)
    columns = slice(None, None, max(1, size // COLUMNS_COMPARED))
    reference = left[size // 2].cpu().double() @ right[:, columns].cpu().double()
    precision.refuse_wrong(case, out[size // 2, columns], reference, bound=bound)
