"""Gradients that known issues get wrong while the forward pass is right."""

from __future__ import annotations

from typing import Any, Dict, List

from .canary import COARSE, Problem, Workbench

CLASSES, WIDTH = 48, 32


def shape_changes(bench: Workbench) -> Problem:
    """KI040: a step with another batch size first, then one of 8,194 x 4 tokens, more than 2^15.

    Embedding, two residual layers, an output layer and cross-entropy, as in the issue.
    """
    parameters = {
        "embedding": bench.normal(CLASSES, WIDTH),
        "first": bench.normal(WIDTH, WIDTH) / WIDTH**0.5,
        "second": bench.normal(WIDTH, WIDTH) / WIDTH**0.5,
        "output": bench.normal(CLASSES, WIDTH) / WIDTH**0.5,
    }
    small, large = ([bench.below(CLASSES, batch, 4) for _ in range(2)] for batch in (64, 8194))

    def observe() -> List[Any]:
        there = {name: tensor.to(bench.device) for name, tensor in parameters.items()}
        _loss_gradients(there, *(each.to(bench.device) for each in small))
        return _loss_gradients(there, *(each.to(bench.device) for each in large))

    exact = _loss_gradients({name: tensor.double() for name, tensor in parameters.items()}, *large)
    return Problem(observe, exact, COARSE)


def _loss_gradients(parameters: Dict[str, Any], tokens: Any, targets: Any) -> List[Any]:
    import torch
    from torch.nn import functional

    leaves = {name: tensor.clone().requires_grad_() for name, tensor in parameters.items()}
    hidden = functional.embedding(tokens, leaves["embedding"])
    for name in ("first", "second"):
        hidden = hidden + torch.relu(functional.linear(hidden, leaves[name]))
    logits = functional.linear(hidden, leaves["output"])
    loss = functional.cross_entropy(logits.reshape(-1, CLASSES), targets.reshape(-1))
    return list(torch.autograd.grad(loss, list(leaves.values())))


def vocabulary(bench: Workbench) -> Problem:
    """KI041: the gradient of a layer below an output layer over 50,257 words, the sum of the outputs as loss.

    Everything is whole numbers: the gradient of the lower weight is the sum of the upper weight's rows times
    the sum of the inputs, that of the upper one the sum of its inputs.
    """
    import torch
    from torch.nn import functional

    inputs = bench.whole(2, 256, 130)
    lower, upper = bench.whole(130, 130), bench.whole(50_257, 130)

    def observe() -> List[Any]:
        leaves = [each.to(bench.device).requires_grad_() for each in (lower, upper)]
        hidden = functional.linear(inputs.to(bench.device), leaves[0])
        return list(torch.autograd.grad(functional.linear(hidden, leaves[1]).sum(), leaves))

    total = inputs.double().sum(dim=(0, 1))
    lower_gradient = torch.outer(upper.double().sum(dim=0), total)
    upper_gradient = (lower.double() @ total).expand(50_257, 130)
    return Problem(observe, [lower_gradient, upper_gradient])


def layer_norm_of_frozen_input(bench: Workbench) -> Problem:
    """KI054: the gradients of LayerNorm's own weight and bias where its input needs none."""
    import torch
    from torch.nn import functional

    inputs = bench.normal(64, 96)

    def gradients(device: Any, dtype: Any) -> List[Any]:
        leaves = [
            torch.ones(96, device=device, dtype=dtype, requires_grad=True),
            torch.zeros(96, device=device, dtype=dtype, requires_grad=True),
        ]
        output = functional.layer_norm(inputs.to(device, dtype), (96,), *leaves)
        return list(torch.autograd.grad(output.sum(), leaves))

    exact = gradients("cpu", torch.float64)
    return Problem(lambda: gradients(bench.device, torch.float32), exact, COARSE)


def sum_of_outputs(bench: Workbench) -> Problem:
    """KI055: the gradient of y.sum(), which comes as an expanded tensor, through a small network of sines."""
    import torch

    inputs = bench.normal(64, 3)
    weights = bench.normal(16, 3), bench.normal(16), bench.normal(1, 16), bench.normal(1)

    def gradient(device: Any, dtype: Any) -> List[Any]:
        leaf = inputs.to(device, dtype, copy=True).requires_grad_()
        first, first_bias, second, second_bias = (each.to(device, dtype) for each in weights)
        output = (torch.sin(leaf @ first.T + first_bias) @ second.T + second_bias).squeeze(-1)
        return list(torch.autograd.grad(output.sum(), leaf))

    exact = gradient("cpu", torch.float64)
    return Problem(lambda: gradient(bench.device, torch.float32), exact, COARSE)
