"""Does the same seed give the same result, twice here and once more in another process?

A small Llama with dropout in attention takes 10 AdamW steps on batches that a DataLoader shuffles, everything
from the run's seed. It does so twice in this process and once in a second one. Beside that, alone: a forward
pass twice, dropout twice from one seed of the generator and once from another, and the order that a
DataLoader gives with a seeded generator.

On the CPU every weight must be the same to the bit. Elsewhere kernels may add in an order that changes from
run to run; then the weights may differ by what one rounding does: the training is repeated three times with
every weight moved by about one rounding at the start, and the largest difference this makes, times the number
of steps, since every step rounds anew, is the tolerance. Whether they were the same to the bit is a fact and
stands in the sentence. Forward passes get `gradient_bound` there: 6 unit roundoffs for each of 9 products.
Dropout and the order of the data do not add anything up, and must be the same everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Optional

from llmenv_probe.small_models import learnable_tokens, small_model
from llmenv_probe.training import gradient_bound, nudge, relative_error, train, weights

if TYPE_CHECKING:
    from llmenv_agent.probe.context import Probe

ORDER = 260
SUITES = ("full",)
REQUIRES = ("torch", "transformers")
TIMEOUT_SECONDS = 600
TYPICAL_SECONDS = 9
PARAMETERS = {"steps": 10, "batch_size": 4, "sequence_length": 32, "learning_rate": 3e-3}
ALLOWED = {
    "steps": "1..200",
    "batch_size": "1..64",
    "sequence_length": "2..256",
    "learning_rate": "0.0001..0.01",
}

LAYERS, VOCABULARY, DROPOUT = 2, 256, 0.1
# The largest of so many: one draw of signs does up to six times what another does.
NUDGES = 3


def run(probe: Probe) -> None:
    device = probe.accelerator.torch_device()
    probe.fact("device", str(device))
    _judge_forward(probe)
    _judge_dropout(probe)
    _judge_order(probe)

    first, again, elsewhere = _train(probe), _train(probe), _train_in_second_process(probe)
    errors = [relative_error(other, first) for other in (again, elsewhere)]
    tolerance = 0.0
    if probe.device != "cpu" and max(errors):
        tolerance = _tolerance(probe, first)
    probe.fact("bit_identical", max(errors) == 0)
    _judge_weights(probe, "training_repeats", errors[0], tolerance)
    _judge_weights(probe, "second_process_repeats", errors[1], tolerance)
    if max(errors) == 0:
        probe.passed("The same seed gives the same weights to the bit on {device}.", device=device)
    else:
        probe.passed(
            "The same seed gives weights on {device} that differ by {error:.1e}, as rounding may; they are "
            "not the same to the bit.",
            device=device,
            error=max(errors),
        )


def _model(probe: Probe) -> Any:
    # Attention with dropout is not fused on MPS.
    options = {"dropout": DROPOUT, "attn_implementation": "eager"}
    model = small_model("llama", seed=probe.seed, layers=LAYERS, vocabulary=VOCABULARY, **options)
    return model.to(probe.accelerator.torch_device())


def _tolerance(probe: Probe, reference: "Dict[str, Any]") -> float:
    """See the module: relative difference of the weights that rounding may make."""
    errors = [relative_error(_train(probe, nudged_by=seed), reference) for seed in range(NUDGES)]
    return float(probe.parameters["steps"] * max(errors))


def _train(probe: Probe, *, nudged_by: Optional[int] = None) -> "Dict[str, Any]":
    """The weights after all steps from the run's seed."""
    import torch

    model = _model(probe)
    if nudged_by is not None:
        nudge(model, seed=nudged_by)
    optimizer = torch.optim.AdamW(model.parameters(), lr=probe.parameters["learning_rate"])
    torch.manual_seed(probe.seed)
    batches = [batch.to(probe.accelerator.torch_device()) for batch in _loader(probe)]
    train(model, batches, optimizer)
    return dict(weights(model))


def _loader(probe: Probe) -> Any:
    """A DataLoader over token ids that shuffles them from the run's seed."""
    import torch

    size = probe.parameters["batch_size"]
    count, length = probe.parameters["steps"] * size, probe.parameters["sequence_length"]
    tokens = learnable_tokens(count, length, vocabulary=VOCABULARY, seed=probe.seed)
    generator = torch.Generator().manual_seed(probe.seed)
    return torch.utils.data.DataLoader(tokens, batch_size=size, shuffle=True, generator=generator)


def _train_in_second_process(probe: Probe) -> "Dict[str, Any]":
    import torch

    output = probe.scratch / "weights.pt"
    second = probe.run_in_second_process("training", parameters={"output": str(output)})
    if second.status != "pass":
        probe.error("There is nothing to compare with, the second process: {reason}", reason=second.reason)
    return dict(torch.load(output, weights_only=True))


def run_training(probe: Probe) -> None:
    """In a process of its own: the same training, its weights left in a file."""
    import torch

    probe.accelerator.torch_device()
    torch.save(_train(probe), probe.parameters["output"])
    probe.passed("The weights were written.")


def _judge_forward(probe: Probe) -> None:
    import torch

    model = _model(probe).eval()
    tokens = next(iter(_loader(probe))).to(probe.accelerator.torch_device())
    with torch.no_grad():
        first, again = ({"logits": model(input_ids=tokens).logits.cpu()} for _ in range(2))
    tolerance = 0.0 if probe.device == "cpu" else gradient_bound("float32", layers=LAYERS)
    _judge_weights(probe, "forward_repeats", relative_error(again, first), tolerance)


def _judge_dropout(probe: Probe) -> None:
    """From one seed the same elements are dropped, from the next one others."""
    same, again, other = (_dropped(probe, seed) for seed in (probe.seed, probe.seed, probe.seed + 1))
    probe.expect("dropout_repeats", same == again, "the same elements", _alike(same, again))
    probe.expect("dropout_follows_seed", same != other, "other elements", _alike(same, other))


def _dropped(probe: Probe, seed: int) -> "List[bool]":
    import torch

    torch.manual_seed(seed)
    kept = torch.nn.functional.dropout(torch.ones(4096, device=probe.accelerator.torch_device()), 0.5)
    return [bool(value) for value in (kept == 0).tolist()]


def _judge_order(probe: Probe) -> None:
    first, again = ([row for batch in _loader(probe) for row in batch.tolist()] for _ in range(2))
    probe.expect("order_repeats", first == again, "the same elements", _alike(first, again))


def _alike(first: "List[Any]", other: "List[Any]") -> str:
    return f"{sum(one == two for one, two in zip(first, other))} of {len(first)} alike"


def _judge_weights(probe: Probe, name: str, error: float, tolerance: float) -> None:
    probe.measure(name + "_error", error, "1", better="lower")
    probe.expect(
        name,
        error <= tolerance,
        f"relative difference <= {tolerance:.1e}",
        f"{error:.1e}",
        "same to the bit on the CPU; elsewhere what a rounding of every weight does, times the steps",
    )
