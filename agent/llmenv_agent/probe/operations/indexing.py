"""Reading and writing by index and mask: embeddings and their gradient, gather, scatter, topk, sort.

What only moves values has no roundings and must be equal.  Where an index repeats, values are added up in the
data type itself, in any order: REPEATS roundings.
"""

from __future__ import annotations

from typing import Any, Tuple

from .operands import distinct, distinct_index, index, mask, normal
from .operation import DTYPES, Operation

# Of 51 indices to 5 places a place gets 10, and hardly ever more than 24.
PLACES, REPEATS = 5, 24
WHOLE = ("int64",)


def operations() -> Tuple[Operation, ...]:
    import torch
    from torch.nn import functional

    x, flags, table = normal("b n k"), mask("b n k"), normal("v k")
    tokens, few = index("b n", "v"), index("b n", PLACES)
    order, ranked = distinct_index("b n m", "k"), (distinct("b n k"),)
    source, rows = normal("b n m"), normal("b t k")
    row, repeated_row = distinct_index("n", "v"), index("t", PLACES)
    lookup = {"v": 50257, "k": 64}
    return (
        Operation("embedding", functional.embedding, (tokens, table), large=lookup, roundings=REPEATS),
        Operation("embedding_repeated", functional.embedding, (few, table), roundings=REPEATS),
        Operation("embedding_padding", _padded_embedding, (few, table), roundings=REPEATS),
        Operation("one_hot", lambda i: functional.one_hot(i, 97), (tokens,), WHOLE, roundings=0),
        Operation("gather", lambda a, i: a.gather(-1, i), (x, order), DTYPES, roundings=0),
        Operation(
            "gather_repeated", lambda a, i: a.gather(1, i), (x, index("b t k", "n")), roundings=REPEATS
        ),
        Operation("take_along_dim", lambda a, i: a.take_along_dim(i, -1), (x, order), DTYPES, roundings=0),
        Operation("scatter", lambda a, i, s: a.scatter(-1, i, s), (x, order, source), DTYPES, roundings=0),
        Operation("scatter_add", _scatter_add, (x, index("b n m", PLACES), source), roundings=REPEATS),
        Operation(
            "index_select", lambda a, i: a.index_select(1, i), (normal("b v k"), row), DTYPES, roundings=0
        ),
        Operation(
            "index_add", lambda a, i, s: a.index_add(1, i, s), (x, repeated_row, rows), roundings=REPEATS
        ),
        Operation("index_copy", _index_copy, (normal("b v k"), row, x), DTYPES, roundings=0),
        Operation("index_rows", lambda a, i: a[i], (table, tokens), roundings=REPEATS),
        Operation("index_put", _index_put, (table, row, normal("n k")), DTYPES, roundings=0),
        Operation("index_put_accumulate", _accumulate, (table, few, x), large={"n": 1025}, roundings=400),
        Operation("masked_fill", lambda a, m: a.masked_fill(m, 0), (x, flags), DTYPES, roundings=0),
        Operation("masked_fill_infinity", _fill_infinity, (x, flags), roundings=0),
        Operation("masked_select", lambda a, m: a[m], (x, flags), DTYPES, roundings=0),
        Operation("masked_scatter", _masked_scatter, (x, flags, normal("b n k")), DTYPES, roundings=0),
        Operation("where", torch.where, (flags, x, normal("b n k")), DTYPES, roundings=0),
        Operation("where_broadcast", torch.where, (mask("b n 1"), x, normal("k")), roundings=8, length="n"),
        Operation("topk", lambda a: a.topk(5, -1), ranked, DTYPES, roundings=0),
        Operation("sort", lambda a: a.sort(-1), ranked, DTYPES, large={"k": 256}, roundings=0),
        Operation("sort_descending", lambda a: a.sort(-1, descending=True), ranked, DTYPES, roundings=0),
        Operation("argsort", lambda a: a.argsort(-1), (distinct("b k n"),), DTYPES, roundings=0),
        Operation("argmax", lambda a: a.argmax(-1), ranked, DTYPES, large={"k": 256}, roundings=0),
        Operation("argmin", lambda a: a.argmin(-1), ranked, DTYPES, roundings=0),
        Operation("nonzero", torch.nonzero, (flags,), WHOLE, roundings=0),
        Operation("searchsorted", _searchsorted, (*ranked, normal("b n m")), roundings=0),
    )


def _padded_embedding(tokens: Any, table: Any) -> Any:
    """Token 2 is padding: it is read, and its row gets no gradient."""
    from torch.nn import functional

    return functional.embedding(tokens, table, padding_idx=2)


def _scatter_add(x: Any, places: Any, source: Any) -> Any:
    return x.scatter_add(-1, places, source)


def _index_copy(x: Any, places: Any, source: Any) -> Any:
    """How a static cache of keys and values takes in new tokens."""
    return x.index_copy(1, places, source)


def _index_put(table: Any, places: Any, rows: Any) -> Any:
    return table.index_put((places,), rows)


def _accumulate(table: Any, places: Any, rows: Any) -> Any:
    return table.index_put((places,), rows, accumulate=True)


def _fill_infinity(x: Any, flags: Any) -> Any:
    return x.masked_fill(flags, float("-inf"))


def _masked_scatter(x: Any, flags: Any, source: Any) -> Any:
    """How embeddings of images take the places of their tokens."""
    return x.masked_scatter(flags, source)


def _searchsorted(ranked: Any, values: Any) -> Any:
    """The place of each value among the sorted, as sampling by cumulated probability finds it."""
    import torch

    return torch.searchsorted(ranked.sort(-1)[0].contiguous(), values.contiguous())
