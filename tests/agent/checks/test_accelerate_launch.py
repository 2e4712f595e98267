"""accelerate_launch: two processes that do not train as one fail, and none is left behind."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import CheckRunner

pytestmark = pytest.mark.training


def exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_two_processes_train_as_one(run_check: CheckRunner) -> None:
    """The weights differ by rounding, far less than they moved."""
    observed = run_check("accelerate_launch")
    assert observed.status == "pass", observed.reason
    assert observed.measured["processes"] == 2
    assert 0 < observed.measured["weight_error"] <= observed.measured["weight_error_bound"]


def test_gradients_that_are_not_averaged_fail(run_check: CheckRunner) -> None:
    """Each process trains alone on its half of the batch."""
    planted = """
        global SCRIPT
        SCRIPT = SCRIPT.replace(
            "model, optimizer, loader = accelerator.prepare(model, optimizer, loader)",
            "loader = accelerator.prepare(loader)",
        )
    """
    observed = run_check("accelerate_launch", planted=planted)
    assert observed.unmet == ["processes_agree", "weights_of_one_process"]


def test_one_process_and_a_wrong_gradient_fail(run_check: CheckRunner) -> None:
    """`--cpu` starts one process whatever is asked for, and its gradient is 1 % too large."""
    planted = """
        global SCRIPT
        SCRIPT = SCRIPT.replace("loss = 0.5 *", "loss = 0.505 *")
        run = subprocess.run
        def run_one(command, **options):
            return run(["--cpu" if each == "--multi_gpu" else each for each in command], **options)
        subprocess.run = run_one
    """
    observed = run_check("accelerate_launch", planted=planted)
    assert observed.unmet == ["two_processes", "weights_of_one_process"]
    assert observed.measured["processes"] == 1


def test_training_that_does_nothing_fails(run_check: CheckRunner) -> None:
    """Weights that never move are equal, and prove nothing."""
    planted = """
        global _learning_rate, _launch
        _learning_rate = lambda *_: 0.0
        def _launch(probe, *_):
            for rank in range(2):
                zeros = [[0.0] * INPUTS] * OUTPUTS
                report = {"processes": 2, "backend": "gloo", "device": "cpu", "weight": zeros}
                (probe.scratch / f"rank{rank}.json").write_text(json.dumps(report))
    """
    assert run_check("accelerate_launch", planted=planted).unmet == ["weights_move"]


def test_launch_that_hangs_fails_and_leaves_no_process(run_check: CheckRunner, tmp_path: Path) -> None:
    """torch gives its workers sessions of their own; they end when their launcher is killed."""
    planted = f"""
        global SCRIPT
        note = "open({str(tmp_path)!r} + '/worker' + str(os.getpid()), 'w'); time.sleep(600)"
        SCRIPT = SCRIPT.replace("import torch", note + "\\nimport torch", 1)
    """
    observed = run_check("accelerate_launch", {"launch_seconds": 60}, planted=planted)
    workers = [int(path.name.removeprefix("worker")) for path in tmp_path.glob("worker*")]
    assert observed.reason == "accelerate launch did not end within 60 s."
    assert len(workers) == 2
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and any(exists(each) for each in workers):
        time.sleep(0.1)
    assert [each for each in workers if exists(each)] == []
