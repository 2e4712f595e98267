"""Do a DataLoader's spawned workers give the batches that none gives, with seeds of their own, and end?

Two workers are spawned, as on macOS, over a data set whose module is written here, since a spawned process
has to import it. Shuffled from the run's seed, their first epoch must be that of num_workers=0, in the same
order and with the same bits. (Persistent workers draw their seed once, so torch shuffles their second epoch
otherwise; it must have every item once, as it is, and come from the same processes.) Each item draws a random
number in its worker: no two may be the same, a second loader of the same seed must draw the same, and one of
another seed others. The workers must end with their loader.

Workers deadlock on some Pythons (KI080): a loader that waits longer than `batch_seconds` for a batch raises,
which is a failure here. pin_memory has no effect on MPS (KI081): a batch that is not pinned is a warning.
"""

from __future__ import annotations

import functools
import gc
import os
import sys
import time
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmenv_agent.probe.cases import Case
    from llmenv_agent.probe.context import Probe

ORDER = 280
SUITES = ("full",)
REQUIRES = ("torch",)
TIMEOUT_SECONDS = 600
CASE_TIMEOUT_SECONDS = 250
TYPICAL_SECONDS = 6
PARAMETERS = {"items": 32, "batch_size": 4, "batch_seconds": 120}
ALLOWED = {"items": "2..10000", "batch_size": "1..1000", "batch_seconds": "30..600"}

WORKERS = 2
MODULE = "llmenv_scratch_items"
ENDS_WITHIN_SECONDS = 10.0
SOURCE = '''
import os
import torch


class Items(torch.utils.data.Dataset):
    """Item n: its number, a row that only it has, a random number, and the process that made it."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, number):
        row = torch.arange(8, dtype=torch.float32) / (1 + number)
        return number, row, torch.rand((), dtype=torch.float64), os.getpid()
'''


class Epoch(NamedTuple):
    """What a loader gave in one pass, item by item."""

    numbers: "list[int]"
    rows: "list[list[float]]"
    draws: "list[float]"
    processes: "list[int]"


def run(probe: Probe) -> None:
    items, batch_size = probe.parameters["items"], probe.parameters["batch_size"]
    if items < WORKERS * batch_size:
        probe.error(
            "{items} items of batch_size {size} leave a worker without work.", items=items, size=batch_size
        )
    (probe.scratch / f"{MODULE}.py").write_text(SOURCE, encoding="utf-8")
    # A spawned worker is given this process's path.
    sys.path.insert(0, str(probe.scratch))
    loaders = _Loaders(probe)
    for name, judge in CASES.items():
        if not probe.is_completed(name):
            with probe.case(name) as case:
                _judge_in_time(case, judge, loaders)


def _judge_in_time(case: Case, judge: "Callable[[Case, _Loaders], None]", loaders: _Loaders) -> None:
    try:
        judge(case, loaders)
    except RuntimeError as error:
        if "timed out" not in str(error):
            raise
        case.fail("The workers gave no batch within {seconds} s.", "KI080", seconds=loaders.batch_seconds)


class _Loaders:
    """Makes loaders of the same items, shuffled from the run's seed, and remembers what they gave."""

    def __init__(self, probe: Probe) -> None:
        self.items = import_module(MODULE).Items(probe.parameters["items"])
        self.batch_seconds = probe.parameters["batch_seconds"]
        self.seed = probe.seed
        self.device = probe.device
        self._batch_size = probe.parameters["batch_size"]

    def loader(self, *, workers: int = WORKERS, seed: "int | None" = None, **options: Any) -> Any:
        """`seed` is that of the shuffle and, by way of a number drawn from it, of the workers."""
        import torch

        if workers:
            options = {"multiprocessing_context": "spawn", "timeout": self.batch_seconds, **options}
        return torch.utils.data.DataLoader(
            self.items,
            batch_size=self._batch_size,
            shuffle=True,
            num_workers=workers,
            generator=torch.Generator().manual_seed(self.seed if seed is None else seed),
            **options,
        )

    @functools.cached_property
    def persistent(self) -> "tuple[list[Epoch], list[int]]":
        """Two epochs of persistent workers, and which of them were still there some time afterwards."""
        loader = self.loader(persistent_workers=True)
        epochs = [_epoch(loader), _epoch(loader)]
        del loader
        gc.collect()
        return epochs, _still_there({each for epoch in epochs for each in epoch.processes})


def _epoch(loader: Any) -> Epoch:
    columns: "tuple[list[Any], ...]" = ([], [], [], [])
    for batch in loader:
        for column, values in zip(columns, batch):
            column.extend(values.tolist())
    return Epoch(*columns)


def _still_there(processes: "set[int]") -> "list[int]":
    """Those that have not ended within ten seconds."""
    deadline = time.monotonic() + ENDS_WITHIN_SECONDS
    left = [each for each in sorted(processes) if _exists(each)]
    while left and time.monotonic() < deadline:
        time.sleep(0.1)
        left = [each for each in left if _exists(each)]
    return left


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _judge_batches(case: Case, loaders: _Loaders) -> None:
    """The first epoch in the order that it has without workers; any has every item once, as it is."""
    wanted = _epoch(loaders.loader(workers=0))
    epochs, _ = loaders.persistent
    if epochs[0].numbers != wanted.numbers:
        case.fail("The workers gave other items than none did, or in another order.")
    rows = dict(zip(wanted.numbers, wanted.rows))
    for number, epoch in enumerate([wanted, *epochs]):
        if sorted(epoch.numbers) != list(range(len(loaders.items))):
            case.fail("Epoch {number} does not have each item once.", number=number)
        if epoch.rows != [rows[each] for each in epoch.numbers]:
            case.fail("In epoch {number} the workers gave other values.", number=number)
    case.passed("Two epochs of {count} items are those without workers.", count=len(loaders.items))


def _judge_processes(case: Case, loaders: _Loaders) -> None:
    (first, second), left = loaders.persistent
    workers = set(first.processes)
    if len(workers) != WORKERS or os.getpid() in workers:
        case.fail(
            "{count} processes made the items, not {wanted} others.", count=len(workers), wanted=WORKERS
        )
    if set(second.processes) != workers:
        case.fail("Persistent workers were started again for the second epoch.")
    if left:
        case.fail("{count} workers were still there 10 s after their loader.", "KI080", count=len(left))
    case.passed("{count} workers stayed for two epochs and ended with their loader.", count=len(workers))


def _judge_seeds(case: Case, loaders: _Loaders) -> None:
    draws = loaders.persistent[0][0].draws
    again = _epoch(loaders.loader()).draws
    other = _epoch(loaders.loader(workers=1, seed=loaders.seed + 1)).draws
    if len(set(draws)) != len(draws):
        case.fail("Two items drew the same random number: the workers have one seed.")
    if again != draws:
        case.fail("The same seed gave the workers other random numbers.")
    if set(other) & set(draws):
        case.fail("Another seed gave the workers the same random numbers.")
    case.passed("Workers draw different numbers, the same ones for the same seed.")


def _judge_pinned_memory(case: Case, loaders: _Loaders) -> None:
    """Page-locked batches, which a copy to an accelerator can take without waiting."""
    if loaders.device == "cpu":
        case.skip("The CPU has no use for pinned memory.")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        batch = next(iter(loaders.loader(workers=0, pin_memory=True)))
    if not batch[1].is_pinned():
        words = str(caught[0].message) if caught else "no warning"
        case.warn(
            "pin_memory has no effect on {device}: {words}", "KI081", device=loaders.device, words=words
        )
    case.passed("Batches are pinned for {device}.", device=loaders.device)


CASES: "dict[str, Callable[[Case, _Loaders], None]]" = {
    "batches": _judge_batches,
    "persistent_workers": _judge_processes,
    "worker_seeds": _judge_seeds,
    "pin_memory": _judge_pinned_memory,
}
