"""Files that somebody names to the agent: a named pipe is refused in one sentence, and never waited for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from llmenv_agent.commands.facts import command as facts
from llmenv_agent.commands.replay import command as replay
from llmenv_agent.commands.simulate import command as simulate
from llmenv_agent.configuration import load_configuration
from llmenv_agent.env_file import EnvFileError, read_env_file
from llmenv_agent.errors import UsageError
from llmenv_agent.logs import configure_logging

RECORDINGS = Path(__file__).resolve().parent.parent / "recordings"
WORDS = "cannot be read: it is no file but a pipe or a device."


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A named pipe that nobody writes into."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def test_a_pipe_is_no_configuration_and_no_env_file(pipe: Path) -> None:
    """Both name it."""
    with pytest.raises(UsageError) as refused:
        load_configuration(pipe)
    assert str(refused.value) == f"The configuration file {pipe} {WORDS}"
    with pytest.raises(EnvFileError) as unread:
        read_env_file(pipe)
    assert str(unread.value) == f"{pipe}: the env file {WORDS}"


def test_no_configuration_may_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """LLMENV_CONFIG=/dev/null is the usual way."""
    monkeypatch.setenv("LLMENV_CONFIG", os.devnull)
    assert load_configuration().schedules == ()


def test_a_pipe_is_no_recording_and_no_run(pipe: Path, tmp_path: Path) -> None:
    """`facts --from` and `replay`."""
    asked = CliRunner().invoke(facts, ["--from", "sysctl", str(pipe)])
    assert (asked.exit_code, asked.stdout) == (2, "")
    assert f"{pipe} {WORDS}" in " ".join(asked.stderr.split())
    again = CliRunner().invoke(replay, [str(pipe), "--state-dir", str(tmp_path), "--config", os.devnull])
    assert isinstance(again.exception, UsageError)
    assert str(again.exception) == f"{pipe} {WORDS}"


def test_a_pipe_holds_no_tokens(pipe: Path, tmp_path: Path) -> None:
    """`simulate --tokens`, which is read before anything begins."""
    asked = CliRunner().invoke(simulate, ["--tokens", str(pipe), "--state-dir", str(tmp_path)])
    assert (asked.exit_code, asked.stdout) == (2, "")
    assert f"{pipe} {WORDS}" in " ".join(asked.stderr.split())


def test_a_pipe_is_no_log(pipe: Path) -> None:
    """An agent would wait for somebody who reads it, and do nothing meanwhile."""
    with pytest.raises(UsageError) as refused:
        configure_logging("text", machine_id="m", file=pipe)
    assert str(refused.value) == f"The log file {pipe} cannot be used: it is no file but a pipe or a device."


def test_a_file_is_no_state_directory(tmp_path: Path) -> None:
    """Said for every command in one place; `status` and `doctor` broke down over it."""
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UsageError) as refused:
        load_configuration(Path(os.devnull), state_dir=file)
    assert str(refused.value) == f"The state directory {file} is no folder; name another."
    assert load_configuration(Path(os.devnull), state_dir=tmp_path / "later").state_dir == tmp_path / "later"


def test_what_a_shell_has_opened_is_a_recording() -> None:
    """As in `facts --from sysctl <(ssh mac sysctl -a)`."""
    reading, writing = os.pipe()
    try:
        os.write(writing, (RECORDINGS / "notifyutil/heavy.txt").read_bytes())
        os.close(writing)
        asked = CliRunner().invoke(facts, ["--from", "notifyutil", f"/dev/fd/{reading}"])
    finally:
        os.close(reading)
    assert (asked.exit_code, '"heavy"' in asked.stdout) == (0, True)
