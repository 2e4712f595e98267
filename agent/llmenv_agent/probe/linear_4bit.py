"""What a layer of bitsandbytes in 4 bits computes, against float64 and against itself."""

from __future__ import annotations

from typing import Any, Dict

from . import nf4


def product_errors(layer: Any, *, seed: int) -> Dict[str, float]:
    """Largest relative error of the layer's `product` and of its `gradient`, with the restored weights."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(8, layer.in_features, generator=generator)
    inputs = drawn.to(layer.weight.device).requires_grad_()
    outputs = layer(inputs)
    upstream = torch.randn(outputs.shape, generator=generator)
    outputs.backward(upstream.to(outputs.device))
    weights = nf4.restored(layer)
    return {
        "product": _relative(outputs, drawn.double() @ weights.t()),
        "gradient": _relative(_gradient(inputs), upstream.double() @ weights),
    }


def share_of_bound_in_ragged_rows(device: Any, *, seed: int) -> float:
    """The largest error in rows of a block and a half, over NF4's bound without a second quantization."""
    import torch
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    original = torch.randn(nf4.BLOCK, 3 * nf4.BLOCK // 2, generator=torch.Generator().manual_seed(seed))
    codes, state = quantize_4bit(original.to(device), blocksize=nf4.BLOCK, quant_type="nf4")
    return float(nf4.share_of_bound(original, dequantize_4bit(codes, state).cpu(), is_nested=False))


def gradient_change_by_evaluation(device: Any, *, seed: int) -> float:
    """How much the gradient that a layer passes on differs after it was evaluated once, relatively."""
    import bitsandbytes
    import torch

    generator = torch.Generator().manual_seed(seed)
    layer = bitsandbytes.nn.Linear4bit(
        nf4.OUTER_BLOCK, nf4.BLOCK, bias=False, compute_dtype=torch.float32, quant_type="nf4"
    ).to(device)
    inputs = torch.randn(8, nf4.OUTER_BLOCK, generator=generator).to(device)
    before = _input_gradient(layer, inputs)
    with torch.no_grad():
        layer.eval()(inputs)
    return _relative(_input_gradient(layer.train(), inputs), before.cpu().double())


def _input_gradient(layer: Any, inputs: Any) -> Any:
    """The gradient of the outputs' sum."""
    leaf = inputs.clone().requires_grad_()
    layer(leaf).sum().backward()
    return _gradient(leaf)


def _gradient(leaf: Any) -> Any:
    """Zeros where a layer passed none on."""
    import torch

    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def _relative(observed: Any, exact: Any) -> float:
    """max|observed - exact| / max|exact|."""
    return float(((observed.detach().cpu().double() - exact).abs().max() / exact.abs().max()).item())
