"""Element-wise operations, reductions and fills that known issues get wrong, mostly by ignoring strides."""

from __future__ import annotations

from typing import Any, Callable, List

from .canary import COARSE, Problem, Workbench

SUCCESSIVE_SUMS = 100


def condition_not_contiguous(bench: Workbench) -> Problem:
    """KI050: torch.where with a transposed condition, that of the issue and a larger one."""
    import torch

    pairs = [
        (torch.tensor([[True, True], [True, True]]), torch.tensor([[0.0, 0.0], [0.0, 1.0]])),
        (bench.whole(48, 64) > 0, bench.whole(64, 48, limit=8)),
    ]

    def observe() -> List[Any]:
        return [
            torch.where(condition.to(bench.device).T, value.to(bench.device), 0.0)
            for condition, value in pairs
        ]

    return Problem(observe, [value.double() * condition.T for condition, value in pairs])


def addcdiv(bench: Workbench) -> Problem:
    """KI051: addcdiv in place on transposed tensors, and two AdamW steps of a transposed parameter.

    The parameter starts at 0, so that what is compared is the update.
    """
    import torch

    start, numerator = bench.whole(64, 96, limit=8), bench.whole(64, 96, limit=8)
    divisor = 2.0 ** bench.below(3, 64, 96)
    gradient = bench.whole(96, 64) + 0.5

    def observe() -> List[Any]:
        there, above, below = (each.to(bench.device) for each in (start, numerator, divisor))
        transposed = there.clone().t().addcdiv_(above.t(), below.t())
        mixed = there.clone().t().addcdiv_(above.t().contiguous(), below.t().contiguous())
        weight = torch.zeros(64, 96, device=bench.device).t()
        return [transposed, mixed, _two_adamw_steps(weight, gradient.to(bench.device))]

    exact = (start.double() + numerator.double() / divisor.double()).t()
    stepped = _two_adamw_steps(torch.zeros(96, 64, dtype=torch.float64), gradient.double())
    return Problem(observe, [exact, exact, stepped], COARSE)


def _two_adamw_steps(weight: Any, gradient: Any) -> Any:
    import torch

    parameter = torch.nn.Parameter(weight)
    optimizer = torch.optim.AdamW([parameter], lr=0.1)
    for _ in range(2):
        parameter.grad = gradient.clone()
        optimizer.step()
    return parameter.detach()


def addcmul(bench: Workbench) -> Problem:
    """KI052: addcmul of whole numbers, in int32, in int64, and transposed in float32."""
    import torch

    operands = [bench.whole(64, 96, limit=8) for _ in range(3)]

    def product(dtype: Any, arrange: Callable[[Any], Any]) -> Any:
        there = [arrange(each.to(bench.device, dtype)) for each in operands]
        return torch.addcmul(*there, value=3)

    def observe() -> List[Any]:
        return [
            product(torch.int32, lambda each: each),
            product(torch.int64, lambda each: each),
            product(torch.float32, lambda each: each.t()),
        ]

    start, left, right = (each.double() for each in operands)
    exact = start + 3 * left * right
    return Problem(observe, [exact, exact, exact.t()])


def index_add_of_transposed(bench: Workbench) -> Problem:
    """KI119: index_add_ in place into a permuted tensor, the shapes and the indices of the thread."""
    import torch

    start, added = bench.whole(3, 4, 5, limit=8), bench.whole(3, 6, 5, limit=8)
    index = torch.tensor([1, 3, 0, 0, 3, 0])

    def observe() -> List[Any]:
        there, more = (each.to(bench.device).clone().permute(1, 0, 2) for each in (start, added))
        return [there.index_add_(0, index.to(bench.device), more)]

    exact = start.double().permute(1, 0, 2).contiguous()
    for position, target in enumerate(index.tolist()):
        exact[target] += added[:, position].double()
    return Problem(observe, [exact])


def silu(bench: Workbench) -> Problem:
    """KI056: SiLU of a transposed and of a sliced tensor."""
    from torch.nn import functional

    values = bench.normal(8, 32, 48)

    def observe() -> List[Any]:
        there = values.to(bench.device)
        return [functional.silu(there.transpose(1, 2)), functional.silu(there[:, ::2, 1:])]

    exact = values.double() * values.double().sigmoid()
    return Problem(observe, [exact.transpose(1, 2), exact[:, ::2, 1:]], COARSE)


def softplus_and_selu(bench: Workbench) -> Problem:
    """KI057: softplus and SELU after moveaxis."""
    import torch
    from torch.nn import functional

    values = bench.normal(8, 32, 48)

    def both(moved: Any) -> List[Any]:
        return [functional.softplus(moved), functional.selu(moved)]

    def observe() -> List[Any]:
        return both(torch.moveaxis(values.to(bench.device), 0, -1))

    return Problem(observe, both(torch.moveaxis(values.double(), 0, -1).contiguous()), COARSE)


def sums_in_succession(bench: Workbench) -> Problem:
    """KI093: sums and means of the same 8,601,600 zeros and ones, 100 times without waiting in between.

    The issue saw one of up to 300,000 go wrong: 100 find it only where it is frequent.
    """
    import torch

    bits = bench.below(2, 16, 2100, 256).to(torch.float32)
    rounds = SUCCESSIVE_SUMS // 2

    def observe() -> List[Any]:
        there = bits.to(bench.device)
        found = torch.stack([torch.stack((there.sum(), there.mean())) for _ in range(rounds)])
        return [found[:, 0], found[:, 1]]

    total = bits.sum(dtype=torch.float64)
    # A mean is the exact sum divided once, but may also be summed as shares.
    return Problem(observe, [total.expand(rounds), (total / bits.numel()).expand(rounds)], 2.0**-18)


def fill_above_4_gb(bench: Workbench, *, half: int = 2**31 + 5) -> Problem:
    """KI062: ones of twice `half` bytes; the end of the tensor stays unfilled on macOS 26."""
    import torch

    def observe() -> List[Any]:
        filled = torch.ones(2, half, dtype=torch.int8, device=bench.device)
        return [filled[0, :8].cpu(), filled[1, -8:].cpu()]

    ones = torch.ones(8, dtype=torch.float64)
    return Problem(observe, [ones, ones])
