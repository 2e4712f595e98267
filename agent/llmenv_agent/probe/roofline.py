"""What the chip could do at most, and the share of it that was reached.

The roofline (Williams, Waterman, Patterson, CACM 52, 2009): a computation is bound by the operations a
second or by the bytes a second of the chip, whichever ends first.  Limits are those of the catalogue where
the chip is known, and those measured in the same process: a limit that is neither known nor measured gives
no share, and quoted TFLOPS are never used.  Counts of operations are those of the algorithm, not of what a
kernel does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

if TYPE_CHECKING:
    from .findings import Findings
    from .timing import Timer

# STREAM counts the bytes that the program names, without write-allocate (McCalpin, "The STREAM Benchmark",
# cs.virginia.edu/stream): copy and scale read one array and write one, add and triad read two and write one.
ARRAYS = {"copy": 2, "scale": 2, "add": 3, "triad": 3}
TRIAD_FACTOR = 3.0
# Whole numbers below this stay exact in float32, also b + 3c.
LARGEST_ELEMENT = 1000


def matmul_operations(rows: int, columns: int, inner: int) -> int:
    """2mnk: one multiplication and one addition for each of mnk products."""
    return 2 * rows * columns * inner


def causal_attention_operations(*, batch: int, heads: int, length: int, head_width: int) -> int:
    """Forward: two products of 2 L^2 d a head, of which the mask leaves half (Dao, FlashAttention-2, 4.1).

    The backward pass has five products for these two: 2.5 times as many.
    """
    return 2 * batch * heads * length * length * head_width


def training_operations(parameters: int, *, layers: int, width: int, length: int) -> int:
    """Of one token, forward and backward: 6N + 12 L d T (Chowdhery et al., PaLM, appendix B).

    N leaves out input embeddings, which are looked up and not multiplied.
    """
    return 6 * parameters + 12 * layers * width * length


def decode_bytes(model: Any, *, cached_tokens: float) -> float:
    """Read from memory for one new token of one text: every weight once, and the keys and values so far.

    The cache holds 2 x layers x key-value heads x head width numbers a token.
    """
    weights = sum(each.numel() * each.element_size() for each in model.parameters())
    shape = model.config
    heads = getattr(shape, "num_key_value_heads", None) or shape.num_attention_heads
    head_width = shape.hidden_size // shape.num_attention_heads
    numbers = 2 * shape.num_hidden_layers * heads * head_width * cached_tokens
    return float(weights + numbers * next(model.parameters()).element_size())


def measure_share(findings: Findings, name: str, value: float, limit: Optional[float]) -> None:
    """Record `value` over `limit`, both in the same unit; nothing where the limit is not known."""
    if limit:
        findings.measure(name, value / limit, "1", better="higher")


def measured_matmul_rate(timer: Timer, device: Any, *, dtype: Any, size: int) -> float:
    """Operations a second of a square product, the peak that this process can be held against."""
    import torch

    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(left)
    series = timer.time(lambda: torch.mm(left, right, out=out))
    return matmul_operations(size, size, size) / series.median


def measured_bandwidth(timer: Timer, device: Any, *, array_bytes: int) -> float:
    """Bytes a second of a copy, by STREAM's counting."""
    import torch

    source = torch.zeros(array_bytes // 4, device=device)
    target = torch.ones_like(source)
    return ARRAYS["copy"] * array_bytes / timer.time(lambda: target.copy_(source)).median
