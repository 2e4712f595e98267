"""Matrix products that known issues get wrong; operands are whole numbers, so that a right one is exact."""

from __future__ import annotations

from typing import Any, List

from .canary import Problem, Workbench

# The least inner dimension that goes wrong, and that of the backward pass of an output layer of GPT-2.
INNER_DIMENSIONS = (32_767, 50_257)


def batched(bench: Workbench) -> Problem:
    """KI038: bmm, baddbmm and einsum sum memory behind their operands from an inner dimension of 32,767 on.

    Both outer dimensions have to be 16 at least, and memory that was just zeroed hides it.
    """
    import torch

    pairs = [(bench.whole(2, 32, inner), bench.whole(2, inner, 32)) for inner in INNER_DIMENSIONS]
    start = bench.whole(2, 32, 32)

    def observe() -> List[Any]:
        there = [(left.to(bench.device), right.to(bench.device)) for left, right in pairs]
        products = [torch.bmm(*pair) for pair in there]
        left, right = there[-1]
        products.append(torch.baddbmm(start.to(bench.device), left, right))
        products.append(torch.einsum("bij,bjk->bik", left, right))
        return products

    exact = [torch.bmm(left.double(), right.double()) for left, right in pairs]
    return Problem(observe, [*exact, exact[-1] + start.double(), exact[-1]])


def two_dimensional(bench: Workbench) -> Problem:
    """KI038: the same for mm, addmm and linear, up to torch 2.13."""
    import torch
    from torch.nn import functional

    pairs = [(bench.whole(48, inner), bench.whole(inner, 32)) for inner in INNER_DIMENSIONS]
    bias = bench.whole(32)

    def observe() -> List[Any]:
        there = [(left.to(bench.device), right.to(bench.device)) for left, right in pairs]
        products = [torch.mm(*pair) for pair in there]
        left, right = there[-1]
        products.append(torch.addmm(bias.to(bench.device), left, right))
        products.append(functional.linear(left, right.t().contiguous()))
        return products

    exact = [torch.mm(left.double(), right.double()) for left, right in pairs]
    return Problem(observe, [*exact, exact[-1] + bias.double(), exact[-1]])


def transposed_view(bench: Workbench) -> Problem:
    """KI039: X'X over 50,000 rows of 25 columns, by a view of X, depends on what was allocated before."""
    import torch

    rows = bench.whole(50_000, 25, limit=4)
    batch = bench.whole(4, 50_000, 25, limit=4)

    def observe() -> List[Any]:
        there, batch_there = rows.to(bench.device), batch.to(bench.device)
        return [there.t() @ there, torch.bmm(batch_there.transpose(1, 2), batch_there)]

    exact, exact_batch = rows.double(), batch.double()
    return Problem(observe, [exact.t() @ exact, torch.bmm(exact_batch.transpose(1, 2), exact_batch)])


def many_columns(bench: Workbench) -> Problem:
    """KI061: 1,025 rows of one column times 32,769 columns: a 16-bit index passes its end.

    The last 4,096 columns are compared, since those behind the first 1,024 are wrong.
    """
    rows, columns = bench.whole(1025, 1, limit=8), bench.whole(1, 32_769, limit=8)

    def observe() -> List[Any]:
        return [(rows.to(bench.device) @ columns.to(bench.device)).cpu()[:, -4096:]]

    return Problem(observe, [rows.double() @ columns[:, -4096:].double()])


def zeros_times_ones(bench: Workbench, *, columns: int = 32_769) -> Problem:
    """KI043: (911, 9, 1) zeros @ (1, 32769) ones has ones in it; no dimension may be smaller."""
    import torch

    def observe() -> List[Any]:
        product = torch.zeros(911, 9, 1, device=bench.device) @ torch.ones(1, columns, device=bench.device)
        return [product[::100].cpu()]

    return Problem(observe, [torch.zeros(10, 9, columns, dtype=torch.float64)])


def operand_of_2_32_elements(bench: Workbench, *, batch: int = 65_552) -> Problem:
    """KI037: a batched product whose first operand has more than 2^32 elements, as in softmax(QK') V.

    The matrices are zero but the last, beyond 2^32 elements; it and the first are compared.
    """
    import torch

    weights, values = bench.whole(256, 256), bench.whole(256, 64)

    def observe() -> List[Any]:
        many = torch.zeros(batch, 256, 256, device=bench.device)
        many[-1] = weights.to(bench.device)
        product = torch.bmm(many, values.to(bench.device).repeat(batch, 1, 1))
        return [product[-1].cpu(), product[0].cpu()]

    exact = weights.double() @ values.double()
    return Problem(observe, [exact, torch.zeros_like(exact)])


def output_above_4_gib(bench: Workbench, *, batch: int = 65) -> Problem:
    """KI022: a result of more than 2^32 bytes ends the process with an assertion of MPSNDArray."""
    import torch

    def observe() -> List[Any]:
        ones = torch.ones(batch, 4096, 40, device=bench.device)
        product = torch.einsum("bid,bjd->bij", ones, ones)
        return [product[0, :4].cpu(), product[-1, -4:].cpu()]

    exact = torch.full((4, 4096), 40.0, dtype=torch.float64)
    return Problem(observe, [exact, exact])
