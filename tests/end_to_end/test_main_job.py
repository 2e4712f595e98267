"""The main job as people do it: the demo, a local check, a question in SQL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from google.protobuf import json_format
from llmenv.catalog.status import WORDS
from llmenv.fleet.v1.run_pb2 import Run

from .conftest import check_processes

if TYPE_CHECKING:
    from .conftest import Fleet

REPOSITORY = Path(__file__).resolve().parents[2]
# An interpreter without torch: every check still has its process, its records and its verdict.
BARE_PYTHON = Path(sys.executable)
# In a bare interpreter the suite ends before a second one has started: a lab's own check does not.
TAKES_TIME = """
'Does time pass?'

import time

ORDER = 0
SUITES = ("quick",)
REQUIRES = ()
TIMEOUT_SECONDS = 60
PARAMETERS = {}


def run(probe):
    time.sleep(6)
    probe.passed("It does.")
"""
CHECKS = {
    "packages",
    "settings",
    "torch_basics",
    "torch_training",
    "transformers_generate",
    "peft_lora",
    "mlx_native",
    "torch_quantization",
}


def words(run: Run) -> dict[str, str]:
    return {result.check_name: WORDS[result.status] for result in run.results}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_demo_ends_with_a_report_and_can_be_run_again(tmp_path: Path) -> None:
    """Also where nothing is ready: the verdicts do not make the command fail."""
    environment = {**os.environ, "LLMENV_DEMO": str(tmp_path), "LLMENV_TRAINING_PYTHON": str(BARE_PYTHON)}
    for _ in range(2):
        ended = subprocess.run(
            [str(REPOSITORY / "deploy" / "demo.sh")],
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert "0 of 1 environments are ready for training." in ended.stdout
        assert f"The data is in {tmp_path}" in ended.stderr
        assert "llmenv run list" in ended.stderr


@pytest.mark.slow
def test_what_the_agent_saw_is_what_people_are_shown(fleet: Fleet) -> None:
    """One run through spool, stream, store and back, compared with the questions people ask."""
    configuration = fleet.configure(BARE_PYTHON)
    assert fleet.start_agent(configuration).wait(timeout=120) == 0

    runs = json.loads(fleet.call("llmenv", "run", "list", "--format", "json").stdout)
    shown = fleet.call("llmenv", "run", "show", runs[0]["run_id"], "--format", "json").stdout
    run = json_format.Parse(shown, Run())
    assert set(words(run)) == CHECKS
    assert words(run)["torch_basics"] == "error"
    assert {result.error.missing for result in run.results if result.check_name == "torch_basics"} == {
        "torch"
    }

    query = "SELECT check_name, status FROM v1.results ORDER BY check_name"
    answer = json.loads(fleet.call("llmenv", "sql", query, "--format", "json").stdout)
    assert {row["check_name"]: row["status"] for row in answer} == words(run)


@pytest.mark.slow
def test_a_local_check_waits_for_the_run_of_the_agent(fleet: Fleet) -> None:
    """One run at a time a machine: the second says whom it waits for, and begins after it."""
    folder = fleet.folder / "checks"
    folder.mkdir()
    (folder / "takes_time.py").write_text(TAKES_TIME)
    configured = fleet.configure(BARE_PYTHON, "[agent]", f'checks_folders = ["{folder}"]')
    agent = fleet.start_agent(configured)
    end = time.monotonic() + 90
    while not check_processes(agent.pid):
        assert time.monotonic() < end, "no check started"
        time.sleep(0.01)
    local = fleet.call("llmenv", "check", "--target", str(BARE_PYTHON), "--format", "json", codes=(1,))
    assert agent.wait(timeout=120) == 0
    assert f"pid {agent.pid}" in local.stderr
    first = json.loads(fleet.call("llmenv", "run", "list", "--format", "json").stdout)[0]
    assert first["ended_at"] <= json.loads(local.stdout)["started_at"]


@pytest.mark.slow
@pytest.mark.training
def test_the_quick_suite_observes_the_published_figures(quick_suite: Run) -> None:
    """On the CPU every check of the quick suite passes, and counts what the papers say."""
    assert words(quick_suite) == dict.fromkeys(CHECKS, "pass")
    measured = {
        (result.check_name, each.name): each.value
        for result in quick_suite.results
        for each in result.measurements
    }
    assert measured["torch_training", "parameters"] == 74_826
    assert measured["transformers_generate", "parameters"] == 124_439_808
    assert measured["peft_lora", "trainable_parameters"] == 1_179_648
    assert measured["peft_lora", "total_parameters"] == 125_619_456
