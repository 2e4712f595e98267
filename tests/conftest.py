"""What tests of every program share: where recordings of real Macs and the target environment are."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers
from llmenv.fleet.v1.run_pb2 import Run

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parent.parent
AGENT = Path(sys.executable).parent / "llmenv-agent"
# How long examples take is decided by what else the machine does.  They are the same every time, so that a
# commit fails for what it changes; `pytest --hypothesis-profile searching` makes up others.
for profile, is_fixed in (("searching", False), ("unhurried", True)):
    settings.register_profile(
        profile, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=is_fixed
    )
settings.load_profile("unhurried")
# Else numbers in the source of whatever the worker happened to load are among them; there is no setting.
providers._get_local_constants = lambda: providers._local_constants


@pytest.fixture(scope="session", autouse=True)
def own_run_lock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A lock of this worker's own: its runs wait neither for another worker's nor for the machine's agent."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMENV_RUN_LOCK", str(tmp_path_factory.mktemp("lock") / "run.lock"))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_keyring() -> Iterator[None]:
    """No test leaves a token in the keyring of whoever runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMENV_KEYRING", "never")
        yield


@pytest.fixture(scope="session")
def mac_recordings() -> Path:
    """Folder of recordings of real Macs (LLMENV_RECORDINGS, or shared/macs beside the checkout)."""
    folder = Path(os.environ.get("LLMENV_RECORDINGS", REPOSITORY.parent / "shared" / "macs"))
    if not folder.is_dir():
        pytest.skip(f"no recordings of real Macs at {folder}; set LLMENV_RECORDINGS")
    return folder


@pytest.fixture(scope="session")
def training_python() -> Path:
    """Interpreter of an environment to train in (LLMENV_TRAINING_PYTHON, or .venv-train)."""
    python = Path(os.environ.get("LLMENV_TRAINING_PYTHON", REPOSITORY / ".venv-train" / "bin" / "python"))
    if not python.exists():
        pytest.skip(f"no training environment at {python}; `make test` builds one")
    return python


@pytest.fixture(scope="session")
def quick_suite(training_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run of the quick suite on the CPU, as the command prints it, for all tests that ask what it saw.

    Whichever worker comes first runs it; another waits and reads what the first has written.
    """
    own = tmp_path_factory.getbasetemp()
    folder = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    printed = folder / "quick-suite.json"
    with (folder / "quick-suite.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not printed.exists():
            printed.write_text(_run_quick_suite(training_python, folder / "quick-suite"), encoding="utf-8")
    return json_format.Parse(printed.read_text(encoding="utf-8"), Run())


def _run_quick_suite(python: Path, folder: Path) -> str:
    """Offline: no test depends on what somebody's cache holds or on whether the hub answers."""
    options = ("--suite", "quick", "--device", "cpu", "--target", python, "--format", "json")
    offline = {"HF_HOME": str(folder / "hf-home"), "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    ended = subprocess.run(
        [AGENT, "check", *options],
        env={**os.environ, **offline, "LLMENV_STATE_DIR": str(folder / "state")},
        capture_output=True,
        text=True,
        timeout=840,
        check=False,
    )
    assert ended.returncode in {0, 1}, ended.stderr  # ready or not, of which each test judges its part
    return ended.stdout
