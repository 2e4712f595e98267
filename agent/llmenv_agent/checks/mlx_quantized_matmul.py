"""Does MLX quantize a matrix to 4 and 8 bits as it says, and multiply by it without a further error?

One case for every width in bits, group size, data type and orientation. `mx.quantize` gives codes, and a
scale s and a bias b for each group of a row: a code c stands for s*c + b. The check unpacks the codes
itself, with Python's integers, and knows from there what each element became.

The error of quantizing. With n = 2^bits - 1, one step is (max - min)/n of the group. Rounding to a fixed grid
would cost half a step; MLX shifts its grid so that 0 is exact, by which the far end may lie up to a whole
step outside and is clipped: at most *one step* (derived: s = e/rint(e/step), e the end of larger magnitude,
which is at least n/2 steps, so n*|s| falls short of the range by n*0.5/(n/2) = 1 step at most). Scale and
bias are rounded to the data type, and their arithmetic is FP32's, which adds (u + 4 * 2^-24)*(n|s| + |b|).
And every element must have the nearest of its levels, up to twice that.

The error of multiplying. `mx.dequantize` must give s*c + b to 3u of |s|c + |b|, and `mx.quantized_matmul`,
with 1 row (another kernel) and with 9, the float64 product of x with s*c + b to (3u + sqrt(K) * 2^-24) *
sum |x|(|s|c + |b|): three roundings to the data type (weight, product, result), and K additions in FP32,
whose errors add up like a random walk (Higham and Mary, 2019). u is 2^-24, 2^-11 and 2^-8, and TF32's 2^-11
for FP32 on the M5 (KI065).
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any, NamedTuple

from llmenv_probe.mlx_backend import product_roundoff, use_mlx
from llmenv_probe.roundoff import UNIT_ROUNDOFF

if TYPE_CHECKING:
    from llmenv_agent.probe.context import Probe

ORDER = 233
SUITES = ("full",)
# mlx.core is imported by `run`: away from Apple Silicon its absence is no error.
REQUIRES = ()
TIMEOUT_SECONDS = 300
CASE_TIMEOUT_SECONDS = 60
TYPICAL_SECONDS = 4
PARAMETERS = {"inner": 256, "outer": 128, "rows": 9}
ALLOWED = {"inner": "32..4096 by 32", "outer": "32..4096 by 32", "rows": "1..256"}

BITS = (4, 8)
GROUPS = (32, 64, 128)
DTYPES = ("float32", "float16", "bfloat16")
ORIENTATIONS = ("transposed", "plain")
FP32_ROUNDOFF = 2.0**-24


class Kind(NamedTuple):
    """What a case quantizes to, and which way round it multiplies."""

    bits: int
    group: int
    dtype: str
    orientation: str

    @property
    def name(self) -> str:
        return f"{self.bits}bit/group{self.group}/{self.dtype}/{self.orientation}"

    @property
    def steps(self) -> int:
        return (1 << self.bits) - 1

    @property
    def options(self) -> "dict[str, int]":
        return {"group_size": self.group, "bits": self.bits}


class Levels(NamedTuple):
    """A quantized matrix as the check reads it, all lists of rows of float64.

    `values` are s*c + b of each element, `magnitudes` |s|c + |b|, which its roundings are relative to;
    `scales` and `biases` are those of each group.
    """

    values: "list[list[float]]"
    magnitudes: "list[list[float]]"
    scales: "list[list[float]]"
    biases: "list[list[float]]"


def run(probe: Probe) -> None:
    use_mlx(probe)
    for kind in (
        Kind(bits, group, dtype, orientation)
        for bits in BITS
        for group in GROUPS
        for dtype in DTYPES
        for orientation in ORIENTATIONS
    ):
        if not probe.is_completed(kind.name):
            _case(probe, kind)


def _case(probe: Probe, kind: Kind) -> None:
    import mlx.core as mx

    with probe.case(kind.name, **kind._asdict()) as case:
        inner, outer = probe.parameters["inner"], probe.parameters["outer"]
        shape = (outer, inner) if kind.orientation == "transposed" else (inner, outer)
        if shape[1] % kind.group:
            case.skip("Rows of {length} are no whole groups of {group}.", length=shape[1], group=kind.group)
        generator = random.Random(f"{probe.seed}/{kind.name}")  # noqa: S311 # weights, no secret
        weights = _normal(generator, shape, kind.dtype)
        packed = mx.quantize(weights, **kind.options)
        levels = _levels(kind, *packed)
        strays = sum(not math.isfinite(value) for row in levels.values for value in row)
        if strays:
            case.fail("{strays} quantized elements are not finite.", strays=strays)
        _judge_quantizing(case, kind, weights.tolist(), levels)
        _judge_dequantizing(case, kind, packed, levels)
        errors = [
            _product_error(kind, _normal(generator, (rows, inner), kind.dtype), packed, levels)
            for rows in (1, probe.parameters["rows"])
        ]
        _judge_product(case, kind, max(errors), inner)
        case.passed("Quantized and multiplied within its bounds.")


def _normal(generator: random.Random, shape: "tuple[int, int]", dtype: str) -> Any:
    """Normal numbers, drawn by Python so that no device has a part in them."""
    import mlx.core as mx

    rows = [[generator.gauss(0, 1) for _ in range(shape[1])] for _ in range(shape[0])]
    return mx.array(rows, dtype=getattr(mx, dtype))


def _levels(kind: Kind, codes: Any, scales: Any, biases: Any) -> Levels:
    each_scale, each_bias = scales.tolist(), biases.tolist()
    values, magnitudes = [], []
    for words, row_scales, row_biases in zip(codes.tolist(), each_scale, each_bias):
        row = [
            (row_scales[column // kind.group], code, row_biases[column // kind.group])
            for column, code in enumerate(_unpacked(words, kind.bits))
        ]
        values.append([scale * code + bias for scale, code, bias in row])
        magnitudes.append([abs(scale) * code + abs(bias) for scale, code, bias in row])
    return Levels(values, magnitudes, each_scale, each_bias)


def _unpacked(words: "list[int]", bits: int) -> "list[int]":
    """The codes in words of 32 bits, the first in the lowest bits."""
    return [word >> bits * place & 2**bits - 1 for word in words for place in range(32 // bits)]


def _judge_quantizing(case: Any, kind: Kind, weights: "list[list[float]]", levels: Levels) -> None:
    """Errors of every element in steps of its group: against one step, and against its nearest level's."""
    in_steps, of_most, of_rounding = 0.0, 0.0, 0.0
    for row, values, scales, biases in zip(weights, levels.values, levels.scales, levels.biases):
        for index, (scale, bias) in enumerate(zip(scales, biases)):
            group = slice(index * kind.group, (index + 1) * kind.group)
            step = (max(row[group]) - min(row[group])) / kind.steps
            rounding = (UNIT_ROUNDOFF[kind.dtype] + 4 * FP32_ROUNDOFF) * (kind.steps * abs(scale) + abs(bias))
            for weight, value in zip(row[group], values[group]):
                error = abs(weight - value)
                in_steps = max(in_steps, error / step)
                of_most = max(of_most, error / (step + rounding))
                nearest = scale * min(max(round((weight - bias) / scale), 0), kind.steps) + bias
                of_rounding = max(of_rounding, (error - abs(weight - nearest)) / (2 * rounding))
    case.measure("quantization_error", in_steps, "step", better="lower")
    if of_most > 1:
        case.fail(
            "Quantizing errs by {error:.2f} steps of a group, and one is the most that it can.",
            error=in_steps,
        )
    if of_rounding > 1:
        case.fail(
            "An element is not at the nearest of its levels: off by {ratio:.1f} times the rounding allowed.",
            ratio=of_rounding,
        )


def _judge_dequantizing(case: Any, kind: Kind, packed: Any, levels: Levels) -> None:
    import mlx.core as mx

    restored = mx.dequantize(*packed, **kind.options).tolist()
    error = 0.0
    for rows in zip(restored, levels.values, levels.magnitudes):
        for observed, value, magnitude in zip(*rows):
            error = _worse(error, abs(observed - value) / magnitude if magnitude else abs(observed))
    bound = 3 * UNIT_ROUNDOFF[kind.dtype]
    case.measure("dequantization_error", error, "1", better="lower")
    if not error <= bound:
        case.fail(
            "Dequantizing gives other values than scale * code + bias: relative error {error:.1e}, "
            "more than {bound:.1e}.",
            error=error,
            bound=bound,
        )


def _product_error(kind: Kind, inputs: Any, packed: Any, levels: Levels) -> float:
    """Largest |y - reference| / sum |x|(|s|c + |b|) of a product with `inputs` (rows, inner)."""
    import mlx.core as mx

    is_transposed = kind.orientation == "transposed"
    observed = mx.quantized_matmul(inputs, *packed, transpose=is_transposed, **kind.options).tolist()
    columns, sizes = (
        rows if is_transposed else list(zip(*rows)) for rows in (levels.values, levels.magnitudes)
    )
    error = 0.0
    for row, results in zip(inputs.tolist(), observed):
        for result, column, size in zip(results, columns, sizes):
            reference = math.fsum(a * b for a, b in zip(row, column))
            scale = math.fsum(abs(a) * b for a, b in zip(row, size))
            error = _worse(error, abs(result - reference) / scale)
    return error


def _judge_product(case: Any, kind: Kind, error: float, inner: int) -> None:
    bound = 3 * product_roundoff(kind.dtype) + math.sqrt(inner) * FP32_ROUNDOFF
    case.measure("product_error", error, "1", better="lower")
    if not error <= bound:
        case.fail(
            "The quantized product differs from the float64 product of the same levels: relative error "
            "{error:.1e}, more than {bound:.1e}.",
            error=error,
            bound=bound,
        )


def _worse(one: float, other: float) -> float:
    """The larger; infinite where `other` is not finite, which `max` would lose."""
    return max(one, other) if math.isfinite(other) else math.inf
