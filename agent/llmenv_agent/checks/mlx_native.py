"""Does MLX compute, differentiate and learn, and is what it computes right?

A 64x64 matrix product is compared with sums in double precision, the gradient of 0.5*|XW|^2 with its closed
form X'XW, a linear layer with xW' + b, and random numbers with the moments of a normal distribution.
TinyNet learns the task of `torch_training` under the same rules: the loss on examples it never saw must
fall below half its start, and every array of parameters must change.

Bounds on max|y - reference| / max|reference|: 1e-4 in FP32; the M5's matrix units and their successors
round FP32 operands to TF32 unless MLX_ENABLE_TF32=0 (mlx #3534, KI065), so there BF16's 2e-2 holds. MLX
runs on its own default device, which is reported: the GPU on a Mac, elsewhere what its build has. What
scripts expect and this version lacks is a fact, not a failure: `mlx.core.list_devices` has never existed in
any version.
"""

from __future__ import annotations

import importlib.util
import math
import os
import platform
import re
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmenv_agent.probe.context import Probe

ORDER = 50
SUITES = ("quick", "full")
# mlx.core is imported by `run`: away from Apple Silicon its absence is no error.
REQUIRES = ()
TIMEOUT_SECONDS = 120
TYPICAL_SECONDS = 0.6
PARAMETERS = {"size": 64, "steps": 100, "batch_size": 32, "learning_rate": 1e-3, "steps_per_trial": 10}
ALLOWED = {
    "size": "8..512",
    "steps": "40..10000",
    "batch_size": "8..4096",
    "learning_rate": "0.0005..0.003",
    "steps_per_trial": "1..1000",
}

EXPECTED_BY_SCRIPTS = (
    "list_devices",
    "default_device",
    "device_count",
    "device_info",
    "get_peak_memory",
    "compile",
)
FP32_BOUND, TF32_BOUND = 1e-4, 2e-2
FEATURES, CLASSES, HELD_OUT, NOISE = 128, 10, 1000, 3.0
TINYNET_PARAMETERS = 74_826
SHARE_OF_START = 0.5


def run(probe: Probe) -> None:
    on_apple_silicon = platform.system() == "Darwin" and platform.machine() == "arm64"
    if importlib.util.find_spec("mlx") is None and not on_apple_silicon:
        probe.skip("MLX is not installed, and this is not Apple Silicon.")
    import mlx.core as mx

    if probe.device == "cpu":
        mx.set_default_device(mx.cpu)
    device = _describe(probe, on_apple_silicon)
    bound = _bound(device_name=_device_facts(probe))
    probe.accelerator.reset_peak()
    _arithmetic(probe, bound)
    _random_numbers(probe)
    first, last = _learn(probe)
    _peak(probe)
    probe.passed(
        "MLX computes right on {device} and TinyNet learned there: loss on unseen examples fell "
        "from {first:.3f} to {last:.3f}.",
        device=device,
        first=first,
        last=last,
    )


def _describe(probe: Probe, on_apple_silicon: bool) -> str:
    import importlib.metadata

    import mlx.core as mx

    device = str(mx.default_device())
    probe.fact("mlx_version", importlib.metadata.version("mlx"))
    probe.fact("default_device", device)
    for name in EXPECTED_BY_SCRIPTS:
        probe.fact("has_" + name, hasattr(mx, name))
    if on_apple_silicon and probe.device == "mps":
        probe.expect("default_device", "gpu" in device, "the GPU", device)
    return device


def _device_facts(probe: Probe) -> str:
    """Facts that this version gives of its device; returns the device's name, or ""."""
    import mlx.core as mx

    if hasattr(mx, "device_info"):
        described = mx.device_info()
    elif mx.metal.is_available():
        described = mx.metal.device_info()
    else:
        return ""
    for name, value in described.items():
        probe.fact("device_info_" + name, value if isinstance(value, (str, int, float)) else str(value))
    return str(described.get("device_name", ""))


def _bound(device_name: str) -> float:
    generation = re.match(r"Apple M(\d+)", device_name)
    rounds_to_tf32 = generation is not None and int(generation[1]) >= 5
    return TF32_BOUND if rounds_to_tf32 and os.environ.get("MLX_ENABLE_TF32", "1") != "0" else FP32_BOUND


def _arithmetic(probe: Probe, bound: float) -> None:
    """Product, gradient and layer against sums that Python does in double precision."""
    import mlx.core as mx
    from mlx import nn

    size = probe.parameters["size"]
    keys = mx.random.split(mx.random.key(probe.seed))
    left, right = (mx.random.normal((size, size), key=key) for key in keys)
    exact_left, exact_right = left.tolist(), right.tolist()
    product = _product(exact_left, exact_right)
    gradient = mx.grad(lambda weights: 0.5 * mx.sum(mx.square(left @ weights)))(right)
    layer = nn.Linear(size, size)
    transposed = [list(column) for column in zip(*layer.weight.tolist())]
    layer_reference = _product(exact_left, transposed, layer.bias.tolist())

    _expect_close(probe, "matmul", left @ right, product, bound)
    _expect_close(
        probe, "gradient", gradient, _product([list(row) for row in zip(*exact_left)], product), 2 * bound
    )
    _expect_close(probe, "linear", layer(left), layer_reference, bound)
    ones = mx.ones((size, 1000)) @ mx.ones((1000, size))
    low, high = mx.min(ones).item(), mx.max(ones).item()
    probe.expect("ones_matmul", low == high == 1000, "every element 1000", f"{low:.9g} to {high:.9g}")


def _product(left: "list[list[float]]", right: "list[list[float]]", bias: Any = None) -> "list[list[float]]":
    columns = list(zip(*right))
    offsets = bias or [0.0] * len(columns)
    return [
        [math.fsum(a * b for a, b in zip(row, column)) + c for column, c in zip(columns, offsets)]
        for row in left
    ]


def _expect_close(
    probe: Probe, name: str, observed: Any, reference: "list[list[float]]", bound: float
) -> None:
    pairs = [pair for rows in zip(observed.tolist(), reference) for pair in zip(*rows)]
    scale = max(abs(expected) for _, expected in pairs)
    error = (
        max(abs(value - expected) if math.isfinite(value) else math.inf for value, expected in pairs) / scale
    )
    probe.measure(name + "_error", error, "1", better="lower")
    source = "double-precision sums of the same operands" + (
        "; TF32, mlx #3534" if bound >= TF32_BOUND else ""
    )
    probe.expect(name, error <= bound, f"relative error <= {bound:.0e}", f"{error:.2e}", source)


def _random_numbers(probe: Probe) -> None:
    """100,000 normal numbers: mean and variance within five standard errors, 1/sqrt(n) and sqrt(2/n)."""
    import mlx.core as mx

    count = 100_000
    drawn = mx.random.normal((count,), key=mx.random.key(probe.seed))
    mean, variance = mx.mean(drawn).item(), mx.var(drawn).item()
    met = abs(mean) < 5 / math.sqrt(count) and abs(variance - 1) < 5 * math.sqrt(2 / count)
    probe.expect(
        "random_normal",
        met,
        "mean 0, variance 1 within 5 standard errors",
        f"mean {mean:.4f}, {variance:.4f}",
    )


def _learn(probe: Probe) -> "tuple[float, float]":
    """Loss on unseen examples before the first step and after the last, in nats."""
    import mlx.core as mx
    from mlx import nn
    from mlx.utils import tree_flatten

    mx.random.seed(probe.seed)
    sizes = (FEATURES, 256, 128, 64)
    hidden = [
        layer for wide, narrow in zip(sizes, sizes[1:]) for layer in (nn.Linear(wide, narrow), nn.ReLU())
    ]
    network = nn.Sequential(*hidden, nn.Linear(sizes[-1], CLASSES))
    parameters = sum(array.size for _, array in tree_flatten(network.parameters()))
    probe.expect("parameters", parameters == TINYNET_PARAMETERS, f"{TINYNET_PARAMETERS:,}", f"{parameters:,}")

    inputs, labels = _examples(probe.parameters["steps"] * probe.parameters["batch_size"] + HELD_OUT)
    unseen = inputs[:HELD_OUT], labels[:HELD_OUT]
    first = _loss(network, *unseen).item()
    start = dict(tree_flatten(network.parameters()))
    _train(probe, network, inputs[HELD_OUT:], labels[HELD_OUT:])
    last = _loss(network, *unseen).item()
    probe.measure("first_loss", first, "nat")
    probe.measure("last_loss", last, "nat", better="lower")
    bound = SHARE_OF_START * first
    probe.expect(
        "loss_falls",
        last < bound,
        f"last loss < {bound:.3f}, half of the first",
        f"{last:.3f} after {first:.3f}",
    )
    still = [
        name
        for name, array in tree_flatten(network.parameters())
        if mx.array_equal(array, start[name]).item()
    ]
    observed = f"{len(start) - len(still)}" + (f", all but {', '.join(still)}" if still else "")
    probe.expect("all_parameters_learn", not still, f"{len(start)} arrays changed", observed)
    return first, last


def _examples(count: int) -> "tuple[Any, Any]":
    """`count` inputs (count, 128) around ten class centres, and their labels (count,)."""
    import mlx.core as mx

    centres = mx.random.normal((CLASSES, FEATURES))
    labels = mx.random.randint(0, CLASSES, (count,))
    inputs = centres[labels] + NOISE * mx.random.normal((count, FEATURES))
    mx.eval(inputs, labels)
    return inputs, labels


def _loss(network: Any, inputs: Any, labels: Any) -> Any:
    from mlx import nn

    return nn.losses.cross_entropy(network(inputs), labels, reduction="mean")


def _train(probe: Probe, network: Any, inputs: Any, labels: Any) -> None:
    """MLX is lazy: each step is evaluated before the clock stops."""
    import mlx.core as mx
    from mlx import nn, optimizers

    optimizer = optimizers.Adam(learning_rate=probe.parameters["learning_rate"])
    step = nn.value_and_grad(network, lambda x, y: _loss(network, x, y))
    batch_size, per_trial = probe.parameters["batch_size"], probe.parameters["steps_per_trial"]
    rates = []
    for start in range(0, probe.parameters["steps"], per_trial):
        steps = range(start, min(start + per_trial, probe.parameters["steps"]))
        started = time.perf_counter()
        for batch in (slice(index * batch_size, (index + 1) * batch_size) for index in steps):
            _, gradients = step(inputs[batch], labels[batch])
            optimizer.update(network, gradients)
            mx.eval(network.parameters(), optimizer.state)
        rates.append(len(steps) / (time.perf_counter() - started))
    probe.measure("steps_per_second", None, "step/s", better="higher", trials=rates[1:], warmups=rates[:1])


def _peak(probe: Probe) -> None:
    import mlx.core as mx

    reader = getattr(mx, "get_peak_memory", None) or getattr(mx.metal, "get_peak_memory", None)
    if reader is not None:
        probe.measure("mlx_peak_memory", reader(), "byte", better="lower")
