"""checkpoint_resume: everything that training goes on from is saved, and what is left out is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import CheckRunner

pytestmark = pytest.mark.training


def test_resumed_training_is_the_same_to_the_bit(run_check: CheckRunner) -> None:
    """A torn file is refused; a flipped bit is found by the archive's own checksum."""
    observed = run_check("checkpoint_resume")
    assert observed.status == "pass", observed.reason
    assert (observed.measured["resumed_weight_error"], observed.measured["resumed_loss_error"]) == (0, 0)
    assert observed.facts["bit_identical"] is True
    assert observed.met == [
        "resumes_where_it_stopped",
        "losses_continue",
        "weights_continue",
        "torn_file_refused",
        "checksum_finds_flipped_bit",
    ]


@pytest.mark.parametrize(
    "planted",
    [
        "import torch\ntorch.set_rng_state = lambda state: None",
        "import torch\ntorch.optim.AdamW.load_state_dict = lambda self, state: None",
    ],
    ids=["random state", "moments"],
)
def test_what_is_not_restored_changes_the_weights(run_check: CheckRunner, planted: str) -> None:
    """Other dropout, or moments that begin at zero, end at other weights."""
    observed = run_check("checkpoint_resume", planted=planted)
    assert observed.status == "fail"
    assert observed.unmet == ["losses_continue", "weights_continue"]


def test_position_that_is_lost_fails(run_check: CheckRunner) -> None:
    """Training that begins again with the first batch sees the same data twice."""
    planted = """
        global _load
        load = _load
        def _load(probe, state, path):
            return load(probe, state, path)._replace(position=0)
    """
    observed = run_check("checkpoint_resume", planted=planted)
    assert observed.unmet == ["resumes_where_it_stopped", "losses_continue", "weights_continue"]


def test_damage_that_nobody_reports_fails(run_check: CheckRunner) -> None:
    """A torch that reads half a file as if it were whole, and an archive without checksums."""
    planted = """
        import torch, zipfile
        load = torch.load
        def forgiving(path, **options):
            return {} if "torn" in str(path) else load(path, **options)
        torch.load = forgiving
        zipfile.ZipFile.testzip = lambda self: None
    """
    observed = run_check("checkpoint_resume", planted=planted)
    assert observed.unmet == ["torn_file_refused", "checksum_finds_flipped_bit"]


def test_tolerance_is_what_a_rounding_does(run_check: CheckRunner) -> None:
    """Away from the CPU a difference of some roundings is allowed, and one of 1e-3 is not."""
    planted = """
        global _resume_in_second_process, weights
        resume, tolerance, right = _resume_in_second_process, _tolerance, weights
        def _resume_in_second_process(probe, path):
            found = resume(probe, path)
            probe.device = "cuda"
            probe.expectations.append(
                {"name": "tolerance", "met": 1e-7 < tolerance(probe, path, found_model(probe, path)) < 1e-3,
                 "expected": "some roundings", "observed": "another", "source": ""})
            found["weights"] = {name: 1.001 * each for name, each in found["weights"].items()}
            return found
        def found_model(probe, path):
            state, _ = _continue(probe, _load(probe, _begin(probe, seed=1), path), 3)
            return state.model
    """
    observed = run_check("checkpoint_resume", planted=planted)
    assert observed.met[0] == "tolerance"
    assert observed.unmet == ["weights_continue"]
