"""dataloader_workers: other batches, seeds and processes than there should be fail, and so does a hang."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import CheckRunner, Observed

pytestmark = pytest.mark.training

FEW = {"items": 8, "batch_size": 2}
ONE_CASE = """
    global CASES
    CASES = {{"{case}": CASES["{case}"]}}
"""


def reasons(observed: Observed) -> dict[str, str]:
    return {case.name: case.reason.text for case in observed.result.cases}


def test_workers_give_what_none_gives(run_check: CheckRunner) -> None:
    """The same batches, seeds of their own, and no process left."""
    observed = run_check("dataloader_workers", FEW)
    assert observed.status == "pass", observed.reason
    assert observed.cases == {
        "batches": "pass",
        "persistent_workers": "pass",
        "worker_seeds": "pass",
        "pin_memory": "skip",
    }


def test_other_values_one_seed_and_lost_workers_fail(run_check: CheckRunner) -> None:
    """A worker that changes a row, that draws what its neighbour draws, and that is not kept."""
    planted = """
        global SOURCE, _Loaders
        SOURCE = SOURCE.replace("(1 + number)", "(1 + number + int(os.getpid() % 7 * 1000 + 1000))")
        SOURCE = SOURCE.replace(
            "torch.rand((), dtype=torch.float64)",
            "torch.rand((), generator=torch.Generator().manual_seed(number // 2))",
        )
        loader = _Loaders.loader
        def new_workers(self, **options):
            options.pop("persistent_workers", None)
            return loader(self, **options)
        _Loaders.loader = new_workers
    """
    observed = run_check("dataloader_workers", FEW, planted=planted)
    found = reasons(observed)
    assert {name for name, status in observed.cases.items() if status == "fail"} == {
        "batches",
        "persistent_workers",
        "worker_seeds",
    }
    assert "other values" in found["batches"]
    assert found["persistent_workers"].startswith("Persistent workers were started again")
    assert "one seed" in found["worker_seeds"]


def test_numbers_that_do_not_repeat_fail(run_check: CheckRunner) -> None:
    """A worker that seeds itself from the system draws others each time."""
    planted = (
        ONE_CASE.format(case="worker_seeds")
        + """
    global SOURCE
    SOURCE = SOURCE.replace("torch.rand((), dtype=torch.float64)", "int.from_bytes(os.urandom(6), 'big')")
    """
    )
    observed = run_check("dataloader_workers", FEW, planted=planted)
    assert reasons(observed) == {"worker_seeds": "The same seed gave the workers other random numbers."}


def test_workers_that_hang_fail_with_the_remedy(run_check: CheckRunner) -> None:
    """No batch in time: the known deadlock of data loader workers."""
    planted = (
        ONE_CASE.format(case="batches")
        + """
    global SOURCE
    sleep = "torch.utils.data.get_worker_info() and __import__('time').sleep(600)"
    SOURCE = SOURCE.replace("row =", sleep + "\\n        row =")
    """
    )
    observed = run_check("dataloader_workers", FEW, brief={"batch_seconds": 15}, planted=planted)
    assert reasons(observed) == {"batches": "The workers gave no batch within 15 s."}
    assert (observed.status, observed.result.remedy_id) == ("fail", "KI080")


def test_memory_that_is_not_pinned_is_a_warning(run_check: CheckRunner) -> None:
    """torch warns on MPS, and as here where there is no accelerator, and gives ordinary memory."""
    planted = ONE_CASE.format(case="pin_memory") + '\n    probe.device = "mps"\n'
    observed = run_check("dataloader_workers", FEW, planted=planted)
    assert (observed.status, observed.result.remedy_id) == ("warn", "KI081")
    assert "pin_memory" in reasons(observed)["pin_memory"]


def test_too_few_items_for_two_workers_are_an_error(run_check: CheckRunner) -> None:
    """A worker without a batch would look like one that was not started."""
    observed = run_check("dataloader_workers", {"items": 4, "batch_size": 4})
    assert (observed.status, list(observed.cases)) == ("error", [])
