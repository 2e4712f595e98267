"""Models and batches that benchmarks run, by device and by the memory that the machine was built with.

What is free at the moment decides nothing here, so that a machine runs the same workload every time and its
results stay comparable; it only decides whether the workload runs or is skipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, NamedTuple, Optional

from .small_models import learnable_tokens, small_model

if TYPE_CHECKING:
    from .context import Probe

MOST_TEXTS, MOST_TEXTS_ON_CPU = 8, 2
# Of the machine's memory, so that the rest of the system keeps the other half.
SHARE_OF_CAPACITY = 0.5
ROOMY_BYTES = 12e9


class Shape(NamedTuple):
    """A causal language model with random weights, and the length of the texts it is given."""

    family: str
    width: int
    layers: int
    heads: int
    vocabulary: int
    length: int

    @property
    def about_parameters(self) -> int:
        """12 d^2 a layer, which GPT-2 has exactly but for biases and norms, and two embeddings."""
        return 12 * self.layers * self.width**2 + 2 * self.vocabulary * self.width

    def training_bytes(self, texts: int) -> float:
        """Weights, gradients and two Adam states in float32, activations, and the logits three times.

        Activations: 34 bytes a token, width and layer in 16 bits (Korthikanti et al., 2022, formula 2,
        without the scores that SDPA does not keep), twice that in float32.
        """
        tokens = texts * self.length
        activations = 68 * tokens * self.width * self.layers
        return 16.0 * self.about_parameters + activations + 12 * tokens * self.vocabulary

    def words(self, texts: int) -> str:
        """The arithmetic of `training_bytes`."""
        tokens = texts * self.length
        return (
            f"16 bytes x {self.about_parameters:,} parameters + 68 x {tokens} tokens x {self.width} x "
            f"{self.layers} + 12 x {tokens} x {self.vocabulary}"
        )

    def build(self, device: Any, *, seed: int) -> Any:
        """The model in float32 on `device`, whose weights are drawn there."""
        import torch

        with torch.device(device):
            return small_model(
                self.family,
                seed=seed,
                width=self.width,
                layers=self.layers,
                heads=self.heads,
                vocabulary=self.vocabulary,
                positions=2 * self.length,
            )

    def tokens(self, texts: int, *, seed: int) -> Any:
        """Token ids (texts, length) that can be learned, on the CPU."""
        return learnable_tokens(texts, self.length, vocabulary=self.vocabulary, seed=seed)


TRAINING_ON_CPU = {
    "gpt2": Shape("gpt2", width=256, layers=4, heads=4, vocabulary=4096, length=128),
    "llama": Shape("llama", width=256, layers=4, heads=4, vocabulary=4096, length=128),
}
TRAINING_ON_ACCELERATOR = {
    # GPT-2 as published: 124,439,808 parameters.
    "gpt2": Shape("gpt2", width=768, layers=12, heads=12, vocabulary=50257, length=512),
    "llama": Shape("llama", width=1024, layers=8, heads=16, vocabulary=32000, length=512),
}
GENERATION_ON_CPU = Shape("tinyllama", width=512, layers=6, heads=8, vocabulary=8192, length=128)
GENERATION_IN_LITTLE = Shape("tinyllama", width=1024, layers=12, heads=16, vocabulary=32000, length=512)
GENERATION_IN_MUCH = Shape("tinyllama", width=2048, layers=16, heads=32, vocabulary=32000, length=512)


def training_shapes(device_type: str) -> Dict[str, Shape]:
    """By family, for a device "cpu", "cuda" or "mps"."""
    return TRAINING_ON_CPU if device_type == "cpu" else TRAINING_ON_ACCELERATOR


def generation_shape(probe: Probe, device_type: str) -> Shape:
    """For a device "cpu", "cuda" or "mps"."""
    if device_type == "cpu":
        return GENERATION_ON_CPU
    is_roomy = (capacity(probe) or 0) >= ROOMY_BYTES
    return GENERATION_IN_MUCH if is_roomy else GENERATION_IN_LITTLE


def texts_that_fit(probe: Probe, bytes_of: Callable[[int], float]) -> int:
    """The largest power of two for which `bytes_of(texts)` is within half of the capacity; at least 1.

    At most 8, on a CPU 2.
    """
    limit = capacity(probe)
    texts = MOST_TEXTS_ON_CPU if probe.device == "cpu" else MOST_TEXTS
    while texts > 1 and (limit is None or bytes_of(texts) > SHARE_OF_CAPACITY * limit):
        texts //= 2
    return texts


def capacity(probe: Probe) -> Optional[float]:
    """Bytes that the device was built with; None where nothing is known."""
    if probe.device == "cuda":
        import torch

        return float(torch.cuda.get_device_properties(0).total_memory)
    if probe.device == "mps" and probe.machine.working_set_bytes:
        return float(probe.machine.working_set_bytes)
    return None if probe.machine.memory_bytes is None else float(probe.machine.memory_bytes)
