"""Do gradients accumulated over small batches equal those of the large batch?

A small Llama sees 8 sequences at once, or in 4 batches of 2 whose gradients add up before the optimizer
steps. Gradients must agree to `gradient_bound`: 6 unit roundoffs for each of the 9 products on the longest
way through two blocks, times the root of the number of tokens that are summed in another order. Then both
take one step of SGD, and no weight may differ by more than that times the learning rate and the norm of its
tensor's gradient, and the two roundings of the weight itself. It is SGD because Adam's first step is the sign
of the gradient: it would blow the rounding of a gradient near zero up to a whole step.

Two cases. In `equal` every batch has the same number of target tokens. In `unequal` they have from less than
half to all of them, as in fine-tuning with masked prompts, where the known mistake is to average the means of
the batches: that weighs a token of a short batch more. What is right, and done here, is the sum over tokens
divided by the targets of all batches. The error of the averaged means is measured beside it; in `unequal` it
has to be above the bound, or the case could not tell the two apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Tuple

from llmenv_probe.roundoff import UNIT_ROUNDOFF
from llmenv_probe.small_models import learnable_tokens, small_model
from llmenv_probe.training import gradient_bound, gradients, relative_error, weights

if TYPE_CHECKING:
    from llmenv_agent.probe.cases import Case
    from llmenv_agent.probe.context import Probe

ORDER = 230
SUITES = ("full",)
REQUIRES = ("torch", "transformers")
TIMEOUT_SECONDS = 300
CASE_TIMEOUT_SECONDS = 120
TYPICAL_SECONDS = 4
PARAMETERS = {"micro_batches": 4, "micro_batch_size": 2, "sequence_length": 64, "learning_rate": 0.1}
ALLOWED = {
    "micro_batches": "2..64",
    "micro_batch_size": "1..64",
    "sequence_length": "16..256",
    "learning_rate": "0.001..1.0",
}

LAYERS, VOCABULARY = 2, 256
# What cross_entropy leaves out.
IGNORED = -100


def run(probe: Probe) -> None:
    probe.fact("device", str(probe.accelerator.torch_device()))
    for name in ("equal", "unequal"):
        if not probe.is_completed(name):
            with probe.case(name, **probe.parameters) as case:
                _examine(probe, case, is_equal=name == "equal")


def _examine(probe: Probe, case: Case, *, is_equal: bool) -> None:
    tokens, labels = _examples(probe, is_equal=is_equal)
    batches = list(zip(*(each.split(probe.parameters["micro_batch_size"]) for each in (tokens, labels))))
    targets = [_targets(labels) for _, labels in batches]
    large = _trained(probe, [(tokens, labels, 1 / sum(targets))])
    weighted = _trained(probe, [(*batch, 1 / sum(targets)) for batch in batches])
    averaged = _trained(probe, [(*batch, 1 / (len(targets) * own)) for batch, own in zip(batches, targets)])

    bound = gradient_bound("float32", layers=LAYERS, terms=sum(targets))
    error = relative_error(weighted[0], large[0])
    naive = relative_error(averaged[0], large[0])
    case.measure("gradient_error", error, "1", better="lower")
    case.measure("error_of_averaged_means", naive, "1")
    case.measure("fewest_targets", min(targets), "1")
    case.measure("most_targets", max(targets), "1")
    _judge_gradients(case, error, naive, bound, is_equal=is_equal)
    _judge_weights(probe, case, weighted, large, bound)
    case.passed(
        "{count} batches of {fewest} to {most} target tokens, weighted by token, give the gradients of the "
        "large batch to {error:.1e}; averaging their means would be {naive:.1e} off.",
        count=len(batches),
        fewest=min(targets),
        most=max(targets),
        error=error,
        naive=naive,
    )


def _examples(probe: Probe, *, is_equal: bool) -> "Tuple[Any, Any]":
    """Token ids and labels (sequences, tokens); unequal batches lose up to 9 of 16 targets."""
    size, count = probe.parameters["micro_batch_size"], probe.parameters["micro_batches"]
    length = probe.parameters["sequence_length"]
    tokens = learnable_tokens(size * count, length, vocabulary=VOCABULARY, seed=probe.seed)
    labels = tokens.clone()
    for index in range(0 if is_equal else count):
        hidden = index * 3 * length // (4 * count)
        labels[index * size : (index + 1) * size, :hidden] = IGNORED
    device = probe.accelerator.torch_device()
    return tokens.to(device), labels.to(device)


def _targets(labels: Any) -> int:
    return int((labels[:, 1:] != IGNORED).sum().item())


def _trained(
    probe: Probe, batches: "List[Tuple[Any, Any, float]]"
) -> "Tuple[Dict[str, Any], Dict[str, Any]]":
    """Gradients of the batches' sums of losses, each times its factor, and the weights after one step."""
    import torch

    model = small_model("llama", seed=probe.seed, layers=LAYERS, vocabulary=VOCABULARY)
    model = model.to(probe.accelerator.torch_device()).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=probe.parameters["learning_rate"])
    for tokens, labels, factor in batches:
        logits = model(input_ids=tokens).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), labels[:, 1:], ignore_index=IGNORED, reduction="sum"
        )
        (loss * factor).backward()
    found = gradients(model)
    optimizer.step()
    return found, weights(model)


def _judge_gradients(case: Case, error: float, naive: float, bound: float, *, is_equal: bool) -> None:
    if not error <= bound:
        case.fail(
            "Accumulated gradients are {error:.1e} away from the large batch's, more than {bound:.1e}.",
            error=error,
            bound=bound,
        )
    if (naive <= bound) != is_equal:
        case.fail(
            "Averaging the means of the batches is {naive:.1e} off, which has to be {side} {bound:.1e} here.",
            naive=naive,
            side="at most" if is_equal else "above",
            bound=bound,
        )


def _judge_weights(probe: Probe, case: Case, accumulated: Any, large: Any, bound: float) -> None:
    """The largest difference of a weight, as a multiple of the bound in the module's docstring."""
    excess = 0.0
    for name, gradient in large[0].items():
        expected = large[1][name].double()
        allowed = probe.parameters["learning_rate"] * bound * gradient.norm().item()
        allowed += 2 * UNIT_ROUNDOFF["float32"] * expected.abs().max().item()
        observed = (accumulated[1][name].double() - expected).abs().max().item()
        excess = max(excess, observed / allowed)
    case.measure("weight_difference", excess, "1", better="lower")
    if not excess <= 1:
        case.fail(
            "After one step a weight differs by {excess:.1f} times what rounding may do.", excess=excess
        )
