"""One step of training, whole or by its phases, always on the same batch.

AdamW on what requires a gradient, in float32 or under autocast to a half type.  The batch is learned by
heart, which is how a benchmark sees that its steps are steps: the loss has to fall.
"""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from .findings import Findings

LEARNING_RATE = 1e-3
# Relative error of logits after a whole model, as `transformers_generate` holds them.
LOGITS_BOUNDS = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}
TOKENS_COMPARED = 32


class TrainingStep:
    """`tokens` (texts, length) are on the model's device; `precision` names a type of `precision.BOUNDS`."""

    def __init__(self, model: Any, tokens: Any, *, precision: str = "float32") -> None:
        import torch

        self.model = model.train()
        self.tokens = tokens
        self.precision = precision
        self._autocast_to = None if precision == "float32" else getattr(torch, precision)
        trainable = [each for each in model.parameters() if each.requires_grad]
        self._optimizer = torch.optim.AdamW(trainable, lr=LEARNING_RATE)
        self._loss: Any = None
        self._first_loss = math.nan

    def __call__(self) -> None:
        self.forward()
        self.backward()
        self.optimize()

    def in_laps(self, lap: Callable[[str], None]) -> None:
        """The same step, telling `lap` where each phase ends."""
        self.forward()
        lap("forward")
        self.backward()
        lap("backward")
        self.optimize()
        lap("optimizer")

    def forward(self) -> None:
        with self._autocast():
            self._loss = self.model(self.tokens, labels=self.tokens).loss

    def backward(self) -> None:
        self._loss.backward()

    def optimize(self) -> None:
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def refuse_wrong_logits(self, findings: Findings) -> None:
        """End as `fail` where the first tokens' logits are not those of the same weights in float64."""
        import copy

        import torch

        from .precision import refuse_wrong

        tokens = self.tokens[:1, :TOKENS_COMPARED]
        exact = copy.deepcopy(self.model).cpu().double().eval()
        with torch.no_grad():
            reference = exact(tokens.cpu()).logits
            self.model.eval()
            with self._autocast():
                observed = self.model(tokens).logits
        self.model.train()
        refuse_wrong(findings, observed, reference, bound=LOGITS_BOUNDS[self.precision])

    def note_first_loss(self) -> None:
        self._first_loss = self._evaluate()

    def refuse_unlearned(self, findings: Findings) -> None:
        """End as `fail` where the steps since `note_first_loss` did not lower the loss of their own batch."""
        last = self._evaluate()
        findings.measure("first_loss", self._first_loss, "nat")
        findings.measure("last_loss", last, "nat", better="lower")
        if not (math.isfinite(last) and last < self._first_loss):
            findings.fail(
                "The timed steps did not train: the loss of their batch went from {first:.3f} to {last:.3f}.",
                first=self._first_loss,
                last=last,
            )

    def _evaluate(self) -> float:
        import torch

        with torch.no_grad(), self._autocast():
            return float(self.model(self.tokens, labels=self.tokens).loss.item())

    def _autocast(self) -> Any:
        if self._autocast_to is None:
            return contextlib.nullcontext()
        import torch

        return torch.autocast(self.tokens.device.type, dtype=self._autocast_to)
