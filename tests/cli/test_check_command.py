"""`llmenv check`: starts the agent, passes progress through, renders its run, ends with its verdict."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from llmenv_cli import agent_process
from llmenv_cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable

RUNS = Path(__file__).resolve().parent / "runs"
AGENT = """
import pathlib, sys
sys.stderr.write("1/7 torch_basics ...\\n")
pathlib.Path({arguments!r}).write_text("\\n".join(sys.argv[1:]))
{action}
"""


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Path]:
    """A program in place of the agent; returns where it writes its arguments."""
    monkeypatch.setattr(agent_process, "AGENT_MODULE", "agent_in_its_place")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def program(action: str) -> Path:
        arguments = tmp_path / "arguments.txt"
        code = AGENT.format(arguments=str(arguments), action=action)
        (tmp_path / "agent_in_its_place.py").write_text(code)
        return arguments

    return program


def prints(name: str, code: int) -> str:
    return f"sys.stdout.write(pathlib.Path({str(RUNS / name)!r}).read_text('utf-8')); sys.exit({code})"


def test_ready(llmenv: Callable[..., Any], agent: Callable[[str], Path]) -> None:
    """Exit code 0, the report on stdout, the agent's progress on stderr."""
    agent(prints("ready_m2_ultra.json", 0))
    checked = llmenv("check")
    assert (checked.code, checked.err) == (ExitCode.FINE, "1/7 torch_basics ...\n")
    assert checked.out == llmenv("run", "show", str(RUNS / "ready_m2_ultra.json")).out


def test_not_ready(llmenv: Callable[..., Any], agent: Callable[[str], Path]) -> None:
    """Exit code 1, and the report all the same."""
    agent(prints("not_ready.json", 1))
    checked = llmenv("check", "--format", "json")
    assert checked.code == ExitCode.NOT_READY
    assert json.loads(checked.out)["run_id"] == "019c6121-0000-7000-8000-0000000000bb"


def test_verdict_is_of_the_run_not_of_the_agents_exit(
    llmenv: Callable[..., Any], agent: Callable[[str], Path]
) -> None:
    """One rule decides, that of the catalogue."""
    agent(prints("not_ready.json", 0))
    assert llmenv("check").code == ExitCode.NOT_READY


def test_what_was_asked_for_reaches_the_agent(
    llmenv: Callable[..., Any], agent: Callable[[str], Path]
) -> None:
    """Every flag, repeated ones each time."""
    arguments = agent(prints("ready_m2_ultra.json", 0))
    llmenv(
        *(
            "check",
            "--suite",
            "quick",
            "--check",
            "torch_basics",
            "--check",
            "packages",
            "--target",
            "/env/bin/python",
        ),
        *("--device", "cpu", "--set", "torch_basics.size=10", "--set", "peft_lora.rank=4"),
        *("--seed", "7", "--checks", "~/llm-checks"),
    )
    assert arguments.read_text().splitlines() == [
        *("check", "--format", "json", "--suite", "quick", "--target", "/env/bin/python", "--device", "cpu"),
        *("--seed", "7"),
        *("--check", "torch_basics", "--check", "packages"),
        *("--set", "torch_basics.size=10", "--set", "peft_lora.rank=4"),
        *("--checks", "~/llm-checks"),
    ]


def test_the_target_may_be_set_once(
    llmenv: Callable[..., Any], agent: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """LLMENV_TARGET or cli.toml instead of the flag."""
    arguments = agent(prints("ready_m2_ultra.json", 0))
    monkeypatch.setenv("LLMENV_TARGET", "/env/bin/python")
    llmenv("check")
    assert "/env/bin/python" in arguments.read_text()


def test_arguments_that_the_agent_refuses(llmenv: Callable[..., Any], agent: Callable[[str], Path]) -> None:
    """The agent's sentence stands above ours, and the exit code is its own."""
    agent("sys.stderr.write('No such check.\\n'); sys.exit(2)")
    checked = llmenv("check", "--check", "nonsense")
    assert (checked.code, checked.out) == (ExitCode.USAGE, "")
    assert "No such check.\n" in checked.err


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("import os; os.kill(os.getpid(), 9)", "was ended by signal 9"),
        ("sys.exit(3)", "ended with code 3"),
        ("raise RuntimeError('a fault')", "There is nothing in the output of llmenv-agent"),
    ],
)
def test_agent_that_fails(
    llmenv: Callable[..., Any], agent: Callable[[str], Path], action: str, words: str
) -> None:
    """No run, no report: an exit code of its own."""
    agent(action)
    checked = llmenv("check")
    assert (checked.code, checked.out) == (ExitCode.AGENT_FAILED, "")
    assert words in checked.err


@pytest.mark.parametrize("output", ["", "nonsense", "{}"])
def test_agent_whose_output_is_no_run(
    llmenv: Callable[..., Any], agent: Callable[[str], Path], output: str
) -> None:
    """A fault of the agent, not of what the person typed."""
    agent(f"sys.stdout.write({output!r}); sys.exit(0)")
    checked = llmenv("check")
    assert (checked.code, checked.out) == (ExitCode.AGENT_FAILED, "")
    assert "llmenv-agent" in checked.err


def test_without_the_agent_the_extra_is_named(
    llmenv: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain install is the CLI alone."""
    monkeypatch.setattr(agent_process, "AGENT_REQUIRES", ("a_package_that_is_not_there",))
    checked = llmenv("check")
    assert (checked.code, checked.out) == (ExitCode.NOT_INSTALLED, "")
    assert "pip install 'llmenv[agent]'" in checked.err


def test_the_agent_is_started_with_this_interpreter(
    llmenv: Callable[..., Any], agent: Callable[[str], Path], tmp_path: Path
) -> None:
    """Whatever is first on PATH."""
    where = tmp_path / "interpreter.txt"
    agent(f"pathlib.Path({str(where)!r}).write_text(sys.executable); " + prints("ready_m2_ultra.json", 0))
    llmenv("check")
    assert where.read_text() == sys.executable


def test_an_interrupted_check_waits_for_its_agent(tmp_path: Path) -> None:
    """The agent, which has folders to remove, is told and ends by itself; code 130."""
    ended = tmp_path / "ended"
    (tmp_path / "agent_in_its_place.py").write_text(
        "import pathlib, sys, time\n"
        "time.sleep(1)\n"  # until the CLI, which has started this, is waiting for it
        "try:\n    sys.stderr.write('started\\n'); sys.stderr.flush(); time.sleep(60)\n"
        f"finally:\n    time.sleep(1); pathlib.Path({str(ended)!r}).touch()\n"
    )
    program = (
        "from llmenv_cli import agent_process, main\n"
        "agent_process.AGENT_MODULE = 'agent_in_its_place'\n"
        "main.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, "check"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "started\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == ExitCode.INTERRUPTED
    assert ended.exists()
