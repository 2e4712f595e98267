"""Does memory stay level while training goes on?

A small language model takes AdamW steps: with one shape, with a new shape at every step (MPS has kept a
compiled graph for each, KI010), and with an LSTM, which has leaked by itself (KI012). After each block of
steps three figures are read, once garbage is collected, the device is idle and the C library has given back
what it keeps free: the process's own memory (the physical footprint on macOS, which shows what the counters
of torch.mps do not, KI013; VmRSS on Linux), and the accelerator's allocated and driver bytes.

The growth a step is the Theil-Sen slope of the blocks after the warm-up, the median of the slopes of all
pairs of them (Sen 1968, doi 10.1080/01621459.1968.10480934), which a single jump of an allocator does not
move. What leaks in a training is at least one tensor of each step. The bound is an eighth of the largest
logits, batch x tokens x vocabulary x 4 bytes / 8; changing shapes have half of that in the mean. A leak
below it, of some kilobytes a step, is measured and not called one.

oneDNN keeps compiled kernels of up to 1,024 shapes on the CPU, 72 kB a step here, which ends by itself: its
cache is off. One thread suffices, since nothing is timed.
"""

from __future__ import annotations

import gc
import random
from typing import TYPE_CHECKING, Any, NamedTuple

from llmenv_probe import memory
from llmenv_probe.slope import theil_sen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv_agent.probe.cases import Case
    from llmenv_agent.probe.context import Probe

ORDER = 140
SUITES = ("full",)
REQUIRES = ("torch",)
TIMEOUT_SECONDS = 900
CASE_TIMEOUT_SECONDS = 300
PARAMETERS = {"blocks": 16, "warmup_blocks": 4, "steps_per_block": 5, "batch_size": 4, "sequence_length": 64}
ENVIRONMENT = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "0", "OMP_NUM_THREADS": "1"}
ALLOWED = {
    "blocks": "3..1000",
    "warmup_blocks": "1..100",
    "steps_per_block": "1..100",
    "batch_size": "1..64",
    "sequence_length": "8..1024",
}
TYPICAL_SECONDS = 12

VOCABULARY, WIDTH = 2048, 64
SHARE_OF_LOGITS = 1 / 8


class Kind(NamedTuple):
    """What trains: `remedies` are the known issues by the figure that grows on MPS."""

    is_recurrent: bool
    shapes_change: bool
    remedies: "dict[str, str]"


KINDS = {
    "fixed_shape": Kind(False, False, {"process_memory": "KI013", "driver_memory": "KI011"}),
    "changing_shapes": Kind(False, True, {"process_memory": "KI010", "driver_memory": "KI010"}),
    "recurrent": Kind(True, False, {"process_memory": "KI012", "driver_memory": "KI012"}),
}


def run(probe: Probe) -> None:
    device = probe.accelerator.torch_device()
    probe.fact("device", str(device))
    probe.fact("process_memory_source", memory.current()[1])
    for name, kind in KINDS.items():
        if not probe.is_completed(name):
            with probe.case(name) as case:
                _judge(probe, case, kind, _train(probe, kind, device))


def _train(probe: Probe, kind: Kind, device: Any) -> "list[dict[str, float]]":
    """The figures after each block, the warm-up's first."""
    import torch

    torch.manual_seed(probe.seed)
    model = _model(is_recurrent=kind.is_recurrent).to(device)
    optimizer = torch.optim.AdamW(model.parameters())
    shapes = _shapes(probe, kind)
    readings = []
    for _ in range(probe.parameters["warmup_blocks"] + probe.parameters["blocks"]):
        for _ in range(probe.parameters["steps_per_block"]):
            _step(model, optimizer, torch.randint(VOCABULARY, next(shapes)).to(device))
        readings.append(_figures(probe))
    return readings


def _shapes(probe: Probe, kind: Kind) -> "Iterator[tuple[int, int]]":
    """Batch and tokens of each step, the largest first; where shapes change, none comes twice in a cycle."""
    largest = probe.parameters["batch_size"], probe.parameters["sequence_length"]
    others = [
        (batch, tokens)
        for batch in range(1, largest[0] + 1)
        for tokens in range(largest[1] // 2, largest[1] + 1)
    ]
    random.Random(probe.seed).shuffle(others)  # noqa: S311 # an order, no secret
    while True:
        yield largest
        if kind.shapes_change:
            yield from (shape for shape in others if shape != largest)


def _model(*, is_recurrent: bool) -> Any:
    """Embedding, a layer over the sequence, and an output layer: token ids (batch, tokens) to logits."""
    from torch import nn

    class Model(nn.Module):  # type: ignore[misc] # torch has no types here
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(VOCABULARY, WIDTH)
            self.block = nn.LSTM(WIDTH, WIDTH, batch_first=True) if is_recurrent else Block()
            self.output = nn.Linear(WIDTH, VOCABULARY)

        def forward(self, tokens: Any) -> Any:
            hidden = self.block(self.embedding(tokens))
            return self.output(hidden[0] if is_recurrent else hidden)

    class Block(nn.Module):  # type: ignore[misc] # torch has no types here
        def __init__(self) -> None:
            super().__init__()
            self.norms = nn.ModuleList([nn.LayerNorm(WIDTH) for _ in range(2)])
            self.joined, self.merged = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
            self.wide = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

        def forward(self, hidden: Any) -> Any:
            batch, tokens, _ = hidden.shape
            joined = self.joined(self.norms[0](hidden)).view(batch, tokens, 3, 4, WIDTH // 4)
            query, key, value = joined.permute(2, 0, 3, 1, 4)
            looked = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
            hidden = hidden + self.merged(looked.transpose(1, 2).reshape(batch, tokens, WIDTH))
            return hidden + self.wide(self.norms[1](hidden))

    return Model()


def _step(model: Any, optimizer: Any, tokens: Any) -> Any:
    """One step towards predicting each token from itself; returns the logits."""
    from torch.nn.functional import cross_entropy

    optimizer.zero_grad()
    logits = model(tokens)
    cross_entropy(logits.flatten(0, 1), tokens.flatten()).backward()
    optimizer.step()
    return logits


def _figures(probe: Probe) -> "dict[str, float]":
    """Bytes held now, by the name of the figure; only those that this system and this device have."""
    import torch

    gc.collect()
    probe.accelerator.synchronize()
    memory.give_back()
    figures = {"process_memory": memory.current()[0]}
    if probe.device == "cuda":
        figures["allocated_memory"] = float(torch.cuda.memory_allocated())
        figures["driver_memory"] = float(torch.cuda.memory_reserved())
    elif probe.device == "mps":
        figures["allocated_memory"] = float(torch.mps.current_allocated_memory())
        figures["driver_memory"] = float(torch.mps.driver_allocated_memory())
    return {name: value for name, value in figures.items() if value is not None}


def _judge(probe: Probe, case: Case, kind: Kind, readings: "list[dict[str, float]]") -> None:
    parameters = probe.parameters
    bound = SHARE_OF_LOGITS * parameters["batch_size"] * parameters["sequence_length"] * VOCABULARY * 4
    slopes = {name: _record(probe, case, name, [each[name] for each in readings]) for name in readings[0]}
    case.fact("growth_bound", bound, "byte/step")
    growing = {name: slope for name, slope in slopes.items() if slope > bound}
    values = {"steps": parameters["blocks"] * parameters["steps_per_block"], "bound": bound}
    if not slopes:
        case.error("This system does not say how much memory a process has.")
    elif growing:
        name = max(growing, key=lambda each: growing[each])
        case.fail(
            "{name} grows by {slope:,.0f} bytes a step over {steps} steps; {bound:,.0f} are allowed.",
            remedy=kind.remedies.get(name) if probe.device == "mps" else None,
            name=name,
            slope=growing[name],
            **values,
        )
    case.passed(
        "Memory stays level over {steps} steps: at most {slope:,.0f} bytes a step, {bound:,.0f} are allowed.",
        slope=max(0.0, *slopes.values()),
        **values,
    )


def _record(probe: Probe, case: Case, name: str, series: "list[float]") -> float:
    """Measure the series and its growth in bytes a step, which is returned."""
    warmups, trials = series[: probe.parameters["warmup_blocks"]], series[probe.parameters["warmup_blocks"] :]
    case.measure(name, None, "byte", better="lower", trials=trials, warmups=warmups)
    slope = theil_sen(trials) / probe.parameters["steps_per_block"]
    return case.measure(name.replace("_memory", "_growth"), slope, "byte/step", better="lower")
