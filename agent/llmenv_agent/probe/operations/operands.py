"""Operands: what is drawn for an operation, by the names of its dimensions.

A shape is written as letters and numbers, "b h n d" or "b 1 k"; each letter has a size, which a row of the
table may change and the layouts "zero_size" and "large" do change.  Values are drawn in float64 on the CPU
and rounded to the data type under test, so every device gets the same.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping, NamedTuple, Tuple, Union

# b batch, n tokens, t tokens attended to, m and k features, h heads, g groups of heads, d a head's features,
# v vocabulary.  Odd ones are no multiple of any kernel's tile.
SIZES = {"b": 3, "n": 17, "t": 33, "m": 24, "k": 64, "h": 4, "g": 2, "d": 16, "v": 97}
# A share that leaves true and false in every mask.
SHARE_TRUE = 0.7
# In int64 the unit of the continuous draws.
WHOLE_UNIT = 32


class Operand(NamedTuple):
    """`draw(shape, sizes, generator)` gives float64, int64 (an index) or bool (a mask) on the CPU."""

    shape: str
    draw: Callable[[Tuple[int, ...], Mapping[str, int], Any], Any]

    def drawn(self, sizes: Mapping[str, int], generator: Any) -> Any:
        return self.draw(shape_of(self.shape, sizes), sizes, generator)


def shape_of(letters: str, sizes: Mapping[str, int]) -> Tuple[int, ...]:
    """The numbers of a shape such as "b 1 k"."""
    return tuple(int(letter) if letter.isdigit() else sizes[letter] for letter in letters.split())


def rounded(values: Any, dtype: Any) -> Any:
    """Drawn values in the data type under test; indices and masks stay what they are.

    In int64 continuous values are whole multiples of 1 / `WHOLE_UNIT`, times `WHOLE_UNIT`.
    """
    if not values.is_floating_point():
        return values
    return values.to(dtype) if dtype.is_floating_point else (values * WHOLE_UNIT).round().to(dtype)


def normal(shape: str) -> Operand:
    """Standard normal values."""
    import torch

    return Operand(
        shape, lambda size, _, generator: torch.randn(size, generator=generator, dtype=torch.float64)
    )


def leaning(shape: str) -> Operand:
    """Normal about 1: a single sum of them, or of their products, does not cancel."""
    import torch

    return Operand(
        shape, lambda size, _, generator: 1 + torch.randn(size, generator=generator, dtype=torch.float64)
    )


def positive(shape: str) -> Operand:
    """Uniform in 0.5 to 1.5: sums do not cancel."""
    import torch

    return Operand(
        shape, lambda size, _, generator: 0.5 + torch.rand(size, generator=generator, dtype=torch.float64)
    )


def nonzero(shape: str) -> Operand:
    """Of either sign, and 0.5 to 1.5 in size: what is divided by, also a gradient by its own size."""
    import torch

    def draw(size: Tuple[int, ...], _: Any, generator: Any) -> Any:
        magnitude = 0.5 + torch.rand(size, generator=generator, dtype=torch.float64)
        return magnitude * (2 * torch.randint(2, size, generator=generator) - 1)

    return Operand(shape, draw)


def ones(shape: str) -> Operand:
    """All 1."""
    import torch

    return Operand(shape, lambda size, _, __: torch.ones(size, dtype=torch.float64))


def distinct(shape: str) -> Operand:
    """Whole numbers from 0, shuffled along the last dimension: no ties, and exact in any dtype up to 256."""
    import torch

    def draw(size: Tuple[int, ...], _: Any, generator: Any) -> Any:
        return torch.rand(size, generator=generator).argsort(-1).double()

    return Operand(shape, draw)


def index(shape: str, below: Union[str, int]) -> Operand:
    """Indices that repeat, from 0 to below the size of the dimension `below`."""
    import torch

    def draw(size: Tuple[int, ...], sizes: Mapping[str, int], generator: Any) -> Any:
        return torch.randint(_size(below, sizes), size, generator=generator)

    return Operand(shape, draw)


def distinct_index(shape: str, below: str) -> Operand:
    """Indices that do not repeat along the last dimension."""
    import torch

    def draw(size: Tuple[int, ...], sizes: Mapping[str, int], generator: Any) -> Any:
        return torch.rand((*size[:-1], sizes[below]), generator=generator).argsort(-1)[..., : size[-1]]

    return Operand(shape, draw)


def mask(shape: str) -> Operand:
    """True and false; the first of each row is true, so that no row is false throughout."""
    import torch

    def draw(size: Tuple[int, ...], _: Any, generator: Any) -> Any:
        return (torch.rand(size, generator=generator) < SHARE_TRUE).index_fill(-1, torch.tensor([0]), True)

    return Operand(shape, draw)


def _size(name: Union[str, int], sizes: Mapping[str, int]) -> int:
    return name if isinstance(name, int) else sizes[name]
