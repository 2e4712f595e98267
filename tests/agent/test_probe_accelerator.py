"""A device that is not there is a fail with what the library said, never a run on the CPU."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from llmenv.fleet.v1 import result_pb2
from llmenv_agent.definitions import read_definition
from llmenv_agent.runner import run_check
from llmenv_agent.targets import target_from

if TYPE_CHECKING:
    from pathlib import Path

CHECK = '''"""Is the device there?"""

SUITES = ()
REQUIRES = ("torch",)
TIMEOUT_SECONDS = 120
PARAMETERS = {}


def run(probe):
    device = probe.accelerator.torch_device()
    probe.accelerator.synchronize()
    probe.fact("device", str(device))
    probe.passed("It is there.")
'''


def run_on(device: str, python: Path, folder: Path) -> result_pb2.Result:
    path = folder / "present.py"
    path.write_text(CHECK)
    return run_check(read_definition(path), target=target_from(str(python)), device=device)


@pytest.mark.training
def test_cpu_is_always_there(training_python: Path, tmp_path: Path) -> None:
    """On the CPU there is a device and no accelerator's memory."""
    result = run_on("cpu", training_python, tmp_path)
    assert result.status == result_pb2.STATUS_PASS
    assert result.facts[0].text == "cpu"
    assert result.peak_memory.accelerator_source == ""
    assert result.import_seconds > 0.1


@pytest.mark.training
@pytest.mark.skipif(sys.platform == "darwin", reason="MPS may be there")
def test_missing_mps_is_a_fail_with_the_librarys_words(training_python: Path, tmp_path: Path) -> None:
    """MPS where there is none fails by an operation that was tried, and the exception is kept."""
    result = run_on("mps", training_python, tmp_path)
    assert result.status == result_pb2.STATUS_FAIL
    assert result.reason.text.startswith("MPS cannot be used by torch 2.")
    assert result.error.type
    assert len(result.facts) == 0
