"""NF4 with double quantization as published (Dettmers et al., 2023): what it takes, how far it may be off.

Blocks of 64 elements are scaled by their largest and rounded to sixteen levels of 4 bits; the block maxima,
less their mean, are rounded to 8 bits in blocks of 256.  The layers are bitsandbytes' `Linear4bit`.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any, Dict, List

BLOCK, OUTER_BLOCK = 64, 256
# The widest gap of NF4's sixteen levels lies between -1 and -0.6961928 (Dettmers et al., 2023, appendix E).
HALF_WIDEST_GAP = (1 - 0.6961928009986877) / 2
# The signed dynamic map of 8 bits divides [0.1, 1] into 64 steps (Dettmers et al., 2022).
HALF_DYNAMIC_STEP = 0.9 / 128


def layers_of(model: Any) -> Dict[str, Any]:
    """The model's layers in 4 bits, by name."""
    from bitsandbytes.nn import Linear4bit

    return {name: module for name, module in model.named_modules() if isinstance(module, Linear4bit)}


def storage(layer: Any) -> List[Any]:
    """Tensors of codes, of block maxima, and of the maxima of those where they are quantized too."""
    state = layer.weight.quant_state
    return [layer.weight.data, state.absmax, *([state.state2.absmax] if state.nested else [])]


def digest(layers: Dict[str, Any]) -> str:
    """SHA-256 over the storage of all these layers, in the order of their names."""
    import torch

    found = hashlib.sha256()
    for name in sorted(layers):
        for part in storage(layers[name]):
            found.update(part.detach().cpu().contiguous().view(torch.uint8).numpy())
    return found.hexdigest()


def storage_bytes(elements: int) -> int:
    """Bytes that `elements` in whole blocks take: 4.127 bits each."""
    return elements // 2 + elements // BLOCK + 4 * (elements // (BLOCK * OUTER_BLOCK))


def restored(layer: Any) -> Any:
    """The layer's weights (out, in), float64 on the CPU, as bitsandbytes restores them."""
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(layer.weight.data, layer.weight.quant_state).cpu().double()


def share_of_bound(original: Any, found: Any, *, is_nested: bool = True) -> float:
    """The largest |found - original| as a share of what NF4 allows its block; infinite where not finite.

    Both are of one shape, on the CPU, in whole blocks.  An element is off by half the widest gap of the
    levels times its block's largest, and by what that largest is off itself: half a step of the dynamic map
    times the largest of its outer block, or nothing where block maxima stay in FP32 (`is_nested` false).
    """
    import torch

    largest = original.reshape(-1, BLOCK).abs().amax(1)
    bounds = HALF_WIDEST_GAP * largest
    if is_nested:
        offsets = (largest - largest.mean()).abs().split(OUTER_BLOCK)
        bounds += HALF_DYNAMIC_STEP * torch.cat([block.amax().expand_as(block) for block in offsets])
    errors = (found - original).abs().reshape(-1, BLOCK).amax(1)
    share = float((errors / bounds).max().item())
    return share if math.isfinite(share) else math.inf
