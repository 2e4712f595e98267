"""Does a small network learn on this device?

TinyNet (128-256-128-64-10, 74,826 parameters) takes 100 Adam steps with batches of 32 on ten Gaussian
classes. Every batch is new, so nothing can be memorised, and the loss is judged on 1,000 examples that are
never trained on: before the first step and after the last. It must fall below half its start. With random
labels it stays at ln(10) = 2.303 whatever the device does, which is why "no exception" is no verdict.

Beside it stands the loss of the best constant prediction, the entropy of the label frequencies -sum p ln p:
a network that has learned nothing from its inputs cannot go below it. Inputs, labels and initial weights
are drawn on the CPU from the run's seed, the same for every device.

A loss that falls may still be a wrong number, and a network may learn although a layer never moves, because
the optimizer's write to it is lost (addcdiv on MPS, pytorch #118115). So both losses are compared with the
float64 loss of the same weights on the CPU, computed as logsumexp(z) - z[label], to a relative 1e-4, twice
the bound of a single FP32 product; and every tensor of parameters must have changed.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmenv_agent.probe.context import Probe

ORDER = 20
SUITES = ("quick", "full")
REQUIRES = ("torch",)
TIMEOUT_SECONDS = 180
TYPICAL_SECONDS = 3
PARAMETERS = {"steps": 100, "batch_size": 32, "learning_rate": 1e-3, "steps_per_trial": 10}
ALLOWED = {
    "steps": "40..10000",
    "batch_size": "8..4096",
    "learning_rate": "0.0005..0.01",
    "steps_per_trial": "1..1000",
}

FEATURES, CLASSES, HELD_OUT = 128, 10, 1000
# Classes this noisy overlap a little: an easy target hides a network that learns in its last layer only.
NOISE = 3.0
# 128*256+256 + 256*128+128 + 128*64+64 + 64*10+10
TINYNET_PARAMETERS = 74_826
SHARE_OF_START = 0.5
LOSS_BOUND = 1e-4


def run(probe: Probe) -> None:
    import torch

    device = probe.accelerator.torch_device()
    count = probe.parameters["steps"] * probe.parameters["batch_size"] + HELD_OUT
    inputs, labels = _examples(count, seed=probe.seed)
    network = _tinynet(seed=probe.seed).to(device)
    held_out = inputs[:HELD_OUT].to(device), labels[:HELD_OUT].to(device)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    probe.fact("device", str(device))
    probe.measure("parameters", parameters, "1")
    probe.expect("parameters", parameters == TINYNET_PARAMETERS, f"{TINYNET_PARAMETERS:,}", f"{parameters:,}")

    probe.accelerator.reset_peak()
    start = _on_cpu(network)
    first = _evaluate(network, *held_out)
    batches = list(
        zip(
            inputs[HELD_OUT:].to(device).split(probe.parameters["batch_size"]),
            labels[HELD_OUT:].to(device).split(probe.parameters["batch_size"]),
        )
    )
    losses = _train(probe, network, batches)
    last = _evaluate(network, *held_out)

    constant = _entropy(torch.bincount(labels).tolist())
    _record(probe, first=first, last=last, mean=sum(losses) / len(losses), constant=constant)
    _judge(probe, first, last, losses)
    _judge_against_cpu(probe, (start, first), (_on_cpu(network), last), inputs[:HELD_OUT], labels[:HELD_OUT])
    probe.passed(
        "TinyNet learned on {device}: loss on unseen examples fell from {first:.3f} to {last:.3f}, "
        "where the best constant prediction has {constant:.3f}.",
        device=device,
        first=first,
        last=last,
        constant=constant,
    )


def _examples(count: int, *, seed: int) -> "tuple[Any, Any]":
    """`count` inputs (count, 128) around ten class centres, and their labels (count,)."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, FEATURES, generator=generator)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    return centres[labels] + NOISE * torch.randn(count, FEATURES, generator=generator), labels


def _tinynet(*, seed: int) -> Any:
    import torch
    from torch import nn

    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(FEATURES, 256),
        nn.ReLU(),
        nn.Linear(256, 128),
        nn.ReLU(),
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Linear(64, CLASSES),
    )


def _train(probe: Probe, network: Any, batches: "list[tuple[Any, Any]]") -> "list[float]":
    """Loss of each batch before its own step.  The clock stops only when the device has finished."""
    import torch

    optimizer = torch.optim.Adam(network.parameters(), lr=probe.parameters["learning_rate"])
    per_trial = probe.parameters["steps_per_trial"]
    losses, rates = [], []
    for start in range(0, len(batches), per_trial):
        trial = batches[start : start + per_trial]
        probe.accelerator.synchronize()
        started = time.perf_counter()
        losses += [_step(network, optimizer, *batch) for batch in trial]
        probe.accelerator.synchronize()
        rates.append(len(trial) / (time.perf_counter() - started))
    probe.measure("steps_per_second", None, "step/s", better="higher", trials=rates[1:], warmups=rates[:1])
    return [loss.item() for loss in losses]


def _step(network: Any, optimizer: Any, inputs: Any, labels: Any) -> Any:
    from torch.nn.functional import cross_entropy

    optimizer.zero_grad()
    loss = cross_entropy(network(inputs), labels)
    loss.backward()
    optimizer.step()
    return loss.detach()


def _evaluate(network: Any, inputs: Any, labels: Any) -> float:
    """Mean cross-entropy, in nats, without learning."""
    import torch

    with torch.no_grad():
        return float(torch.nn.functional.cross_entropy(network(inputs), labels).item())


def _on_cpu(network: Any) -> Any:
    """A copy in float64 on the CPU, which later steps do not reach."""
    import copy

    return copy.deepcopy(network).cpu().double()


def _judge_against_cpu(
    probe: Probe, before: "tuple[Any, float]", after: "tuple[Any, float]", inputs: Any, labels: Any
) -> None:
    """Each pair is a copy of the network and the loss that the device gave for it."""
    errors = []
    for network, loss in (before, after):
        logits = network(inputs.double()).detach()
        exact = (logits.logsumexp(1) - logits.gather(1, labels[:, None])[:, 0]).mean().item()
        errors.append(abs(loss - exact) / exact)
    error = max(errors)
    probe.measure("loss_error", error, "1", better="lower")
    probe.expect(
        "losses_right",
        error <= LOSS_BOUND,
        f"relative error <= {LOSS_BOUND:.0e}",
        f"{error:.2e}",
        "float64 loss of the same weights on the CPU",
    )
    pairs = list(zip(before[0].named_parameters(), after[0].parameters()))
    still = [name for (name, old), new in pairs if bool((old == new).all())]
    observed = f"{len(pairs) - len(still)}" + (f", all but {', '.join(still)}" if still else "")
    probe.expect("all_parameters_learn", not still, f"{len(pairs)} tensors changed", observed)


def _entropy(counts: "list[int]") -> float:
    """-sum p ln p of the label frequencies, in nats."""
    total = sum(counts)
    return -sum(count / total * math.log(count / total) for count in counts if count)


def _record(probe: Probe, **losses: float) -> None:
    probe.measure("first_loss", losses["first"], "nat")
    probe.measure("last_loss", losses["last"], "nat", better="lower")
    probe.measure("mean_loss", losses["mean"], "nat", better="lower")
    probe.measure("constant_prediction_loss", losses["constant"], "nat")
    probe.measure("uniform_guess_loss", math.log(CLASSES), "nat")
    probe.fact(
        "loss_is",
        "first and last: mean cross-entropy of 1,000 unseen examples; mean: of all training batches",
    )


def _judge(probe: Probe, first: float, last: float, losses: "list[float]") -> None:
    strays = sum(not math.isfinite(loss) for loss in [first, last, *losses])
    probe.expect("losses_finite", strays == 0, "0 losses not finite", f"{strays} not finite")
    bound = SHARE_OF_START * first
    probe.expect(
        "loss_falls",
        last < bound,
        f"last loss < {bound:.3f}, half of the first",
        f"{last:.3f} after {first:.3f}",
        "random labels stay at ln(10); a device that computes right reaches a tenth of the first",
    )
