"""How many batches a second does a DataLoader hand over, in this process and from workers?

Token ids of texts of one length, in batches, as int64 on the CPU. Workers are spawned, as on macOS, and
stay for all trials, so that their start is not part of one. A trial is one pass over the texts or several.

Every text must come once and in order: the ids are their own positions, and are added up. How trials are
taken and judged is said in `llmenv_probe.timing` and `llmenv_probe.trials`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmenv_probe.timing import Timer

if TYPE_CHECKING:
    from llmenv_agent.probe.context import Probe
    from llmenv_agent.probe.findings import Findings

ORDER = 370
SUITES = ("bench",)
REQUIRES = ("torch",)
TIMEOUT_SECONDS = 600
TYPICAL_SECONDS = 11
# Workers deadlock on some Pythons; a case that hangs must leave the others.
CASE_TIMEOUT_SECONDS = 150
PARAMETERS = {
    "workers": [0, 2],
    "texts": 2048,
    "length": 512,
    "batch_size": 16,
    "trials": 10,
    "trial_seconds": 0.1,
    "cooldown_seconds": 2.0,
}
ALLOWED = {
    "workers": "list of 0..64",
    "texts": "1..65536",
    "length": "1..65536",
    "batch_size": "1..65536",
    "trials": "10..1000",
    "trial_seconds": "0.001..60.0",
    "cooldown_seconds": "0.0..600.0",
}

ID_BYTES = 8


def run(probe: Probe) -> None:
    timer = Timer(probe)
    shape = {name: probe.parameters[name] for name in ("texts", "length", "batch_size")}
    for workers in probe.parameters["workers"]:
        name = f"workers={workers}"
        if not probe.is_completed(name):
            with timer.case(name, workers=workers, **shape) as case:
                _require_memory(probe, case, workers=workers, **shape)
                _measure(timer, case, workers=workers, **shape)


def _require_memory(
    probe: Probe, case: Findings, *, workers: int, texts: int, length: int, batch_size: int
) -> None:
    """The texts, which workers share, and batches on their way: two of each worker and one here."""
    rows = texts + (1 + 2 * workers) * batch_size
    probe.require_memory(ID_BYTES * length * rows, f"{ID_BYTES} bytes x {length} x {rows}", findings=case)


def _measure(timer: Timer, case: Findings, *, workers: int, texts: int, length: int, batch_size: int) -> None:
    import torch

    tokens = torch.arange(texts)[:, None].expand(texts, length).contiguous()
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(tokens),
        batch_size=batch_size,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context="spawn" if workers else None,
    )
    _refuse_disorder(case, loader, texts)
    series = timer.time(lambda: _drain(loader))
    rate = series.measure_rate(case, "batches_per_second", "1/s", work=len(loader))
    series.measure_rate(case, "tokens_per_second", "token/s", work=tokens.numel())
    case.passed("{rate:.1f} batches/s with {workers} workers.", rate=rate, workers=workers)


def _refuse_disorder(case: Findings, loader: Any, texts: int) -> None:
    came = [int(first) for (batch,) in loader for first in batch[:, 0]]
    if came != list(range(texts)):
        case.fail("{came} texts came instead of {texts}, or in another order.", came=len(came), texts=texts)


def _drain(loader: Any) -> int:
    """Tokens of one pass."""
    return sum(int(batch.numel()) for (batch,) in loader)
