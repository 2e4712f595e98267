"""Evaluation of one row: the device's outputs and gradients beside those of the float64 reference.

Each run draws new operands, so that an output of the run before is no right answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Iterator, List, NamedTuple, Sequence, Tuple

from . import stale_memory
from .operations.layouts import incoming_gradient, laid_out, stored
from .operations.operands import rounded

if TYPE_CHECKING:
    from .operations.operation import Row


class Part(NamedTuple):
    """An output or a gradient: the device's tensor, and what it should be (float64, on the CPU).

    `observed` is None where the operation returned no tensor.
    """

    name: str
    observed: Any
    expected: Any


class _Value(NamedTuple):
    """An operand as it was drawn; indices and masks keep their own data type on both sides."""

    rounded: Any
    has_dtype: bool


class _Side(NamedTuple):
    """The device under test, or the reference: what the function was given, and what it made of that."""

    operands: List[Any]
    outputs: Tuple[Any, ...]

    def gradients(self, incoming: Sequence[Any]) -> List[Any]:
        """Of every operand that has one; zeros where it does not reach the outputs."""
        import torch

        wanted = [operand for operand in self.operands if operand.requires_grad]
        given = [output for output in self.outputs if output.requires_grad]
        found = torch.autograd.grad(given, wanted, incoming, allow_unused=True)
        return [
            torch.zeros_like(operand) if gradient is None else gradient
            for operand, gradient in zip(wanted, found)  # noqa: B905 # Python 3.9
        ]


def evaluate(row: Row, *, device: Any, seed: int, run: int) -> Iterator[Part]:
    """Every output of the row, then every gradient; what the device draws itself comes from `seed` too."""
    import torch

    dtype, cpu = getattr(torch, row.dtype), torch.device("cpu")
    generator = torch.Generator().manual_seed(row.seed(seed, run))
    drawn = [operand.drawn(row.sizes, generator) for operand in row.operation.operands]
    values = [_Value(rounded(each, dtype), each.is_floating_point()) for each in drawn]

    expected = _side(row, row.reference, values, device=cpu, dtype=torch.float64)
    stale_memory.leave([output.shape for output in expected.outputs], dtype=dtype, device=device)
    torch.manual_seed(row.seed(seed, run))
    observed = _side(row, row.operation.function, values, device=device, dtype=dtype)
    yield from _parts("output", observed.outputs, expected.outputs)

    followed = [index for index, output in enumerate(expected.outputs) if output.requires_grad]
    if followed:
        arriving = [
            incoming_gradient(expected.outputs[index].shape, row.layout, generator) for index in followed
        ]
        gradients = expected.gradients(_arriving(row, arriving, expected, followed))
        stale_memory.leave([gradient.shape for gradient in gradients], dtype=dtype, device=device)
        found = observed.gradients(_arriving(row, arriving, observed, followed))
        yield from _parts("gradient", found, gradients)


def _side(
    row: Row, function: Callable[..., Any], values: Sequence[_Value], *, device: Any, dtype: Any
) -> _Side:
    operands = []
    for value in values:
        block = stored(value.rounded, row.layout).to(device, dtype if value.has_dtype else None, copy=True)
        operand = laid_out(block, row.layout, len(value.rounded))
        operands.append(operand.requires_grad_(value.has_dtype and row.is_differentiable))
    made = function(*operands)
    return _Side(operands, tuple(made) if isinstance(made, (tuple, list)) else (made,))


def _arriving(row: Row, gradients: Sequence[Any], side: _Side, followed: Sequence[int]) -> List[Any]:
    """The incoming gradients as this side's outputs want them, in the row's layout."""
    arriving = []
    for gradient, index in zip(gradients, followed):  # noqa: B905 # Python 3.9
        output = side.outputs[index]
        if row.layout == "expanded" and gradient.dim() > 1:
            block = stored(gradient, row.layout).to(output.device, output.dtype)
            arriving.append(laid_out(block, row.layout, len(gradient)))
        else:
            arriving.append(gradient.to(output.device, output.dtype))
    return arriving


def _parts(kind: str, observed: Sequence[Any], expected: Sequence[Any]) -> Iterator[Part]:
    for number, (seen, right) in enumerate(zip(observed, expected), start=1):  # noqa: B905 # Python 3.9
        yield Part(f"{kind}_{number}", seen, right.detach().double())
