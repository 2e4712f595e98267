"""A real collector for the agent's tests, and an agent that is enrolled with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

BIN = Path(sys.executable).parent
# Tests run on machines that are in use.
WHATEVER_GOES_ON = "[policy]\nonly_when_idle = false\n"


@dataclass(frozen=True)
class RealCollector:
    """A collector in a process of its own, on ports that the system chose."""

    data: Path

    def token(self) -> str:
        return self.call("token", "create")

    def call(self, *arguments: str) -> str:
        """What a command of the collector's prints."""
        done = subprocess.run(
            [BIN / "llmenv-collector", *arguments, "--data", self.data],
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()


@dataclass(frozen=True)
class AgentFolder:
    """The state directory and the environment of one agent."""

    path: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("LLMENV_")},
            "LLMENV_STATE_DIR": str(self.path / "state"),
            "LLMENV_RUN_LOCK": str(self.path / "run.lock"),
            "LLMENV_CONFIG": str(self.path / "agent.toml"),
        }

    def call(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / "llmenv-agent", *arguments],
            check=False,
            capture_output=True,
            text=True,
            env={**self.environment, **variables},
            timeout=240,
        )

    def configure(self, text: str) -> None:
        (self.path / "agent.toml").write_text(text, encoding="utf-8")

    def status(self) -> dict[str, dict[str, object]]:
        answer: dict[str, dict[str, object]] = json.loads(self.call("status", "--format", "json").stdout)
        return answer


@pytest.fixture(scope="session")
def real_collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCollector]:
    data = tmp_path_factory.mktemp("collector") / "data"
    command = [BIN / "llmenv-collector"]
    subprocess.run(
        [*command, "init", "--data", data, "--host", "localhost"],
        check=True,
        capture_output=True,
        timeout=180,
    )
    with (data.parent / "collector.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "serve", "--data", data, "--listen", "127.0.0.1:0", "--agents-listen", "127.0.0.1:0"],
            stderr=log,
        )
        try:
            deadline = time.monotonic() + 180
            while not (data / "serving.json").exists():
                assert process.poll() is None, (data.parent / "collector.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield RealCollector(data)
        finally:
            process.terminate()
            process.wait(90)


@pytest.fixture
def agent(tmp_path: Path) -> AgentFolder:
    """An agent that knows no collector; its one target has none of the training packages."""
    folder = AgentFolder(tmp_path)
    folder.configure(f'[[target]]\nname = "plain"\npython = "{sys.executable}"\n{WHATEVER_GOES_ON}')
    return folder


@pytest.fixture
def enrolled(agent: AgentFolder, real_collector: RealCollector) -> AgentFolder:
    done = agent.call("enroll", LLMENV_TOKEN=real_collector.token())
    assert done.returncode == 0, done.stderr
    return agent
