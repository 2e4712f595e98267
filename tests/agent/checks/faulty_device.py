"""A device with a fault: wraps what torch computes there, and never the float64 reference.

Runs in the target interpreter, loaded by its path from the code that a test plants.  A fault changes what one
operator of ATen gives, seen below autograd, so that forward and backward passes are both within reach.
"""

from __future__ import annotations

import os
import random
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# Of 24 bits of a float32 this many remain.
BITS_KEPT = 16

Call = Callable[..., Any]


class FaultyDevice(TorchDispatchMode):
    """`fault(call, *arguments)` stands in for each operator whose name is in `operators`."""

    def __init__(self, fault: Callable[..., Any], operators: tuple[str, ...]) -> None:
        super().__init__()
        self._fault = fault
        self._operators = operators

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        keywords = kwargs or {}
        name = func.name().partition("::")[2].partition(".")[0]
        if name not in self._operators or _is_reference((*args, *keywords.values())):
            return func(*args, **keywords)
        return self._fault(func, *args, **keywords)


def _is_reference(arguments: tuple[Any, ...]) -> bool:
    return any(isinstance(each, torch.Tensor) and each.dtype == torch.float64 for each in arguments)


def break_device(fault: str, *operators: str) -> None:
    """From here on the device has the fault of this name in these operators."""
    FaultyDevice(FAULTS[fault](), operators).__enter__()


def wrong_by_a_tenth() -> Call:
    """Ten per cent too much."""
    return lambda call, *arguments, **keywords: _first(
        call(*arguments, **keywords), lambda output: output * 1.1
    )


def mask_dropped() -> Call:
    """Attention to everything, whatever the mask says."""

    def fault(call: Call, *arguments: Any, **keywords: Any) -> Any:
        return call(*arguments, **{**keywords, "attn_mask": None})

    return fault


def one_nan() -> Call:
    """The last value is NaN."""

    def spoilt(output: Any) -> Any:
        output.view(-1)[-1:].fill_(float("nan"))
        return output

    return lambda call, *arguments, **keywords: _first(call(*arguments, **keywords), spoilt)


def stale() -> Call:
    """Gives what the run before gave, where that had the same shape."""
    earlier: dict[Any, Any] = {}

    def fault(call: Call, *arguments: Any, **keywords: Any) -> Any:
        output = call(*arguments, **keywords)
        previous = earlier.get((output.shape, output.dtype))
        earlier[output.shape, output.dtype] = output
        return output if previous is None else previous.clone()

    return fault


def untouched() -> Call:
    """Gives an output that nothing was written to."""

    def fault(call: Call, *arguments: Any, **keywords: Any) -> Any:
        shape = call(*arguments, **keywords).shape
        return torch.empty(shape, dtype=arguments[0].dtype, device=arguments[0].device)

    return fault


def nothing_returned() -> Call:
    """No tensor at all, as torch 2.11 on CUDA gives for attention over an empty batch in 16 bits."""
    return lambda call, *arguments, **keywords: None


def eight_bits_lost() -> Call:
    """Rounds to BITS_KEPT bits."""

    def coarse(output: Any) -> Any:
        mantissa, exponent = torch.frexp(output)
        return torch.ldexp((mantissa * 2.0**BITS_KEPT).round() / 2.0**BITS_KEPT, exponent)

    return lambda call, *arguments, **keywords: _first(call(*arguments, **keywords), coarse)


def wrong_on_transposed() -> Call:
    """Reads the memory of a tensor that is not contiguous as though it were."""

    def fault(call: Call, first: Any, *arguments: Any, **keywords: Any) -> Any:
        if first.is_contiguous() or first.storage_offset() or 0 in first.stride():
            return call(first, *arguments, **keywords)
        return call(first.transpose(-2, -1).reshape(first.shape), *arguments, **keywords)

    return fault


def aborting() -> Call:
    """Ends the process, as an assertion of Metal does."""
    return lambda *_, **__: os.abort()


def hanging() -> Call:
    """Never comes back."""
    return lambda *_, **__: time.sleep(3600)


def leaking() -> Call:
    """Keeps every output for ever."""
    kept = []

    def fault(call: Call, *arguments: Any, **keywords: Any) -> Any:
        output = call(*arguments, **keywords)
        kept.append(output)
        return output

    return fault


def non_deterministic() -> Call:
    """Is off by up to 2^-12, each time by something else, whatever the seed."""
    noise = random.SystemRandom()

    def unsteady(output: Any) -> Any:
        return output * (1 + 2.0**-12 * noise.random())

    return lambda call, *arguments, **keywords: _first(call(*arguments, **keywords), unsteady)


def missing() -> Call:
    """Says what torch says of an operator that MPS lacks."""

    def fault(call: Any, *_: Any, **__: Any) -> Any:
        raise NotImplementedError(
            f"The operator '{call.name()}' is not currently implemented for the MPS device. If you want this "
            "op to be considered please comment on https://github.com/pytorch/pytorch/issues/141287"
        )

    return fault


def falling_back() -> Call:
    """Warns as torch does where the CPU takes over, and computes right."""

    def fault(call: Any, *arguments: Any, **keywords: Any) -> Any:
        warnings.warn(
            f"The operator '{call.name()}' is not currently supported on the MPS backend and will fall back "
            "to run on the CPU. This may have performance implications.",
            stacklevel=1,
        )
        return call(*arguments, **keywords)

    return fault


def without_half() -> Call:
    """Refuses float16, in the words of a torch that has no kernel for it."""

    def fault(call: Any, first: Any, *arguments: Any, **keywords: Any) -> Any:
        if first.dtype == torch.float16:
            raise RuntimeError("\"softmax_lastdim_kernel_impl\" not implemented for 'Half'")
        return call(first, *arguments, **keywords)

    return fault


def _first(output: Any, change: Callable[[Any], Any]) -> Any:
    """Change the output, or the first where there are several."""
    return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)


FAULTS: dict[str, Callable[[], Call]] = {
    fault.__name__: fault
    for fault in (
        wrong_by_a_tenth,
        mask_dropped,
        one_nan,
        stale,
        untouched,
        nothing_returned,
        eight_bits_lost,
        wrong_on_transposed,
        aborting,
        hanging,
        leaking,
        non_deterministic,
        missing,
        falling_back,
        without_half,
    )
}
