"""Failpoints do what their variable says, once, and nothing at all without it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from llmenv import failpoints

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parents[2]
NAME = "agent.send.before"
PROGRAM = (
    "from llmenv import failpoints\nfailpoints.arm()\n"
    f"for step in range(3): print(step, flush=True); failpoints.reach('{NAME}')\n"
)


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.arm({})


def armed_process(entry: str) -> subprocess.Popen[str]:
    environment = {**os.environ, failpoints.VARIABLE: f"{NAME}={entry}"}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM], env=environment, stdout=subprocess.PIPE, text=True
    )


def test_nothing_happens_without_the_variable() -> None:
    """The table is empty, so that a step costs one look at it."""
    failpoints.arm({})
    for name in (*failpoints.AGENT, *failpoints.COLLECTOR):
        failpoints.reach(name)


def test_an_error_comes_at_the_nth_time_and_once() -> None:
    """Of the kind that the step would raise by itself."""
    failpoints.arm({failpoints.VARIABLE: f"{NAME}=error:2"})
    failpoints.reach(NAME, error=ValueError)
    with pytest.raises(ValueError, match=NAME):
        failpoints.reach(NAME, error=ValueError)
    failpoints.reach(NAME, error=ValueError)


def test_a_kill_ends_the_process_at_the_step() -> None:
    """Nothing after it is done, and nothing is flushed or closed."""
    process = armed_process("kill:2")
    assert process.communicate(timeout=30)[0].split() == ["0", "1"]
    assert process.returncode == -signal.SIGKILL


def test_a_pause_lasts_until_the_process_is_continued() -> None:
    """It stands still at the step, and goes on from there."""
    process = armed_process("pause:1")
    deadline = time.monotonic() + 30
    while "\nState:\tT" not in Path(f"/proc/{process.pid}/status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGCONT)
    assert process.communicate(timeout=30)[0].split() == ["0", "1", "2"]
    assert process.returncode == 0


@pytest.mark.parametrize("text", ["agent.send=kill", f"{NAME}=explode", f"{NAME}=kill:0", NAME])
def test_what_is_no_failpoint_is_refused(text: str) -> None:
    """With one sentence that shows an entry which is one."""
    with pytest.raises(ValueError, match=r"is no failpoint such as agent\.append\.before_commit=kill:2"):
        failpoints.arm({failpoints.VARIABLE: text})


@pytest.mark.parametrize(
    ("program", "names"), [("agent", failpoints.AGENT), ("collector", failpoints.COLLECTOR)]
)
def test_every_failpoint_is_a_step_of_its_program(program: str, names: tuple[str, ...]) -> None:
    """Each name stands once in the code of its program, and no other does."""
    sources = (REPOSITORY / program / f"llmenv_{program}").rglob("*.py")
    reached = [
        name
        for source in sources
        for name in re.findall(r'failpoints\.reach\(\s*"([a-z_.]+)"', source.read_text(encoding="utf-8"))
    ]
    assert sorted(reached) == sorted(names)


@pytest.mark.parametrize("command", [["llmenv-agent", "run"], ["llmenv-collector", "serve"]])
def test_a_program_refuses_a_wrong_variable(command: list[str], tmp_path: Path) -> None:
    """One sentence and exit code 2, before anything is opened."""
    environment = {
        **os.environ,
        failpoints.VARIABLE: "nonsense",
        "LLMENV_STATE_DIR": str(tmp_path),
        "LLMENV_DATA_DIR": str(tmp_path),
    }
    program = Path(sys.executable).parent / command[0]
    ended = subprocess.run(
        [program, command[1]], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, "LLMENV_FAILPOINTS has 'nonsense'" in ended.stderr) == (2, True), ended.stderr
    assert list(tmp_path.iterdir()) == []
