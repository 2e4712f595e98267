"""Starts llmenv-agent, passes its progress through, and takes the run that it prints."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from llmenv_cli.errors import AgentFailedError, NotInstalledError, UsageError
from llmenv_cli.exit_codes import ExitCode
from llmenv_cli.run_files import parse_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmenv.fleet.v1.run_pb2 import Run

AGENT_MODULE = "llmenv_agent.main"
# The agent is a module of this distribution, and works with the packages of its extra.
AGENT_REQUIRES = ("psutil", "cryptography")
# What `llmenv-agent check` exits with when it has printed a run.
WITH_A_RUN = (ExitCode.FINE, ExitCode.NOT_READY)
# It ends a check at once, and waits some seconds for one inside a hung driver.
AGENT_END_SECONDS = 15.0


def check(arguments: Sequence[str]) -> Run:
    """Run `llmenv-agent check --format json` with these arguments; progress goes to stderr as it comes.

    Raises NotInstalledError without the agent, UsageError for arguments it refuses (it has said which),
    AgentFailedError when it ended without a run.
    """
    _require_agent()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the agent must not outlive this
    command = [sys.executable, "-m", AGENT_MODULE, "check", "--format", "json", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            output, _ = process.communicate()
        except KeyboardInterrupt:
            _end(process)
            raise
    if process.returncode == ExitCode.USAGE:
        raise UsageError("llmenv-agent refused this; its own sentence above says why.")
    if process.returncode not in WITH_A_RUN:
        raise AgentFailedError(f"llmenv-agent {_ending(process.returncode)} before it had a run to show.")
    try:
        return parse_run(output, source="the output of llmenv-agent")
    except UsageError as error:
        raise AgentFailedError(str(error)) from error


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let the agent end its check and remove its folders, where it can."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(AGENT_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def _require_agent() -> None:
    for package in AGENT_REQUIRES:
        if importlib.util.find_spec(package) is None:
            raise NotInstalledError(
                f"The agent runs checks, and its package {package} is missing: pip install 'llmenv[agent]'."
            )


def _ending(return_code: int) -> str:
    return f"was ended by signal {-return_code}" if return_code < 0 else f"ended with code {return_code}"
