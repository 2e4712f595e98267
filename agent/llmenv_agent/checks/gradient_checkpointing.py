"""Does gradient checkpointing lower peak memory as it should, and leave the gradients as they are?

With checkpointing a block keeps its input alone and is computed again on the way back. A GPT-2 and a Llama of
12 blocks, each a case, take one step with `gradient_checkpointing_enable` and one without.

Gradients: the same weights and tokens give the same gradients to `gradient_bound`, 6 unit roundoffs for each
of the 49 products on the longest way; the same kernels on the same device usually give the same bits.

Memory: what one block and what the ends of the model keep for the way back is counted here, tensor by tensor
(`saved_tensors_hooks`, models of one and of two blocks), since it depends on the kernels of this device.
Without checkpointing 12 blocks and the ends are alive at once. With it there are 12 inputs, the ends, the
block that is computed again, and the gradients that flow through it, at most as large again. The growth of
the peak over what stood before the step may be no more than the second sum, as a share of the first:

    (ends + 12 inputs + 2 blocks + slack) / (ends + 12 blocks)

The slack is 16 MB for what libraries touch for the first time in a step. Torch before 2.9 gives for MPS only
what its allocator holds, in heaps of 8 and 32 MB: then it is 40 MB more.

Each family has a process of its own. The peak of a process only rises, so the checkpointed step goes first;
what it left behind would count for both, and worsen the ratio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from llmenv_probe.peak_growth import ENVIRONMENT, PeakGrowth, granularity_bytes
from llmenv_probe.small_models import small_model
from llmenv_probe.training import gradient_bound, gradients, relative_error

if TYPE_CHECKING:
    from llmenv_agent.probe.cases import Case
    from llmenv_agent.probe.context import Probe

ORDER = 210
SUITES = ("full",)
REQUIRES = ("torch", "transformers")
TIMEOUT_SECONDS = 900
TYPICAL_SECONDS = 15
CASE_TIMEOUT_SECONDS = 400
PARAMETERS = {"layers": 12, "width": 64, "batch_size": 8, "sequence_length": 256}
ALLOWED = {"layers": "6..48", "width": "32..512 by 8", "batch_size": "4..64", "sequence_length": "64..1024"}

FAMILIES = ("gpt2", "llama")
VOCABULARY = 256
SLACK_BYTES = 16e6


class _Kept(NamedTuple):
    """Bytes kept for the way back by the ends of the model, by one block, and by the input of one block."""

    ends: float
    block: float
    boundary: float


def run(probe: Probe) -> None:
    probe.fact("device", str(probe.accelerator.torch_device()))
    for family in FAMILIES:
        if not probe.is_completed(family):
            with probe.case(family, **probe.parameters) as case:
                _examine(probe, case, family)


def _examine(probe: Probe, case: Case, family: str) -> None:
    kept = _count_kept(probe, family)
    layers = probe.parameters["layers"]
    plain = kept.ends + layers * kept.block
    arithmetic = f"{layers} blocks of {kept.block / 1e6:.1f} MB, twice"
    probe.require_memory(2 * plain, arithmetic, findings=case)
    _judge_gradients(probe, case, family)
    second = probe.run_in_second_process("peaks", environment=ENVIRONMENT, parameters={"family": family})
    if second.status != "pass":
        case.error("The peaks were not measured, the second process: {reason}", reason=second.reason)
    measured = second.measurements
    for name in ("plain_growth", "checkpointed_growth"):
        case.measure(name, measured[name], "byte", better="lower")
    case.fact("peak_source", second.facts["peak_source"])
    _judge_ratio(case, kept, layers, measured, source=second.facts["peak_source"])


def _judge_ratio(case: Case, kept: _Kept, layers: int, measured: "dict[str, float]", *, source: str) -> None:
    plain = kept.ends + layers * kept.block
    slack = SLACK_BYTES + granularity_bytes(source)
    needed = kept.ends + layers * kept.boundary + 2 * kept.block + slack
    ratio = measured["checkpointed_growth"] / measured["plain_growth"]
    case.measure("block_activations", kept.block, "byte")
    case.measure("peak_growth_ratio", ratio, "1", better="lower")
    if not ratio <= needed / plain:
        case.fail(
            "With checkpointing the peak grows by {checkpointed:.0f} MB and without by {plain:.0f} MB, "
            "a ratio of {ratio:.2f}, more than the {bound:.2f} that its activations explain.",
            checkpointed=measured["checkpointed_growth"] / 1e6,
            plain=measured["plain_growth"] / 1e6,
            ratio=ratio,
            bound=needed / plain,
        )
    case.passed(
        "Checkpointing leaves {share:.0f} % of the growth of the peak: {checkpointed:.0f} of {plain:.0f} MB, "
        "and the gradients as they are.",
        share=100 * ratio,
        checkpointed=measured["checkpointed_growth"] / 1e6,
        plain=measured["plain_growth"] / 1e6,
    )


def run_peaks(probe: Probe) -> None:
    """In a process of its own: growth of the peak in a step with checkpointing, then in one without."""
    probe.accelerator.torch_device()
    model = _model(probe, probe.parameters["family"], probe.parameters["layers"])
    tokens = _tokens(probe)
    # Libraries load parts of themselves in the first step.
    _set_checkpointing(model, on=True)
    _step(probe, model, tokens[:1, :8])
    growth = PeakGrowth(probe)
    for name, is_on in (("checkpointed_growth", True), ("plain_growth", False)):
        _set_checkpointing(model, on=is_on)
        _step(probe, model, tokens)
        probe.measure(name, growth.bytes(), "byte", better="lower")
    probe.fact("peak_source", growth.source())
    probe.passed("The peaks were measured.")


def _model(probe: Probe, family: str, layers: int) -> Any:
    shape = {"width": probe.parameters["width"], "positions": probe.parameters["sequence_length"]}
    model = small_model(family, seed=probe.seed, layers=layers, vocabulary=VOCABULARY, **shape)
    model.config.use_cache = False
    # In evaluation mode transformers does not checkpoint.
    return model.to(probe.accelerator.torch_device()).train()


def _tokens(probe: Probe) -> Any:
    import torch

    shape = probe.parameters["batch_size"], probe.parameters["sequence_length"]
    generator = torch.Generator().manual_seed(probe.seed)
    return torch.randint(VOCABULARY, shape, generator=generator).to(probe.accelerator.torch_device())


def _set_checkpointing(model: Any, *, on: bool) -> None:
    if on:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    else:
        model.gradient_checkpointing_disable()


def _step(probe: Probe, model: Any, tokens: Any) -> None:
    """A forward and a backward pass; gradients of an earlier one are freed first."""
    model.zero_grad(set_to_none=True)
    loss = model(input_ids=tokens, labels=tokens).loss
    # MPS before torch 2.9 has no peak: its memory is noted at each synchronize.
    probe.accelerator.synchronize()
    loss.backward()
    probe.accelerator.synchronize()


def _count_kept(probe: Probe, family: str) -> _Kept:
    """Counted for one sequence and multiplied: each is proportional to the sequences."""
    tokens = _tokens(probe)
    one, two = (_kept_bytes(_model(probe, family, layers), tokens[:1]) for layers in (1, 2))
    sequences = len(tokens)
    boundary = tokens.numel() * probe.parameters["width"] * 4
    return _Kept(sequences * (2 * one - two), sequences * (two - one), boundary)


def _kept_bytes(model: Any, tokens: Any) -> float:
    """Bytes of all storages that the forward pass keeps for the way back, without the parameters'."""
    import torch

    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def note(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        _loss = model(input_ids=tokens, labels=tokens).loss
    return float(sum(kept.values()))


def _judge_gradients(probe: Probe, case: Case, family: str) -> None:
    layers = probe.parameters["layers"]
    model, tokens = _model(probe, family, layers), _tokens(probe)[:1]
    found = []
    for is_on in (False, True):
        _set_checkpointing(model, on=is_on)
        _step(probe, model, tokens)
        found.append(gradients(model))
    error, bound = relative_error(found[1], found[0]), gradient_bound("float32", layers=layers)
    case.measure("gradient_error", error, "1", better="lower")
    if not error <= bound:
        case.fail(
            "Gradients with checkpointing are {error:.1e} away from those without, more than {bound:.1e}.",
            error=error,
            bound=bound,
        )
