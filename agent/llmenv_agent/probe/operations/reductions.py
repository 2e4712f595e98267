"""Sums, means, extremes, norms and running sums, of whole numbers exactly."""

from __future__ import annotations

from typing import Tuple

from .operands import distinct, mask, nonzero, normal, positive
from .operation import DTYPES, Operation

# CUDA and MPS scan in the data type itself: 4 * sqrt(64) roundings, by the same rule as sums in float32.
SCAN_ROUNDINGS = 32
# 1.02 million numbers; scaled by a power of two, so that their sum and their mean's gradient fit float16.
MILLION = {"n": 17, "k": 20_000}
WHOLE = ("int64",)


def operations() -> Tuple[Operation, ...]:
    x, p, ranked = (normal("b n k"),), (positive("b n k"),), (distinct("b n k"),)
    flags = (mask("b n k"),)
    return (
        Operation("sum", lambda a: a.sum(-1), x, DTYPES, length="k"),
        Operation("sum_of_rows", lambda a: a.sum(1), x, DTYPES, length="n"),
        Operation("sum_all", lambda a: (a / 4096).sum(), p, large=MILLION, length="b n k"),
        Operation("sum_all_whole", lambda a: a.sum(), x, WHOLE, large=MILLION),
        Operation("mean", lambda a: a.mean(-1), x, large={"k": 50257, "b": 1}, length="k"),
        Operation("mean_all", lambda a: 4096 * a.mean(), p, large=MILLION, length="b n k"),
        Operation("variance", lambda a: a.var(-1), x, length="k"),
        Operation("standard_deviation", lambda a: a.std(-1, correction=0), x, length="k"),
        Operation("product", lambda a: a[..., :6].prod(-1), (nonzero("b n k"),), length="k"),
        Operation("largest", lambda a: a.amax(-1), ranked, DTYPES, roundings=0),
        Operation("smallest", lambda a: a.amin(-1), ranked, DTYPES, roundings=0),
        Operation("max_with_index", lambda a: a.max(-1), ranked, DTYPES, roundings=0),
        Operation("norm", lambda a: a.norm(dim=-1), x, length="k"),
        Operation("norm_all", lambda a: a.norm(), p, large=MILLION, length="b n k"),
        Operation("largest_absolute", lambda a: a.abs().amax(-1), (nonzero("b n k"),), roundings=8),
        Operation("cumsum", lambda a: a.cumsum(-1), p, DTYPES, roundings=SCAN_ROUNDINGS, length="k"),
        Operation("cumsum_of_rows", lambda a: a.cumsum(1), p, DTYPES, roundings=SCAN_ROUNDINGS, length="n"),
        Operation("cumprod", lambda a: a[..., :6].cumprod(-1), (nonzero("b n k"),), roundings=SCAN_ROUNDINGS),
        # Position ids of padded sequences.
        Operation("cumsum_of_mask", lambda m: m.long().cumsum(-1), flags, WHOLE, large={"k": 50257, "b": 1}),
        Operation("any_and_all", lambda m: (m.any(-1), m.all(-1)), flags, WHOLE),
        Operation("count_nonzero", lambda m: m.count_nonzero(-1), flags, WHOLE),
    )
