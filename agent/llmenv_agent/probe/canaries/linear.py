"""Linear layers and a convolution that known issues get wrong: odd strides and large inputs."""

from __future__ import annotations

from typing import Any, List, Tuple

from .canary import COARSE, COARSE_BF16, Problem, Workbench

VOCABULARY = 50_304


def weight_not_contiguous(bench: Workbench) -> Problem:
    """KI044: every second row of a matrix, and a transposed one, as the weight of a linear layer."""
    from torch.nn import functional

    rows = bench.whole(16, 64, limit=8)
    sliced, transposed = bench.whole(96, 64, limit=8), bench.whole(64, 48, limit=8)

    def observe() -> List[Any]:
        there = rows.to(bench.device)
        return [
            functional.linear(there, sliced.to(bench.device)[::2]),
            functional.linear(there, transposed.to(bench.device).t()),
        ]

    exact = rows.double()
    return Problem(observe, [exact @ sliced[::2].double().t(), exact @ transposed.double()])


def input_expanded(bench: Workbench) -> Problem:
    """KI045: an input of stride 0 ends the process with "buffer is not large enough"."""
    from torch.nn import functional

    rows, weight, bias = bench.whole(1, 499, 768), bench.whole(96, 768), bench.whole(96)

    def observe() -> List[Any]:
        there = rows.to(bench.device).expand(5, 499, 768)
        return [functional.linear(there, weight.to(bench.device), bias.to(bench.device))]

    exact = rows.double() @ weight.double().t() + bias.double()
    return Problem(observe, [exact.expand(5, 499, 96)])


def rows_20736(bench: Workbench) -> Problem:
    """KI049: a layer of 320 x 320 on (2, 20736, 320) is wrong on macOS 13.2.1, on (2, 4096, 320) right.

    Every fourth row is compared.
    """
    from torch.nn import functional

    rows, weight, bias = bench.whole(2, 20_736, 320), bench.whole(320, 320), bench.whole(320)

    def observe() -> List[Any]:
        there = (each.to(bench.device) for each in (rows, weight, bias))
        return [functional.linear(*there).cpu()[:, ::4]]

    return Problem(observe, [rows[:, ::4].double() @ weight.double().t() + bias.double()])


def batches_65537(bench: Workbench) -> Problem:
    """KI115: one batch more than a 16-bit index counts: the last is written in place of the first.

    The first 64 batches and the last are compared.
    """
    from torch.nn import functional

    rows, weight, bias = bench.whole(2**16 + 1, 11, 16), bench.whole(32, 16), bench.whole(32)

    def ends(batches: Any) -> List[Any]:
        return [batches[:64], batches[-1:]]

    def observe() -> List[Any]:
        there = (each.to(bench.device) for each in (rows, weight, bias))
        return [each.cpu() for each in ends(functional.linear(*there))]

    return Problem(observe, [each.double() @ weight.double().t() + bias.double() for each in ends(rows)])


def bias_of_three_dimensions(bench: Workbench) -> Problem:
    """KI116: the shapes of both threads, (80, 1, 2) to 192 and (2, 64, 128) to 384, with a bias."""
    from torch.nn import functional

    shapes = (((80, 1, 2), 192), ((2, 64, 128), 384))
    sets = [[bench.whole(*shape), bench.whole(out, shape[-1]), bench.whole(out)] for shape, out in shapes]

    def observe() -> List[Any]:
        return [functional.linear(*(each.to(bench.device) for each in one)) for one in sets]

    return Problem(observe, [x.double() @ weight.double().t() + bias.double() for x, weight, bias in sets])


def half_precision_twice(bench: Workbench) -> Problem:
    """KI117: the same product twice, (2, 13, 1024) by (1024, 1024) without a bias; the second was another."""
    import torch
    from torch.nn import functional

    rows, weight = bench.whole(2, 13, 1024), bench.whole(1024, 1024)

    def observe() -> List[Any]:
        found = []
        for dtype in (torch.bfloat16, torch.float16):
            there = rows.to(bench.device, dtype), weight.to(bench.device, dtype)
            found += [functional.linear(*there).clone(), functional.linear(*there).clone()]
        return found

    return Problem(observe, [rows.double() @ weight.double().t()] * 4, COARSE_BF16)


def output_layer_768(bench: Workbench, *, vocabulary: int = VOCABULARY) -> Problem:
    """KI042: nine times 1,024 tokens against a vocabulary of 50,304; eight times are right."""
    return _output_layer(bench, width=768, vocabulary=vocabulary)


def output_layer_1(bench: Workbench, *, vocabulary: int = VOCABULARY) -> Problem:
    """KI047: the same of width 1, as the issue reduces it."""
    return _output_layer(bench, width=1, vocabulary=vocabulary)


def _output_layer(bench: Workbench, *, width: int, vocabulary: int) -> Problem:
    """Every 256th token of each batch is compared: where it goes wrong, it does so everywhere."""
    from torch.nn import functional

    tokens, weight = bench.whole(9, 1024, width), bench.whole(vocabulary, width)

    def observe() -> List[Any]:
        return [functional.linear(tokens.to(bench.device), weight.to(bench.device))[:, ::256].cpu()]

    return Problem(observe, [tokens[:, ::256].double() @ weight.double().t()])


def convolution(bench: Workbench) -> Problem:
    """KI064: the weight of conv2d sliced out of that of a conv3d; COARSE, for transforms may be used."""
    from torch.nn import functional

    images, weight = bench.normal(2, 16, 16, 32), bench.normal(4, 16, 3, 3, 3)

    def on(device: Any, dtype: Any) -> Tuple[Any, Any]:
        return images.to(device, dtype), weight.to(device, dtype)[:, :, 1]

    def observe() -> List[Any]:
        return [functional.conv2d(*on(bench.device, images.dtype))]

    exact_images, exact_weight = images.double(), weight.double()[:, :, 1].contiguous()
    return Problem(observe, [functional.conv2d(exact_images, exact_weight)], COARSE)
