"""Does training that is saved and resumed go on as if it had never stopped?

A small Llama with dropout in attention takes 6 AdamW steps on shuffled data with a falling learning rate.
After the third, weights, optimizer, scheduler, random state and position in the data are saved with
`torch.save`. A second process, which begins with other weights, loads them from the disk and takes the
remaining steps.

Losses and weights must be the same to the bit on the CPU. Elsewhere kernels may add in another order from one
run to the next: there they may differ by what one rounding does. That is measured: the steps are taken three
times more from the saved state with every weight moved by about one rounding, and the largest difference this
makes, times the number of steps, since every step rounds anew, is the tolerance.

A checkpoint cut in half, as a full disk or a kill leaves it, must be refused by `torch.load`. One flipped bit
among the weights is tried too: torch checks no checksum, so that it is reported whether it loads; the file is
a zip archive with a CRC-32 of every tensor, by which Python's `zipfile` must find the broken one.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Tuple

from llmenv_probe.sentences import shortened
from llmenv_probe.small_models import learnable_tokens, small_model
from llmenv_probe.training import nudge, relative_error, train, weights

if TYPE_CHECKING:
    from llmenv_agent.probe.context import Probe

ORDER = 250
SUITES = ("full",)
REQUIRES = ("torch", "transformers")
TIMEOUT_SECONDS = 600
TYPICAL_SECONDS = 10
PARAMETERS = {"steps_before": 3, "steps_after": 3, "batch_size": 4, "sequence_length": 32}
ALLOWED = {
    "steps_before": "1..1000",
    "steps_after": "1..100",
    "batch_size": "1..64",
    "sequence_length": "2..256",
}

VOCABULARY, DROPOUT, LEARNING_RATE, DECAY = 256, 0.1, 3e-3, 0.9
# The largest of so many: one draw of signs does up to six times what another does.
NUDGES = 3


class _State(NamedTuple):
    """Everything that training goes on from; `position` counts the batches that were taken."""

    model: Any
    optimizer: Any
    scheduler: Any
    position: int


def run(probe: Probe) -> None:
    probe.fact("device", str(probe.accelerator.torch_device()))
    path = probe.scratch / "checkpoint.pt"
    state = _begin(probe, seed=probe.seed)
    state, _ = _continue(probe, state, probe.parameters["steps_before"])
    _save(probe, state, path)
    probe.measure("checkpoint_size", path.stat().st_size, "byte")
    state, losses = _continue(probe, state, probe.parameters["steps_after"])

    resumed = _resume_in_second_process(probe, path)
    tolerance = _tolerance(probe, path, state.model) if probe.device != "cpu" else 0.0
    error = relative_error(resumed["weights"], weights(state.model))
    _judge(probe, resumed, losses, error, tolerance)
    _judge_torn(probe, path)
    loads = _judge_flipped(probe, path)
    flipped = "is loaded without a word" if loads else "is refused too"
    if error:
        probe.passed(
            "Training resumed in another process goes on as before, its weights {error:.1e} away; a torn "
            "file is refused, and one with a flipped bit {flipped}.",
            error=error,
            flipped=flipped,
        )
    else:
        probe.passed(
            "Training resumed in another process goes on to the same weights, to the bit; a torn file is "
            "refused, and one with a flipped bit {flipped}.",
            flipped=flipped,
        )


def _begin(probe: Probe, *, seed: int) -> _State:
    import torch

    # Attention with dropout is not fused on MPS.
    options = {"dropout": DROPOUT, "attn_implementation": "eager"}
    model = small_model("llama", seed=seed, vocabulary=VOCABULARY, **options)
    model = model.to(probe.accelerator.torch_device())
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=DECAY)
    torch.manual_seed(seed)
    return _State(model, optimizer, scheduler, 0)


def _continue(probe: Probe, state: _State, steps: int) -> "Tuple[_State, List[float]]":
    """The state after that many more steps, and the loss of each batch."""
    batches = _shuffled(probe)[state.position : state.position + steps]
    trained = train(state.model, batches, state.optimizer, scheduler=state.scheduler)
    return state._replace(position=state.position + steps), trained.losses


def _shuffled(probe: Probe) -> Any:
    """All batches of token ids (batches, sequences, tokens), in the order that the seed gives."""
    import torch

    size = probe.parameters["batch_size"]
    count = size * (probe.parameters["steps_before"] + probe.parameters["steps_after"])
    tokens = learnable_tokens(
        count, probe.parameters["sequence_length"], vocabulary=VOCABULARY, seed=probe.seed
    )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(probe.seed))
    return tokens[order].view(-1, size, tokens.shape[1]).to(probe.accelerator.torch_device())


def _save(probe: Probe, state: _State, path: Path) -> None:
    import torch

    torch.save(
        {
            "model": state.model.state_dict(),
            "optimizer": state.optimizer.state_dict(),
            "scheduler": state.scheduler.state_dict(),
            "position": state.position,
            "random": torch.get_rng_state(),
            "device_random": None if probe.device == "cpu" else getattr(torch, probe.device).get_rng_state(),
        },
        path,
    )


def _load(probe: Probe, state: _State, path: Path) -> _State:
    """`state` with everything replaced by what lies at `path`."""
    import torch

    saved = torch.load(path, map_location="cpu", weights_only=True)
    state.model.load_state_dict(saved["model"])
    state.optimizer.load_state_dict(saved["optimizer"])
    state.scheduler.load_state_dict(saved["scheduler"])
    torch.set_rng_state(saved["random"])
    if saved["device_random"] is not None:
        getattr(torch, probe.device).set_rng_state(saved["device_random"])
    return state._replace(position=saved["position"])


def _resume_in_second_process(probe: Probe, path: Path) -> "Dict[str, Any]":
    import torch

    output = probe.scratch / "resumed.pt"
    second = probe.run_in_second_process(
        "resumed", parameters={"checkpoint": str(path), "output": str(output)}
    )
    if second.status != "pass":
        probe.error("Training was not resumed, the second process: {reason}", reason=second.reason)
    return dict(torch.load(output, weights_only=True))


def run_resumed(probe: Probe) -> None:
    """In a process of its own: load, take the remaining steps, and leave losses and weights in a file."""
    import torch

    state = _load(probe, _begin(probe, seed=probe.seed + 1), Path(probe.parameters["checkpoint"]))
    start = state.position
    state, losses = _continue(probe, state, probe.parameters["steps_after"])
    found = {"start": start, "losses": losses, "weights": weights(state.model)}
    torch.save(found, probe.parameters["output"])
    probe.passed("The remaining steps were taken.")


def _tolerance(probe: Probe, path: Path, reference: Any) -> float:
    """See the module: relative difference of the weights that rounding may make."""
    steps, errors = probe.parameters["steps_after"], []
    for seed in range(NUDGES):
        state = _load(probe, _begin(probe, seed=probe.seed + 1), path)
        nudge(state.model, seed=seed)
        state, _ = _continue(probe, state, steps)
        errors.append(relative_error(weights(state.model), weights(reference)))
    return float(steps * max(errors))


def _judge(
    probe: Probe, resumed: "Dict[str, Any]", losses: "List[float]", error: float, tolerance: float
) -> None:
    start = probe.parameters["steps_before"]
    probe.expect("resumes_where_it_stopped", resumed["start"] == start, f"batch {start}", resumed["start"])
    difference = max(abs(one - other) / one for one, other in zip(losses, resumed["losses"]))
    probe.measure("resumed_loss_error", difference, "1", better="lower")
    probe.measure("resumed_weight_error", error, "1", better="lower")
    probe.fact("bit_identical", error == difference == 0)
    allowed = f"relative difference <= {tolerance:.1e}"
    source = "same to the bit on the CPU; elsewhere what a rounding of every weight does, times the steps"
    probe.expect("losses_continue", difference <= tolerance, allowed, f"{difference:.1e}", source)
    probe.expect("weights_continue", error <= tolerance, allowed, f"{error:.1e}", source)


def _judge_torn(probe: Probe, path: Path) -> None:
    whole = path.read_bytes()
    refusal = _refusal(_write(probe, "torn.pt", whole[: len(whole) // 2]))
    probe.expect("torn_file_refused", bool(refusal), "an error", refusal or "loaded without a word")


def _judge_flipped(probe: Probe, path: Path) -> bool:
    """Whether torch loads a file with one flipped bit; its CRC-32 has to tell."""
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 2] ^= 1
    flipped = _write(probe, "flipped.pt", bytes(changed))
    loads = not _refusal(flipped)
    probe.fact("flipped_bit_loads", loads)
    with zipfile.ZipFile(flipped) as archive:
        broken = archive.testzip()
    probe.expect(
        "checksum_finds_flipped_bit", broken is not None, "a broken entry", broken or "all entries whole"
    )
    return loads


def _write(probe: Probe, name: str, content: bytes) -> Path:
    path = probe.scratch / name
    path.write_bytes(content)
    return path


def _refusal(path: Path) -> str:
    """The first words of what torch.load raises; empty where it loads."""
    import pickle

    import torch

    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, pickle.UnpicklingError) as refusal:
        return str(shortened(f"{type(refusal).__name__}: {refusal}", limit=120))
    return ""
