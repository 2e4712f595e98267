"""Memory that was used before: freed blocks that hold a value which no right result has.

A kernel that never writes its output leaves what its memory held, and often that is the right answer of the
run before.  So blocks of the output's own size are filled with `STALE` and freed just before: an allocator
that reuses memory, as those of the CPU, CUDA and MPS do, hands one of them to the output.
"""

from __future__ import annotations

from typing import Any, Iterable

# 234 * 2^8: exact in float32, float16, bfloat16 and int64.
STALE = -59904.0
BLOCKS = 2
CHURN_BYTES = 8 * 1024 * 1024


def leave(shapes: Iterable[Any], *, dtype: Any, device: Any) -> None:
    """Free `BLOCKS` blocks full of `STALE` for each shape, so that the next outputs are laid over them."""
    import torch

    blocks = [
        torch.full(tuple(shape), STALE, dtype=dtype, device=device) for shape in shapes for _ in range(BLOCKS)
    ]
    del blocks


def churn(*, device: Any) -> None:
    """Take and free one large block, which makes an allocator split, merge and move what it keeps."""
    import torch

    block = torch.full((CHURN_BYTES // 4,), STALE, dtype=torch.float32, device=device)
    del block
