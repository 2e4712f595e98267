"""What tests of every program share: where recordings of real Macs and the target environment are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def own_run_lock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A lock of this worker's own: its runs wait neither for another worker's nor for the machine's agent."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMENV_RUN_LOCK", str(tmp_path_factory.mktemp("lock") / "run.lock"))
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
