"""The error of each canary's issue, planted on the CPU: run by a training interpreter, judged by a test.

`python canary_plants.py PROBE_FOLDER` prints one JSON line a plant: the errors without and with it, and the
bound.  A problem and its reference are built before anything is planted, so that only what is observed is
wrong.  Those problems that take gigabytes are built smaller, which their plants do not mind.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GARBAGE = 3.0


class Plant(NamedTuple):
    """What replaces `attribute` of `owner` (a dotted name): `make` is given the right function."""

    canary: str
    error: str
    owner: str
    attribute: str
    make: Callable[[Any], Any]
    sizes: dict[str, int] = {}  # noqa: RUF012 (never changed)


def drops_terms(right: Any) -> Any:
    """Terms from 32,766 on are not in the sum."""

    def product(*operands: Any) -> Any:
        *start, left, other = operands
        return right(*start, left[..., :32_766], other[..., :32_766, :])

    return product


def einsum_drops_terms(right: Any) -> Any:
    return lambda equation, left, other: right(equation, left[..., :32_766], other[..., :32_766, :])


def linear_drops_terms(right: Any) -> Any:
    return lambda rows, weight: right(rows[..., :32_766], weight[..., :32_766])


def reads_too_far(right: Any) -> Any:
    """A product that sums what was left behind its operands, as it is after an allocation but not before."""
    calls = []

    def product(left: Any, other: Any) -> Any:
        calls.append(None)
        return right(left, other) + (GARBAGE**2 if len(calls) > 1 else 0)

    return product


def columns_wrong_after_1024(right: Any) -> Any:
    def product(left: Any, other: Any) -> Any:
        result = right(left, other)
        result[..., 1024:] = result[..., 1024:].roll(1, dims=-1)
        return result

    return product


def as_if_contiguous(tensor: Any) -> Any:
    """The elements in the order in which they lie, whatever the strides say."""
    import torch

    strides, step = [], 1
    for size in reversed(tensor.shape):
        strides.insert(0, step)
        step *= size
    return torch.as_strided(tensor, tensor.shape, strides, 0)


def ignores_strides(position: int) -> Callable[[Any], Any]:
    def make(right: Any) -> Any:
        def operation(*operands: Any, **options: Any) -> Any:
            moved = list(operands)
            moved[position] = as_if_contiguous(moved[position])
            return right(*moved, **options)

        return operation

    return make


def batch_index_wraps(right: Any) -> Any:
    def linear(*operands: Any) -> Any:
        result = right(*operands)
        result[0] = result[-1]
        result[-1] = 0
        return result

    return linear


def bias_only_in_two_dimensions(right: Any) -> Any:
    return lambda rows, weight, bias: right(rows, weight, bias if rows.dim() == 2 else None)


def another_result_each_time(right: Any) -> Any:
    calls = []

    def linear(*operands: Any) -> Any:
        calls.append(None)
        return right(*operands) + (GARBAGE if len(calls) % 2 == 0 else 0)

    return linear


def takes_first_batch_only(right: Any) -> Any:
    def linear(rows: Any, *rest: Any) -> Any:
        result = right(rows, *rest)
        result[1:] = 0
        return result

    return linear


def rows_unwritten(start: int) -> Callable[[Any], Any]:
    """From this row on nothing is written."""

    def make(right: Any) -> Any:
        def operation(*operands: Any) -> Any:
            result = right(*operands)
            result[..., start:, :] = 0
            return result

        return operation

    return make


def attends_to_garbage(right: Any) -> Any:
    """Keys and values up to the next multiple of 32, and one block more, are what memory holds."""
    from torch.nn import functional

    def attention(query: Any, key: Any, value: Any, **options: Any) -> Any:
        missing = 32 - key.shape[-2] % 32
        key, value = (functional.pad(each, (0, 0, 0, missing), value=GARBAGE) for each in (key, value))
        return right(query, key, value, **options)

    return attention


def rows_become_nan(right: Any) -> Any:
    def attention(*operands: Any, attn_mask: Any) -> Any:
        result = right(*operands, attn_mask=attn_mask)
        return result.masked_fill(~attn_mask.any(dim=-1, keepdim=True), math.nan)

    return attention


def takes_the_first_mask(right: Any) -> Any:
    return lambda *operands, attn_mask: right(*operands, attn_mask=attn_mask[:1])


def forgets(option: str) -> Callable[[Any], Any]:
    def make(right: Any) -> Any:
        def attention(*operands: Any, **options: Any) -> Any:
            del options[option]
            return right(*operands, **options)

        return attention

    return make


def masks_four_rows_at_once(right: Any) -> Any:
    """Each group of four queries sees what its last may see."""

    def attention(*operands: Any, is_causal: bool) -> Any:
        import torch

        assert is_causal
        position = torch.arange(operands[0].shape[-2])
        return right(*operands, attn_mask=position <= (position // 4 * 4 + 3)[:, None])

    return attention


def sums_to_more_than_one(right: Any) -> Any:
    """The 2.4 % of the issue."""
    return lambda *operands: right(*operands) * 1.024


def unmasked_at_1024(right: Any) -> Any:
    def where(condition: Any, scores: Any, least: Any) -> Any:
        return scores if scores.shape[-1] == 1024 else right(condition, scores, least)

    return where


def explodes_after_another_shape(right: Any) -> Any:
    calls = []

    def gradients(loss: Any, leaves: Any) -> Any:
        calls.append(None)
        found = right(loss, leaves)
        return found if len(calls) == 1 else tuple(each * 1000 for each in found)

    return gradients


def gradient_drops_terms(right: Any) -> Any:
    """The lower gradient is a sum over the vocabulary: what comes after 32,766 words is not in it."""

    def gradients(loss: Any, leaves: Any) -> Any:
        lower, upper = right(loss, leaves)
        whole, part = (leaves[1].detach()[:end].sum(dim=0) for end in (None, 32_766))
        return (lower * (part / whole).nan_to_num(0.0)[:, None], upper)

    return gradients


def weight_gradient_uninitialised(right: Any) -> Any:
    def gradients(loss: Any, leaves: Any) -> Any:
        weight, bias = right(loss, leaves)
        return (weight.new_full(weight.shape, GARBAGE), bias)

    return gradients


def rows_become_zero(right: Any) -> Any:
    def gradients(loss: Any, leaf: Any) -> Any:
        (gradient,) = right(loss, leaf)
        gradient[1:] = 0
        return (gradient,)

    return gradients


def always_takes_the_value(_: Any) -> Any:
    return lambda condition, value, other: value.clone()


def no_update_of_views(right: Any) -> Any:
    def update(self: Any, *operands: Any, **options: Any) -> Any:
        return right(self, *operands, **options) if self.is_contiguous() else self

    return update


def forgets_value_of_whole_numbers(right: Any) -> Any:
    def addcmul(start: Any, left: Any, other: Any, *, value: int) -> Any:
        return right(start, left, other, value=value if start.is_floating_point() else 1)

    return addcmul


def fails_now_and_then(right: Any) -> Any:
    calls = []

    def reduction(self: Any) -> Any:
        calls.append(None)
        return right(self) / 2 if len(calls) % 70 == 0 else right(self)

    return reduction


def ignores(option: str) -> Callable[[Any], Any]:
    return lambda right: lambda *operands, **options: right(*operands, **{**options, option: None})


def sometimes_draws(index: int) -> Callable[[Any], Any]:
    def make(right: Any) -> Any:
        calls = []

        def multinomial(probabilities: Any, count: int) -> Any:
            calls.append(None)
            drawn = right(probabilities, count)
            if len(calls) == 5:
                drawn.view(-1)[-1] = index
            return drawn

        return multinomial

    return make


def draws_an_eleventh(right: Any) -> Any:
    def multinomial(*operands: Any) -> Any:
        drawn = right(*operands)
        drawn[500_000] = 11
        return drawn

    return multinomial


def rounds_to_tf32(right: Any) -> Any:
    """Operands keep 11 significant bits, by Veltkamp's splitting."""

    def rounded(operand: Any) -> Any:
        scaled = operand * (2**13 + 1)
        return scaled - (scaled - operand)

    return lambda left, other: right(rounded(left), rounded(other))


def wrong_from_nine_rows_on(right: Any) -> Any:
    return lambda left, other: right(left, other) * (1 if left.shape[0] <= 8 else 1.5)


def end_unfilled(right: Any) -> Any:
    def ones(*shape: int, **options: Any) -> Any:
        filled = right(*shape, **options)
        filled[-1, -4:] = 0
        return filled

    return ones


def last_matrix_wrapped(right: Any) -> Any:
    """An index that wraps at 2^32 reads the first matrices again."""

    def product(left: Any, other: Any) -> Any:
        result = right(left, other)
        result[-1] = result[0]
        return result

    return product


def has_ones_in_it(right: Any) -> Any:
    def product(left: Any, other: Any) -> Any:
        result = right(left, other)
        result[400:401] = 1
        return result

    return product


ATTENTION = ("torch.nn.functional", "scaled_dot_product_attention")
GRADIENTS = ("torch.autograd", "grad")
LINEAR = ("torch.nn.functional", "linear")
MATMUL = ("torch.Tensor", "__matmul__")

PLANTS = (
    Plant("bmm_inner_dimension", "bmm drops terms", "torch", "bmm", drops_terms),
    Plant("bmm_inner_dimension", "baddbmm drops terms", "torch", "baddbmm", drops_terms),
    Plant("bmm_inner_dimension", "einsum drops terms", "torch", "einsum", einsum_drops_terms),
    Plant("mm_inner_dimension", "mm drops terms", "torch", "mm", drops_terms),
    Plant("mm_inner_dimension", "addmm drops terms", "torch", "addmm", drops_terms),
    Plant("mm_inner_dimension", "linear drops terms", *LINEAR, linear_drops_terms),
    Plant("matmul_of_transposed_view", "matmul reads too far", *MATMUL, reads_too_far),
    Plant("matmul_of_transposed_view", "bmm reads too far", "torch", "bmm", reads_too_far),
    Plant("matmul_of_many_columns", "columns wrong after 1,024", *MATMUL, columns_wrong_after_1024),
    Plant("linear_weight_not_contiguous", "strides ignored", *LINEAR, ignores_strides(1)),
    Plant("linear_input_expanded", "one batch of five", *LINEAR, takes_first_batch_only),
    Plant("linear_20736_rows", "rows after 4,096 unwritten", *LINEAR, rows_unwritten(4096)),
    Plant("linear_65537_batches", "batch index wraps", *LINEAR, batch_index_wraps),
    Plant("linear_bias_three_dimensions", "bias forgotten", *LINEAR, bias_only_in_two_dimensions),
    Plant("linear_half_precision_twice", "another each time", *LINEAR, another_result_each_time),
    Plant(
        "conv2d_weight_not_contiguous", "strides ignored", "torch.nn.functional", "conv2d", ignores_strides(1)
    ),
    Plant("attention_grouped_heads", "reads too far", *ATTENTION, attends_to_garbage),
    Plant("attention_odd_lengths", "reads too far", *ATTENTION, attends_to_garbage),
    Plant("attention_masked_rows", "NaN", *ATTENTION, rows_become_nan),
    Plant("attention_mask_broadcast_in_part", "first mask for all", *ATTENTION, takes_the_first_mask),
    Plant("attention_causal_and_mask", "mask dropped", *ATTENTION, forgets("attn_mask")),
    Plant("attention_causal_and_mask", "causality dropped", *ATTENTION, forgets("is_causal")),
    Plant("attention_causal_half_precision", "four rows at once", *ATTENTION, masks_four_rows_at_once),
    Plant("attention_long_bfloat16", "2.4 % too much", *ATTENTION, sums_to_more_than_one),
    Plant("attention_full_context", "early tokens change", "torch", "where", unmasked_at_1024),
    Plant("gradient_after_shape_change", "a thousand times", *GRADIENTS, explodes_after_another_shape),
    Plant("gradient_of_vocabulary", "terms dropped", *GRADIENTS, gradient_drops_terms),
    Plant("gradient_of_layer_norm", "uninitialised", *GRADIENTS, weight_gradient_uninitialised),
    Plant("gradient_of_sum", "rows are zero", *GRADIENTS, rows_become_zero),
    Plant("where_condition_not_contiguous", "strides ignored", "torch", "where", ignores_strides(0)),
    Plant("where_condition_not_contiguous", "all true", "torch", "where", always_takes_the_value),
    Plant("addcdiv_not_contiguous", "no update", "torch.Tensor", "addcdiv_", no_update_of_views),
    Plant("addcmul", "value forgotten", "torch", "addcmul", forgets_value_of_whole_numbers),
    Plant("addcmul", "strides ignored", "torch", "addcmul", ignores_strides(1)),
    Plant("index_add_of_transposed", "no update", "torch.Tensor", "index_add_", no_update_of_views),
    Plant("silu_not_contiguous", "strides ignored", "torch.nn.functional", "silu", ignores_strides(0)),
    Plant(
        "softplus_and_selu_moved_axis",
        "softplus ignores strides",
        "torch.nn.functional",
        "softplus",
        ignores_strides(0),
    ),
    Plant(
        "softplus_and_selu_moved_axis",
        "selu ignores strides",
        "torch.nn.functional",
        "selu",
        ignores_strides(0),
    ),
    Plant("sums_in_succession", "a sum now and then", "torch.Tensor", "sum", fails_now_and_then),
    Plant("sums_in_succession", "a mean now and then", "torch.Tensor", "mean", fails_now_and_then),
    Plant("fused_adam_found_infinity", "infinity ignored", "torch", "_fused_adam_", ignores("found_inf")),
    Plant("fused_adam_found_infinity", "scale ignored", "torch", "_fused_adam_", ignores("grad_scale")),
    Plant("fused_adam_found_infinity", "AdamW ignores", "torch", "_fused_adamw_", ignores("found_inf")),
    Plant("multinomial_zero_probability", "impossible word", "torch", "multinomial", sometimes_draws(0)),
    Plant(
        "multinomial_index_in_range", "far out of range", "torch", "multinomial", sometimes_draws(-(2**63))
    ),
    Plant("multinomial_index_behind_the_last", "an eleventh", "torch", "multinomial", draws_an_eleventh),
    Plant("mlx_single_precision", "TF32", "mlx.core", "matmul", rounds_to_tf32),
    Plant("mlx_rows_around_8", "from nine rows on", "mlx.core", "matmul", wrong_from_nine_rows_on),
    Plant(
        "output_layer_width_1",
        "rows after 8,192 unwritten",
        *LINEAR,
        takes_first_batch_only,
        {"vocabulary": 64},
    ),
    Plant(
        "output_layer_width_768",
        "rows after 8,192 unwritten",
        *LINEAR,
        takes_first_batch_only,
        {"vocabulary": 64},
    ),
    Plant("matmul_zeros_times_ones", "ones in it", *MATMUL, has_ones_in_it, {"columns": 64}),
    Plant("fill_above_4_gb", "end unfilled", "torch", "ones", end_unfilled, {"half": 64}),
    Plant("einsum_above_4_gib", "last matrix lost", "torch", "einsum", rows_unwritten(4092), {"batch": 1}),
    Plant("bmm_operand_of_2_32_elements", "index wraps", "torch", "bmm", last_matrix_wrapped, {"batch": 3}),
)


@contextlib.contextmanager
def planted(plant: Plant) -> Iterator[None]:
    module, _, name = plant.owner.rpartition(".")
    owner = getattr(importlib.import_module(module), name) if name == "Tensor" else None
    owner = owner or importlib.import_module(plant.owner)
    right = getattr(owner, plant.attribute)
    setattr(owner, plant.attribute, plant.make(right))
    try:
        yield
    finally:
        setattr(owner, plant.attribute, right)


def mount(probe_folder: Path) -> None:
    """Make the probe importable under the name that it has in a target."""
    spec = importlib.util.spec_from_file_location(
        "llmenv_probe", probe_folder / "__init__.py", submodule_search_locations=[str(probe_folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["llmenv_probe"] = package
    spec.loader.exec_module(package)


def main(probe_folder: Path) -> None:
    import torch

    mount(probe_folder)
    canary = importlib.import_module("llmenv_probe.canaries.canary")
    table = importlib.import_module("llmenv_probe.canaries.table")
    canaries = {each.name: each for each in table.CANARIES}
    for plant in PLANTS:
        bench = canary.Workbench(torch.device("cpu"), 0)
        problem = canaries[plant.canary].build(bench, **plant.sizes)
        clean = canary.errors(problem, bench, repetitions=1)
        with planted(plant):
            wrong = canary.errors(problem, bench, repetitions=2)
        row = {"plant": f"{plant.canary}: {plant.error}", "clean": clean, "planted": wrong}
        print(json.dumps({**row, "bound": problem.bound}), flush=True)  # noqa: T201 (read by the test)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
