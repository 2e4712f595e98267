"""`Operation`, a row of the table, and `Row`, one operation in one data type and layout."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any, Callable, Iterator, Mapping, NamedTuple, Optional, Tuple

from .layouts import SMALL
from .operands import SIZES, Operand, shape_of

FLOATS = ("float32", "float16", "bfloat16")
DTYPES = (*FLOATS, "int64")
# An elementwise operation, a product or a normalisation rounds its operands' products, its result and partial
# results that are kept in the data type, and its gradient the same again.
ROUNDINGS = 8


@dataclass(frozen=True)
class Operation:
    """What is computed, of what, in which data types and layouts, and how exact.

    `function` takes the operands and gives a tensor or several; `reference` is the same in float64 on the
    CPU, by another way where one is given.  `sizes` differ from SIZES, `large` from those again; without
    `large` there is no such layout.  `roundings` and `length`, the letters of dimensions that are summed
    over, make the bound (see reference.py); 0 roundings ask for equality.  `limit` is a bound with a
    derivation of its own.
    """

    name: str
    function: Callable[..., Any]
    operands: Tuple[Operand, ...]
    dtypes: Tuple[str, ...] = FLOATS
    layouts: Tuple[str, ...] = SMALL
    sizes: Mapping[str, int] = field(default_factory=dict)
    large: Mapping[str, int] = field(default_factory=dict)
    roundings: float = ROUNDINGS
    length: str = ""
    reference: Optional[Callable[..., Any]] = None
    limit: Optional[float] = None
    is_differentiable: bool = True

    def rows(self) -> Iterator[Row]:
        """In every data type and layout: some are wrong in half precision alone (pytorch #180776)."""
        layouts = (*self.layouts, "large") if self.large else self.layouts
        for dtype in self.dtypes:
            for layout in layouts:
                yield Row(self, dtype, layout)


class Row(NamedTuple):
    """One operation in one data type and layout: a case of the check."""

    operation: Operation
    dtype: str
    layout: str

    @property
    def name(self) -> str:
        return f"{self.operation.name}/{self.dtype}/{self.layout}"

    @property
    def sizes(self) -> Mapping[str, int]:
        changed = {"large": self.operation.large, "zero_size": {"b": 0}}.get(self.layout, {})
        return {**SIZES, **self.operation.sizes, **changed}

    @property
    def length(self) -> int:
        """Terms of the longest sum; 1 without any."""
        return max((self.sizes[letter] for letter in self.operation.length.split()), default=1)

    @property
    def is_differentiable(self) -> bool:
        return self.operation.is_differentiable and self.dtype in FLOATS

    @property
    def reference(self) -> Callable[..., Any]:
        return self.operation.reference or self.operation.function

    def seed(self, seed: int, run: int) -> int:
        """Of this row's own draws, so that it draws the same whichever rows run beside it."""
        return (seed * 1_000_003 + zlib.crc32(self.name.encode()) + run) % 2**63

    def elements(self) -> int:
        """Numbers in all operands together."""
        total = 0
        for operand in self.operation.operands:
            count = 1
            for size in shape_of(operand.shape, self.sizes):
                count *= size
            total += count
        return total
