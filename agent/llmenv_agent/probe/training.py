"""Training as several checks do it: steps, the loss on unseen tokens, gradients and weights compared.

Everything compared is brought to the CPU in float64 first, since MPS has none.  `gradient_bound` says how far
rounding alone may move a gradient.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
from typing import Any, Callable, ContextManager, Dict, Iterable, List, Mapping, NamedTuple, Tuple

from .roundoff import UNIT_ROUNDOFF

# query/key/value, attention's output, the MLP's first and last: the longest way through a block.
PRODUCTS_PER_BLOCK = 4
# Forward a product rounds two operands and its result; backward the same.
ROUNDINGS_PER_PRODUCT = 6


class Trained(NamedTuple):
    """Loss of each batch before its own step in nats, and the seconds of each step."""

    losses: List[float]
    seconds: List[float]


def train(
    model: Any,
    batches: Iterable[Any],
    optimizer: Any,
    *,
    autocast: Callable[[], ContextManager[Any]] = contextlib.nullcontext,
    scaler: Any = None,
    scheduler: Any = None,
) -> Trained:
    """One step for each batch of token ids (sequences, tokens) on the model's device.

    `autocast` gives the context of the forward pass.  Reading the loss ends the step on the device, so that
    its seconds mean something.
    """
    model.train()
    losses, seconds = [], []
    for batch in batches:
        started = time.perf_counter()
        optimizer.zero_grad()
        with autocast():
            loss = model(input_ids=batch, labels=batch).loss
        _step(loss, optimizer, scaler)
        if scheduler is not None:
            scheduler.step()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - started)
    return Trained(losses, seconds)


def _step(loss: Any, optimizer: Any, scaler: Any) -> None:
    if scaler is None:
        loss.backward()
        optimizer.step()
        return
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()


def sequence_losses(model: Any, tokens: Any) -> Any:
    """Mean next-token cross-entropy of each sequence of `tokens` (sequences, tokens), in nats, float64."""
    import torch

    with torch.no_grad():
        logits = model.eval()(input_ids=tokens).logits[:, :-1].float()
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
    return losses.cpu().double().mean(1)


def constant_prediction_loss(tokens: Any) -> float:
    """-sum p ln p of the targets' frequencies, in nats: what ignores its inputs cannot go below it."""
    _, counts = tokens[:, 1:].cpu().unique(return_counts=True)
    shares = counts.double() / counts.sum()
    return float(-(shares * shares.log()).sum().item())


def gradients(model: Any) -> Dict[str, Any]:
    """Copies of all gradients by parameter, float64 on the CPU; a parameter without one is left out."""
    named = model.named_parameters()
    return {name: each.grad.cpu().double() for name, each in named if each.grad is not None}


def weights(model: Any) -> Dict[str, Any]:
    """Copies of all parameters by name, on the CPU in their own type."""
    return {name: each.detach().cpu().clone() for name, each in model.named_parameters()}


def relative_error(observed: Mapping[str, Any], reference: Mapping[str, Any]) -> float:
    """The largest of |y - r| / |r| over the tensors, by Euclidean norms.

    Infinite where a tensor is missing or not finite.
    """
    if set(observed) != set(reference):
        return math.inf
    return max(_distance(observed[name].double(), exact.double()) for name, exact in reference.items())


def _distance(observed: Any, reference: Any) -> float:
    distance = float((observed - reference).norm().item())
    size = float(reference.norm().item())
    if not math.isfinite(distance):
        return math.inf
    if distance == 0.0:
        return 0.0
    return distance / size if size else math.inf


def nudge(model: Any, *, seed: int) -> None:
    """Move every weight up or down by 2^-23 of its size, about the distance of float32 to the next number."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            signs = torch.randint(2, parameter.shape, generator=generator) * 2 - 1
            parameter.mul_(1 + 2 * UNIT_ROUNDOFF["float32"] * signs.to(parameter.device))


def gradient_bound(dtype_name: str, *, layers: int, terms: int = 1) -> float:
    """How far rounding alone may move a gradient of a model of `layers` blocks, relative to its size.

    First order: every rounding on the longest way through the network (4 products a block and one of the
    output layer, 6 roundings each, there and back) moves the result by one unit roundoff.  `terms` is the
    length of the sums where they are added in another order: their error grows like its square root (Higham
    and Mary 2019, A New Approach to Probabilistic Rounding Error Analysis).
    """
    products = PRODUCTS_PER_BLOCK * layers + 1
    return ROUNDINGS_PER_PRODUCT * products * UNIT_ROUNDOFF[dtype_name] * math.sqrt(terms)


def digest(tensors: Iterable[Tuple[str, Any]]) -> str:
    """SHA-256 over names and bytes of tensors, in the order of their names."""
    import torch

    total = hashlib.sha256()
    for name, tensor in sorted(tensors, key=lambda pair: pair[0]):
        total.update(name.encode())
        total.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
