"""The operations that training a language model uses, each a row: what, of what, how exact.

A new operation is one line in the module of its family.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Tuple

from . import (
    activations,
    arithmetic,
    attention,
    indexing,
    losses,
    matrix_products,
    movements,
    normalizations,
    optimizers,
    random_draws,
    reductions,
)

if TYPE_CHECKING:
    from .operation import Operation

FAMILIES = (
    matrix_products,
    attention,
    normalizations,
    activations,
    losses,
    indexing,
    reductions,
    arithmetic,
    movements,
    optimizers,
    random_draws,
)


def table() -> Tuple[Operation, ...]:
    """Every operation that this torch has, in the order of FAMILIES."""
    return tuple(operation for family in FAMILIES for operation in family.operations())
