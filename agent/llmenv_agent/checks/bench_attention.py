"""How fast is causal attention, by the length of the text?

`scaled_dot_product_attention` with `is_causal`, forward and forward with backward, on one text. Counted are
the operations that the mask leaves: 2 H L^2 d forward, and 2.5 times as many backward (Dao,
FlashAttention-2, section 4.1), whatever the kernel does. The longest text comes first.

One row of every head is compared with softmax(q K' / sqrt(d)) V in float64 on the CPU over the positions
that the mask leaves; it is a row of the first third, so that a mask which is dropped shows. The bound is
that of a product in the type. How trials are taken and judged is said in `llmenv_probe.timing` and
`llmenv_probe.trials`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from llmenv_probe import precision, roofline
from llmenv_probe.timing import Timer

if TYPE_CHECKING:
    from llmenv_agent.probe.context import Probe
    from llmenv_agent.probe.findings import Findings

ORDER = 320
SUITES = ("bench",)
REQUIRES = ("torch",)
TIMEOUT_SECONDS = 600
TYPICAL_SECONDS = 16
CASE_TIMEOUT_SECONDS = 150
# Without dtype, heads and lengths, they are chosen by the device.
PARAMETERS = {
    "dtype": None,
    "heads": None,
    "head_width": 64,
    "lengths": None,
    "trials": 10,
    "trial_seconds": 0.1,
    "cooldown_seconds": 2.0,
}
ALLOWED = {
    "dtype": "float32 | float16 | bfloat16",
    "heads": "1..256",
    "head_width": "1..256",
    "lengths": "list of 1..131072",
    "trials": "10..1000",
    "trial_seconds": "0.001..60.0",
    "cooldown_seconds": "0.0..600.0",
}

ON_CPU: "dict[str, Any]" = {"dtype": "float32", "heads": 4, "lengths": (256, 512)}
ON_ACCELERATOR: "dict[str, Any]" = {"dtype": "float16", "heads": 16, "lengths": (512, 2048, 4096)}
BACKWARD_OPERATIONS = 2.5


def run(probe: Probe) -> None:
    device = probe.accelerator.torch_device()
    probe.fact("device", str(device))
    chosen = ON_CPU if device.type == "cpu" else ON_ACCELERATOR
    dtype, heads, lengths = (probe.parameters[name] or chosen[name] for name in ("dtype", "heads", "lengths"))
    timer = Timer(probe)
    for length in sorted(lengths, reverse=True):
        name = f"{dtype}/{length}"
        if not probe.is_completed(name):
            width = probe.parameters["head_width"]
            with timer.case(name, dtype=dtype, heads=heads, length=length, head_width=width) as case:
                _measure(probe, timer, case, device, dtype_name=dtype, shape=(1, heads, length, width))


def _measure(
    probe: Probe,
    timer: Timer,
    case: Findings,
    device: Any,
    *,
    dtype_name: str,
    shape: "tuple[int, int, int, int]",
) -> None:
    import torch

    batch, heads, length, width = shape
    dtype = precision.torch_dtype(dtype_name, device, case)
    # A kernel that keeps the scores has them four times: scores, weights, and the gradients of both.
    needed = 4 * heads * length**2 * dtype.itemsize
    probe.require_memory(needed, f"4 x {heads} x {length}^2 x {dtype.itemsize} bytes", findings=case)
    generator = torch.Generator().manual_seed(probe.seed)
    query, key, value = (
        torch.randn(shape, generator=generator).to(device, dtype).requires_grad_() for _ in range(3)
    )
    upstream = torch.ones_like(value)

    with torch.no_grad():
        forward = timer.time(lambda: _attend(query, key, value))
        _compare(case, (query, key, value), _attend(query, key, value), precision.BOUNDS[dtype_name])
    training = timer.time(
        lambda: torch.autograd.grad(_attend(query, key, value), (query, key, value), upstream)
    )

    operations = roofline.causal_attention_operations(
        batch=batch, heads=heads, length=length, head_width=width
    )
    rate = forward.measure_rate(case, "attention_forward", "FLOP/s", work=operations)
    training.measure_rate(case, "attention_training", "FLOP/s", work=(1 + BACKWARD_OPERATIONS) * operations)
    case.passed("{rate:.3f} TFLOP/s forward.", rate=rate / 1e12)


def _attend(query: Any, key: Any, value: Any) -> Any:
    from torch.nn.functional import scaled_dot_product_attention

    return scaled_dot_product_attention(query, key, value, is_causal=True)


def _compare(case: Findings, operands: "tuple[Any, Any, Any]", output: Any, bound: float) -> None:
    row = output.shape[2] // 3
    query, key, value = (each.detach()[0, :, : row + 1].cpu().double() for each in operands)
    scores = query[:, -1:] @ key.transpose(1, 2) / math.sqrt(output.shape[3])
    precision.refuse_wrong(case, output[0, :, row], (scores.softmax(-1) @ value)[:, 0], bound=bound)
