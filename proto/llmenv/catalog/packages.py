"""The packages that training on a Mac stands on, in the order that reports show them."""

from __future__ import annotations

FRAMEWORKS = (
    "torch",
    "torchvision",
    "torchaudio",
    "transformers",
    "tokenizers",
    "sentencepiece",
    "peft",
    "accelerate",
    "mlx",
    "mlx-lm",
    "bitsandbytes",
    "torchao",
)
DATA_HANDLING = ("datasets", "pandas", "numpy")
WATCHED = (*FRAMEWORKS, *DATA_HANDLING)
