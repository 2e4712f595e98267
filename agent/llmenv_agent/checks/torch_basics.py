"""Does PyTorch compute on this device, and is what it computes right?

A 1000x1000 matrix product in FP32, FP16 and BF16 and two gradients are compared with a float64 reference
that the CPU computes from the same operands, after they were rounded to the type under test. The error is e
= max|y - reference| / max|reference|. A product of all ones must be exactly K, which finds the single lost
or doubled term that no tolerance finds.

Bounds on e: FP32 5e-5 for K < 8192. Right answers were observed at 1.4e-6 (MPSGraph) and 1.8e-5 (Metal
kernel) and a wrong one at 3.3e-4 (pytorch #193487, M1 Pro). FP16 5e-3 and BF16 2e-2 are ten and five times
the unit roundoffs 2^-11 and 2^-8; a CPU shows 4e-4 and 3e-3. The gradients chain two products in FP32 and
get twice its bound.
"""

from __future__ import annotations

import math
import re
import statistics
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmenv_agent.probe.context import Probe

ORDER = 10
SUITES = ("quick", "full")
REQUIRES = ("torch",)
TIMEOUT_SECONDS = 120
TYPICAL_SECONDS = 7
PARAMETERS = {"size": 1000, "trials": 5, "warmups": 2}
ALLOWED = {"size": "8..8191", "trials": "1..1000", "warmups": "0..1000"}

BOUNDS = {"float32": 5e-5, "float16": 5e-3, "bfloat16": 2e-2}
BOUND_SOURCE = "float64 on the CPU from the same rounded operands; pytorch #193487 and unit roundoff"
# The backward pass of GPT-2's output layer sums over its vocabulary.
VOCABULARY = 50257
BF16_REFUSED = re.compile(r"BFloat16 is not supported on MPS|MPS BFloat16 is only supported on MacOS 14")


def run(probe: Probe) -> None:
    import torch

    probe.fact("torch_version", torch.__version__)
    probe.fact("mps_built", bool(torch.backends.mps.is_built()))
    probe.fact("mps_available", bool(torch.backends.mps.is_available()))
    probe.fact("cuda_available", bool(torch.cuda.is_available()))
    device = probe.accelerator.torch_device()
    probe.fact("device", str(device))
    probe.accelerator.reset_peak()

    errors = {name: _matmul(probe, name, device) for name in ("float32", "float16")}
    bf16 = _bf16_matmul(probe, device)
    _ones(probe, device)
    gradient = _gradients(probe, device)
    if bf16 is None:
        probe.warn(
            "PyTorch computes right on {device} in FP32 and FP16, and refuses BF16 there.",
            remedy="KI075",
            device=device,
        )
        return
    probe.passed(
        "PyTorch computes right on {device}: relative errors {fp32:.1e} in FP32, {fp16:.1e} in FP16, "
        "{bf16:.1e} in BF16 and {gradient:.1e} in gradients.",
        device=device,
        fp32=errors["float32"],
        fp16=errors["float16"],
        bf16=bf16,
        gradient=gradient,
    )


def _matmul(probe: Probe, dtype_name: str, device: Any) -> float:
    """One product in `dtype_name`: compared, then timed.  Returns its error."""
    import torch

    size, dtype = probe.parameters["size"], getattr(torch, dtype_name)
    left, right = (operand.to(dtype) for operand in _operands(size, seed=probe.seed))
    here_left, here_right = left.to(device), right.to(device)
    error = _relative_error(torch.matmul(here_left, here_right), left.double() @ right.double())
    _expect_close(probe, "matmul_" + dtype_name, error, BOUNDS[dtype_name])
    _time_matmul(probe, dtype_name, lambda: torch.matmul(here_left, here_right))
    return error


def _bf16_matmul(probe: Probe, device: Any) -> "float | None":
    """None where this macOS or torch has no BF16 on the device."""
    try:
        error = _matmul(probe, "bfloat16", device)
    except (RuntimeError, TypeError) as refusal:
        if not BF16_REFUSED.search(str(refusal)):
            raise
        probe.fact("bf16_supported", False)
        return None
    probe.fact("bf16_supported", True)
    return error


def _ones(probe: Probe, device: Any) -> None:
    """Products of ones: 1000 is exact in every type, 50257 in FP32."""
    import torch

    size = probe.parameters["size"]
    for name, inner, outer in (("ones_matmul", size, size), ("ones_matmul_vocabulary", VOCABULARY, 64)):
        product = torch.ones(outer, inner, device=device) @ torch.ones(inner, outer, device=device)
        low, high = product.min().item(), product.max().item()
        observed = f"{low:.9g}" if low == high else f"{low:.9g} to {high:.9g}"
        probe.expect(
            name,
            low == high == inner,
            f"every element {inner}",
            observed,
            "sums of ones are exact below 2^24",
        )


def _gradients(probe: Probe, device: Any) -> float:
    """Gradients of 0.5*|XW|^2, which is X'XW, and of sum(XW), which is X'1 in every column.

    Returns the larger error.  The second has an expanded gradient, which was wrong on MPS with macOS 26.2
    (pytorch #180201).
    """
    import torch

    inputs, weights = _operands(probe.parameters["size"], seed=probe.seed)
    exact = inputs.double()
    closed_forms = {
        "gradient_square": (lambda y: 0.5 * (y * y).sum(), exact.T @ (exact @ weights.double())),
        "gradient_sum": (lambda y: y.sum(), exact.sum(0)[:, None].expand_as(weights)),
    }
    errors = []
    for name, (loss, reference) in closed_forms.items():
        variable = weights.to(device).detach().requires_grad_()
        loss(torch.matmul(inputs.to(device), variable)).backward()
        gradient = variable.grad
        errors.append(math.inf if gradient is None else _relative_error(gradient, reference))
        _expect_close(probe, name, errors[-1], 2 * BOUNDS["float32"])
    return max(errors)


def _operands(size: int, *, seed: int) -> Any:
    """The same two matrices on every device: drawn on the CPU from the run's seed."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, size, generator=generator) for _ in range(2)]


def _relative_error(observed: Any, reference: Any) -> float:
    """max|y - reference| / max|reference|; infinite where y is not finite."""
    error = ((observed.detach().cpu().double() - reference).abs().max() / reference.abs().max()).item()
    return error if error == error else float("inf")  # noqa: PLR0124 (a NaN is not itself)


def _expect_close(probe: Probe, name: str, error: float, bound: float) -> None:
    probe.measure(name + "_error", error, "1", better="lower")
    probe.expect(name, error <= bound, f"relative error <= {bound:.0e}", f"{error:.2e}", BOUND_SOURCE)


def _time_matmul(probe: Probe, dtype_name: str, multiply: Callable[[], Any]) -> None:
    """Seconds of one product, and the rate that follows: 2*size^3 operations."""
    seconds = []
    warmups = probe.parameters["warmups"]
    for _ in range(warmups + probe.parameters["trials"]):
        probe.accelerator.synchronize()
        started = time.perf_counter()
        multiply()
        probe.accelerator.synchronize()
        seconds.append(time.perf_counter() - started)
    timed = seconds[warmups:]
    probe.measure(
        f"matmul_{dtype_name}_seconds", None, "s", better="lower", trials=timed, warmups=seconds[:warmups]
    )
    rate = 2 * probe.parameters["size"] ** 3 / statistics.median(timed)
    probe.measure(f"matmul_{dtype_name}_rate", rate, "FLOP/s", better="higher")
