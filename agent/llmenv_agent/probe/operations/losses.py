"""Softmax and the losses of language models, over a vocabulary of 97 tokens and, as "large", of 50,257."""

from __future__ import annotations

from typing import Any, Dict, Tuple

from .operands import index, normal, positive
from .operation import Operation

VOCABULARY = {"v": 50257, "b": 1}
IGNORED = -100
# A logarithm of up to 12, and a score less that, enter an exponential in the gradient: their roundings count
# 12 times each.  The other 8 are those of any operation.
LOG_ROUNDINGS = 32


def operations() -> Tuple[Operation, ...]:
    from torch.nn import functional

    scores, target = normal("b n v"), index("b n", "v")
    labelled, pair = (scores, target), (normal("b n k"), normal("b n k"))
    log_exactness: Dict[str, Any] = {"roundings": LOG_ROUNDINGS, "length": "v"}
    return (
        Operation("softmax", lambda a: a.softmax(-1), (scores,), large=VOCABULARY, length="v"),
        Operation("softmax_of_rows", lambda a: a.softmax(1), (scores,), length="n"),
        Operation("softmax_masked", _masked_softmax, (normal("b n n"),), length="n"),
        Operation("log_softmax", lambda a: a.log_softmax(-1), (scores,), large=VOCABULARY, **log_exactness),
        Operation("logsumexp", lambda a: a.logsumexp(-1), (scores,), large=VOCABULARY, **log_exactness),
        Operation("cross_entropy", _cross_entropy, labelled, large=VOCABULARY, **log_exactness),
        Operation("cross_entropy_ignore_index", _ignoring, labelled, large=VOCABULARY, **log_exactness),
        Operation("cross_entropy_label_smoothing", _smoothing, labelled, **log_exactness),
        Operation("cross_entropy_unreduced", _unreduced, labelled, **log_exactness),
        Operation("nll_loss", _nll_loss, labelled, **log_exactness),
        Operation("kl_div", _kl_div, (scores, scores), **log_exactness),
        Operation("mse_loss", functional.mse_loss, pair, length="n k"),
        Operation("smooth_l1_loss", functional.smooth_l1_loss, pair, length="n k"),
        Operation(
            "preference_loss", lambda a, b: -functional.logsigmoid(0.5 * (a - b)).sum(), pair, length="k"
        ),
        Operation("binary_cross_entropy", _binary, (normal("b n k"), positive("b n k")), length="k"),
        Operation("cosine_similarity", functional.cosine_similarity, pair, length="n"),
        Operation("token_log_probability", _token_log_probability, labelled, **log_exactness),
        Operation(
            "entropy", lambda a: -(a.softmax(-1) * a.log_softmax(-1)).sum(-1), (scores,), **log_exactness
        ),
    )


def _masked_softmax(scores: Any) -> Any:
    import torch

    future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
    return scores.masked_fill(future, float("-inf")).softmax(-1)


def _cross_entropy(scores: Any, target: Any, **options: Any) -> Any:
    from torch.nn import functional

    return functional.cross_entropy(scores.flatten(0, 1), target.flatten(), **options)


def _ignoring(scores: Any, target: Any) -> Any:
    """Every third token is none to learn from, as in padding or a prompt."""
    import torch

    counted = torch.arange(target.numel(), device=target.device).view(target.shape) % 3 != 0
    return _cross_entropy(scores, target.where(counted, torch.full_like(target, IGNORED)))


def _smoothing(scores: Any, target: Any) -> Any:
    return _cross_entropy(scores, target, label_smoothing=0.1)


def _unreduced(scores: Any, target: Any) -> Any:
    return _cross_entropy(scores, target, reduction="none")


def _nll_loss(scores: Any, target: Any) -> Any:
    from torch.nn import functional

    return functional.nll_loss(scores.log_softmax(-1).flatten(0, 1), target.flatten())


def _kl_div(scores: Any, teacher: Any) -> Any:
    """Distillation: from the teacher's distribution, both as logarithms."""
    from torch.nn import functional

    student, target = scores.log_softmax(-1), teacher.log_softmax(-1)
    return functional.kl_div(student, target, reduction="sum", log_target=True)


def _binary(scores: Any, target: Any) -> Any:
    from torch.nn import functional

    return functional.binary_cross_entropy_with_logits(scores, target - 0.5)


def _token_log_probability(scores: Any, target: Any) -> Any:
    """What policy gradients and preference losses take of each token."""
    return scores.log_softmax(-1).gather(-1, target[..., None])
