"""One step of training in MLX, always on the same batch, as `training_step` has it for torch.

AdamW in float32 on what is trainable.  MLX computes loss and gradient in one graph, so forward and backward
are one phase.  The batch is learned by heart, which is how a benchmark sees that its steps are steps.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from .findings import Findings

LEARNING_RATE = 1e-3
# Random logits are nearly even: the first loss is ln V to within this share of it.
FIRST_LOSS_WITHIN = 0.1


class MlxTrainingStep:
    """`tokens` is (texts, length); the model's weights are random, its words `vocabulary`."""

    def __init__(self, model: Any, tokens: Any, *, vocabulary: int) -> None:
        from mlx import nn, optimizers

        self.model = model
        self.tokens = tokens
        self._vocabulary = vocabulary
        self._optimizer = optimizers.AdamW(learning_rate=LEARNING_RATE)
        self._gradient = nn.value_and_grad(model, self._loss)
        self._first_loss = self._loss().item()

    def in_laps(self, lap: Callable[[str], None]) -> None:
        """One step, telling `lap` where its gradient is there, and where its update is done."""
        import mlx.core as mx

        value, gradients = self._gradient()
        mx.eval(value, gradients)
        lap("gradient")
        self._optimizer.update(self.model, gradients)
        mx.eval(self.model.parameters(), self._optimizer.state)
        lap("optimizer")

    def refuse_unlearned(self, findings: Findings) -> None:
        """End as `fail` where the first loss was none of random weights, or the steps did not lower it."""
        last = self._loss().item()
        findings.measure("first_loss", self._first_loss, "nat")
        findings.measure("last_loss", last, "nat", better="lower")
        even = math.log(self._vocabulary)
        if not abs(self._first_loss - even) <= FIRST_LOSS_WITHIN * even:
            findings.fail(
                "The first loss of random weights is {first:.3f}, far from ln({vocabulary}) = {even:.3f}.",
                first=self._first_loss,
                vocabulary=self._vocabulary,
                even=even,
            )
        if not (math.isfinite(last) and last < self._first_loss):
            findings.fail(
                "The timed steps did not train: the loss of their batch went from {first:.3f} to {last:.3f}.",
                first=self._first_loss,
                last=last,
            )

    def _loss(self) -> Any:
        from mlx import nn

        logits = self.model(self.tokens[:, :-1])
        return nn.losses.cross_entropy(logits, self.tokens[:, 1:], reduction="mean")
