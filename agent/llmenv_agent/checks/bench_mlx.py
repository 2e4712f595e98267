"""How fast are matrix products, memory and attention in MLX?

The same as `bench_matmul`, `bench_memory_bandwidth` and `bench_attention`, by the same counting, so that
their figures may stand beside these. MLX has no copy that it would not leave out and fuses nothing by
itself, so of STREAM's kernels it is scale, a = 3b, and add, a = b + c.

Of each result, places spread over all of it are compared with sums that Python does in double precision;
float32 products get TF32's bound where the chip rounds to it. How trials are taken and judged is said in
`llmenv_probe.timing` and `llmenv_probe.trials`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from llmenv_probe import mlx_device, roofline
from llmenv_probe.mlx_backend import is_on_gpu, use_mlx
from llmenv_probe.timing import Timer

if TYPE_CHECKING:
    from llmenv_agent.probe.context import Probe
    from llmenv_agent.probe.findings import Findings

ORDER = 390
SUITES = ("bench",)
# mlx.core is imported by `run`: where it is absent, there is nothing to measure.
REQUIRES = ()
TIMEOUT_SECONDS = 600
TYPICAL_SECONDS = 23
CASE_TIMEOUT_SECONDS = 150
# Without sizes, megabytes (2^20 bytes, of one array), lengths and heads, they are chosen by the device.
PARAMETERS = {
    "dtypes": ["float32", "float16"],
    "sizes": None,
    "megabytes": None,
    "lengths": None,
    "heads": None,
    "head_width": 64,
    "trials": 10,
    "trial_seconds": 0.1,
    "cooldown_seconds": 2.0,
}
ALLOWED = {
    "dtypes": "list of float32 | float16 | bfloat16",
    "sizes": "list of 1..65536",
    "megabytes": "1..65536",
    "lengths": "list of 1..131072",
    "heads": "1..256",
    "head_width": "1..256",
    "trials": "10..1000",
    "trial_seconds": "0.001..60.0",
    "cooldown_seconds": "0.0..600.0",
}

# On the CPU of MLX half types are emulated: 512^3 takes 0.2 s there.
ON_CPU: "dict[str, Any]" = {"sizes": (512,), "megabytes": 128, "lengths": (256,), "heads": 4}
ON_ACCELERATOR: "dict[str, Any]" = {
    "sizes": (1024, 4096, 8192),
    "megabytes": 512,
    "lengths": (512, 2048, 4096),
    "heads": 16,
}
KERNELS = ("scale", "add")
PLACES_COMPARED = 16
ELEMENT_BYTES = 4


def run(probe: Probe) -> None:
    use_mlx(probe)
    # MLX may compute on the CPU beside an accelerator that it cannot use.
    chosen = ON_ACCELERATOR if is_on_gpu() else ON_CPU
    sizes, megabytes, lengths, heads = (probe.parameters[name] or chosen[name] for name in chosen)
    timer = Timer(probe, mlx_device.synchronize)
    for dtype in probe.parameters["dtypes"]:
        peak = 0.0
        for size in sorted(sizes, reverse=True):
            if not probe.is_completed(f"matmul/{dtype}/{size}"):
                with timer.case(f"matmul/{dtype}/{size}", dtype=dtype, size=size) as case:
                    peak = max(peak, _measure_matmul(probe, timer, case, dtype, size=size, peak=peak))
    for kernel in KERNELS:
        if not probe.is_completed(kernel):
            with timer.case(kernel, megabytes=megabytes, dtype="float32") as case:
                _measure_bandwidth(probe, timer, case, kernel, megabytes=megabytes)
    for length in sorted(lengths, reverse=True):
        shape = {"heads": heads, "length": length, "head_width": probe.parameters["head_width"]}
        if not probe.is_completed(f"attention/{length}"):
            with timer.case(f"attention/{length}", dtype="float32", **shape) as case:
                _measure_attention(probe, timer, case, **shape)


def _measure_matmul(
    probe: Probe, timer: Timer, case: Findings, dtype: str, *, size: int, peak: float
) -> float:
    """The rate in operations a second; `peak` is the highest of this type so far, 0 for none."""
    import mlx.core as mx

    probe.require_memory(3 * 4 * size**2, f"3 x 4 bytes x {size}^2", findings=case)
    keys = mx.random.split(mx.random.key(probe.seed), 2)
    left, right = (mx.random.normal((size, size), key=key).astype(getattr(mx, dtype)) for key in keys)
    mx.eval(left, right)
    series = timer.time(lambda: mx.eval(left @ right))

    row, columns = size // 2, list(range(0, size, max(1, size // PLACES_COMPARED)))
    exact = left[row].tolist()
    by_column = right.transpose()[mx.array(columns)].tolist()
    reference = [math.fsum(a * b for a, b in zip(exact, column)) for column in by_column]
    observed = (left @ right)[row][mx.array(columns)].tolist()
    mlx_device.refuse_wrong(case, observed, reference, bound=mlx_device.product_bound(dtype))

    operations = roofline.matmul_operations(size, size, size)
    rate = series.measure_rate(case, "matmul_rate", "FLOP/s", work=operations)
    if dtype == "float32":
        tflops = probe.machine.fp32_tflops
        roofline.measure_share(case, "share_of_computed_peak", rate / 1e12, tflops)
    roofline.measure_share(case, "share_of_measured_peak", rate, peak)
    case.passed("{rate:.3f} TFLOP/s.", rate=rate / 1e12)
    return float(rate)


def _measure_bandwidth(probe: Probe, timer: Timer, case: Findings, kernel: str, *, megabytes: int) -> None:
    import mlx.core as mx

    array_bytes = megabytes * 2**20
    probe.require_memory(4 * array_bytes, f"4 arrays x {megabytes} MiB", findings=case)
    b = mx.arange(array_bytes // ELEMENT_BYTES) % roofline.LARGEST_ELEMENT
    b = b.astype(mx.float32)
    c = 2 * b
    mx.eval(b, c)
    compute = (lambda: roofline.TRIAD_FACTOR * b) if kernel == "scale" else (lambda: b + c)
    series = timer.time(lambda: mx.eval(compute()))

    places = list(range(0, len(b), len(b) // PLACES_COMPARED))
    # Both are three times the element.
    reference = [3.0 * (place % roofline.LARGEST_ELEMENT) for place in places]
    mlx_device.refuse_wrong(case, compute()[mx.array(places)].tolist(), reference, bound=0.0)
    moved = roofline.ARRAYS[kernel] * array_bytes
    rate = series.measure_rate(case, "memory_bandwidth", "GB/s", work=moved / 1e9)
    roofline.measure_share(case, "share_of_bandwidth", rate, probe.machine.bandwidth_gb_per_s)
    case.passed("{kernel}: {rate:.2f} GB/s.", kernel=kernel, rate=rate)


def _measure_attention(
    probe: Probe, timer: Timer, case: Findings, *, heads: int, length: int, head_width: int
) -> None:
    import mlx.core as mx

    needed = 2 * 4 * heads * length**2
    probe.require_memory(needed, f"2 x 4 bytes x {heads} x {length}^2", findings=case)
    keys = mx.random.split(mx.random.key(probe.seed), 3)
    query, key, value = (mx.random.normal((1, heads, length, head_width), key=each) for each in keys)
    mx.eval(query, key, value)
    scale = 1 / math.sqrt(head_width)

    def attend() -> Any:
        return mx.fast.scaled_dot_product_attention(query, key, value, scale=scale, mask="causal")

    series = timer.time(lambda: mx.eval(attend()))
    row = length // 3
    reference = _attend_in_python(
        query[0, 0, row].tolist(), key[0, 0, : row + 1].tolist(), value[0, 0, : row + 1].tolist()
    )
    bound = mlx_device.product_bound("float32")
    mlx_device.refuse_wrong(case, attend()[0, 0, row].tolist(), reference, bound=bound)
    operations = roofline.causal_attention_operations(
        batch=1, heads=heads, length=length, head_width=head_width
    )
    rate = series.measure_rate(case, "attention_forward", "FLOP/s", work=operations)
    case.passed("{rate:.3f} TFLOP/s forward.", rate=rate / 1e12)


def _attend_in_python(
    query: "list[float]", keys: "list[list[float]]", values: "list[list[float]]"
) -> "list[float]":
    """softmax(q K' / sqrt(d)) V of one row, in double precision."""
    scores = [math.fsum(a * b for a, b in zip(query, key)) / math.sqrt(len(query)) for key in keys]
    weights = [math.exp(score - max(scores)) for score in scores]
    total = math.fsum(weights)
    return [math.fsum(w * v for w, v in zip(weights, column)) / total for column in zip(*values)]
