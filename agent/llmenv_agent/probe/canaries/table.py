"""The table of canaries: a new one is one line, with the function that builds its problem.

None has yet been seen to fail on hardware that its issue affects: all are unproved, in PROVED stands the
name of one once a Mac has shown its error.
"""

from __future__ import annotations

from typing import FrozenSet, Tuple

from . import attention, elementwise, gradients, linear, matmul, mlx_products, sampling
from .canary import Canary

PROVED: FrozenSet[str] = frozenset()

# Peak bytes on the device: result and operands, twice where a copy is made.
_OUTPUT_LAYER = 9 * 1024 * 50_304 * 4

CANARIES: Tuple[Canary, ...] = (
    Canary("bmm_inner_dimension", "KI038", matmul.batched),
    Canary("mm_inner_dimension", "KI038", matmul.two_dimensional),
    Canary("matmul_of_transposed_view", "KI039", matmul.transposed_view),
    Canary("matmul_of_many_columns", "KI061", matmul.many_columns),
    Canary("linear_weight_not_contiguous", "KI044", linear.weight_not_contiguous),
    Canary("linear_input_expanded", "KI045", linear.input_expanded),
    Canary("linear_20736_rows", "KI049", linear.rows_20736),
    Canary("linear_65537_batches", "KI115", linear.batches_65537),
    Canary("linear_bias_three_dimensions", "KI116", linear.bias_of_three_dimensions),
    Canary("linear_half_precision_twice", "KI117", linear.half_precision_twice),
    Canary("conv2d_weight_not_contiguous", "KI064", linear.convolution),
    Canary("attention_grouped_heads", "KI031", attention.grouped_heads),
    Canary("attention_odd_lengths", "KI032", attention.odd_lengths),
    Canary("attention_masked_rows", "KI033", attention.masked_rows),
    Canary("attention_mask_broadcast_in_part", "KI034", attention.mask_broadcast_in_part),
    Canary("attention_causal_and_mask", "KI035", attention.causal_and_mask),
    Canary("attention_causal_half_precision", "KI118", attention.causal_in_half_precision),
    Canary("attention_long_bfloat16", "KI036", attention.long_bfloat16),
    Canary("attention_full_context", "KI046", attention.full_context),
    Canary("gradient_after_shape_change", "KI040", gradients.shape_changes),
    Canary("gradient_of_vocabulary", "KI041", gradients.vocabulary),
    Canary("gradient_of_layer_norm", "KI054", gradients.layer_norm_of_frozen_input),
    Canary("gradient_of_sum", "KI055", gradients.sum_of_outputs),
    Canary("where_condition_not_contiguous", "KI050", elementwise.condition_not_contiguous),
    Canary("addcdiv_not_contiguous", "KI051", elementwise.addcdiv),
    Canary("addcmul", "KI052", elementwise.addcmul),
    Canary("index_add_of_transposed", "KI119", elementwise.index_add_of_transposed),
    Canary("silu_not_contiguous", "KI056", elementwise.silu),
    Canary("softplus_and_selu_moved_axis", "KI057", elementwise.softplus_and_selu),
    Canary("sums_in_succession", "KI093", elementwise.sums_in_succession),
    Canary("fused_adam_found_infinity", "KI053", sampling.found_infinity),
    Canary("multinomial_zero_probability", "KI058", sampling.zero_probability),
    Canary("multinomial_index_in_range", "KI059", sampling.index_in_range),
    Canary("multinomial_index_behind_the_last", "KI120", sampling.index_behind_the_last),
    Canary("mlx_single_precision", "KI065", mlx_products.single_precision, library="mlx", is_by_design=True),
    Canary("mlx_rows_around_8", "KI066", mlx_products.rows_around_8, library="mlx"),
    Canary(
        "output_layer_width_1",
        "KI047",
        linear.output_layer_1,
        needed_bytes=_OUTPUT_LAYER,
        arithmetic="9 x 1024 x 50304 x 4 bytes",
    ),
    Canary(
        "output_layer_width_768",
        "KI042",
        linear.output_layer_768,
        needed_bytes=_OUTPUT_LAYER + 50_304 * 768 * 4,
        arithmetic="(9 x 1024 + 768) x 50304 x 4 bytes",
    ),
    Canary(
        "matmul_zeros_times_ones",
        "KI043",
        matmul.zeros_times_ones,
        needed_bytes=911 * 9 * 32_769 * 4,
        arithmetic="911 x 9 x 32769 x 4 bytes",
    ),
    Canary(
        "fill_above_4_gb",
        "KI062",
        elementwise.fill_above_4_gb,
        needed_bytes=2 * (2**31 + 5),
        arithmetic="2 x (2^31 + 5) bytes",
    ),
    Canary(
        "einsum_above_4_gib",
        "KI022",
        matmul.output_above_4_gib,
        needed_bytes=65 * 4096 * (4096 + 2 * 40) * 4,
        arithmetic="65 x 4096 x (4096 + 2 x 40) x 4 bytes",
    ),
    Canary(
        "bmm_operand_of_2_32_elements",
        "KI037",
        matmul.operand_of_2_32_elements,
        needed_bytes=65_552 * 256 * (256 + 2 * 64) * 4,
        arithmetic="65552 x 256 x (256 + 2 x 64) x 4 bytes",
    ),
)
