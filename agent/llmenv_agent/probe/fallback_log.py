"""The training checks, and what torch writes when an operator of theirs runs on the CPU instead of MPS."""

from __future__ import annotations

import re
from typing import Any, Dict

FALLBACK_SENTENCE = re.compile(
    r"The operator '([\w:.]+)' is not currently supported on the MPS backend and will fall back"
)
# The six training checks with what makes them short.
TRAINING_CHECKS: Dict[str, Dict[str, Any]] = {
    "torch_basics": {},
    "torch_training": {"steps": 20},
    "transformers_generate": {"new_tokens": 5, "trials": 1},
    "peft_lora": {"steps": 3},
    "mlx_native": {"steps": 20},
    "torch_quantization": {},
}


def parse_fallbacks(log: str) -> Dict[str, int]:
    """How often each operator was said to fall back, most often first; warning or C++ log line alike."""
    counts: Dict[str, int] = {}
    for operator in FALLBACK_SENTENCE.findall(log):
        counts[operator] = counts.get(operator, 0) + 1
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
