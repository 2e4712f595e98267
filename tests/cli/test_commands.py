"""Every command explains itself, and every exit code is documented."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
from llmenv_cli import exit_codes
from llmenv_cli.exit_codes import ExitCode
from llmenv_cli.main import LazyGroup, llmenv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            yield from commands(found, f"{name} {child}")


RUNS = Path(__file__).parent / "runs"
COMMANDS = dict(commands(llmenv, "llmenv"))


def test_the_commands_are_these() -> None:
    """A command that is lost or appears unseen is noticed."""
    assert sorted(COMMANDS) == [
        "llmenv",
        "llmenv check",
        "llmenv export",
        "llmenv fleet",
        "llmenv fleet acknowledge",
        "llmenv fleet cancel",
        "llmenv fleet commands",
        "llmenv fleet compare",
        "llmenv fleet delivery",
        "llmenv fleet machines",
        "llmenv fleet notices",
        "llmenv fleet notices list",
        "llmenv fleet notices mute",
        "llmenv fleet notices mutes",
        "llmenv fleet notices test",
        "llmenv fleet notices unmute",
        "llmenv fleet report",
        "llmenv fleet run",
        "llmenv fleet schedule",
        "llmenv fleet schedule list",
        "llmenv fleet schedule remove",
        "llmenv fleet schedule set",
        "llmenv fleet upgrade-check",
        "llmenv fleet watch",
        "llmenv import",
        "llmenv login",
        "llmenv logout",
        "llmenv plan",
        "llmenv run",
        "llmenv run list",
        "llmenv run show",
        "llmenv sql",
        "llmenv stats",
        "llmenv stats selftest",
        "llmenv whoami",
    ]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    """A sentence that ends as one."""
    first = (COMMANDS[name].help or "").partition("\n")[0]
    assert first.endswith((".", "?"))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_help(name: str) -> None:
    """Arguments are explained in the command's own help."""
    options = [parameter for parameter in COMMANDS[name].params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not option.help] == []


@pytest.mark.parametrize(
    "name", [name for name, command in COMMANDS.items() if not isinstance(command, click.Group)]
)
def test_what_prints_data_has_four_formats(name: str) -> None:
    """Table, JSON, CSV and Markdown, some more; what only changes something prints none."""
    formats = [
        parameter.type.choices
        for parameter in COMMANDS[name].params
        if parameter.name == "output_format" and isinstance(parameter.type, click.Choice)
    ]
    four = ("table", "json", "csv", "md")
    judged = (*four, "html", "junit", "xlsx")
    others = {
        "llmenv export": ("parquet", "csv"),
        "llmenv fleet compare": judged,
        "llmenv fleet report": judged,
        "llmenv fleet upgrade-check": judged,
        "llmenv sql": (*four, "arrow", "parquet"),
    }
    silent = ("llmenv fleet schedule remove", "llmenv login", "llmenv logout")
    assert formats == ([] if name in silent else [others.get(name, four)])


def test_a_command_that_there_is_not_is_none() -> None:
    """click then says so."""
    assert isinstance(llmenv, LazyGroup)
    assert llmenv.get_command(click.Context(llmenv), "nonsense") is None


def test_every_exit_code_is_documented() -> None:
    """A sentence follows each member."""
    body = ast.parse(inspect.getsource(exit_codes)).body[-1]
    assert isinstance(body, ast.ClassDef)
    members = [statement for statement in body.body if isinstance(statement, ast.Assign)]
    documented = [
        statement
        for statement, following in zip(body.body, body.body[1:], strict=False)
        if isinstance(statement, ast.Assign) and isinstance(following, ast.Expr)
    ]
    assert len(members) == len(documented) == len(ExitCode)


def test_a_fault_of_llmenv_is_one_sentence(
    llmenv: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback reaches a person, and LLMENV_DEBUG shows it to who looks for it."""

    def break_down(_: object) -> None:
        raise ZeroDivisionError("broken on purpose")

    monkeypatch.setattr("llmenv_cli.run_files.read_run", break_down)
    outcome = llmenv("run", "show", "-")
    assert outcome.code == ExitCode.INTERNAL
    assert len(outcome.err.splitlines()) == 1
    assert "broken on purpose" in outcome.err
    monkeypatch.setenv("LLMENV_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        llmenv("run", "show", "-")


def test_ctrl_c_is_no_fault(llmenv: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The shell's own code for it."""

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("llmenv_cli.run_files.read_run", interrupt)
    assert llmenv("run", "show", "-").code == ExitCode.INTERRUPTED


def run_program(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A shell's line, with `llmenv` in it."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **variables}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_terminal_without_the_characters_gets_them_escaped() -> None:
    """A report in Chinese on an ASCII terminal is hard to read, and no fault."""
    done = run_program(
        f"llmenv run show {RUNS / 'ready_m2_ultra.json'} --lang zh", PYTHONIOENCODING="ascii", PYTHONUTF8="0"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "LLM \\u8bad\\u7ec3" in done.stdout


def test_a_reader_that_leaves_is_no_verdict() -> None:
    """Exit code 1 would say "not ready"; `head` has what it wanted."""
    done = run_program(f"llmenv run show {RUNS / 'ready_m2_ultra.json'} --format md | true")
    assert (done.returncode, done.stderr) == (ExitCode.FINE, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_no_fault_of_llmenv() -> None:
    """The system's reason is given, and nothing is asked to be reported."""
    done = run_program(f"llmenv run show {RUNS / 'ready_m2_ultra.json'} > /dev/full")
    assert (done.returncode, done.stderr) == (
        ExitCode.USAGE,
        "llmenv: The output cannot be used: No space left on device.\n",
    )


def test_a_closed_stdin_is_an_empty_one() -> None:
    """As some supervisors start a program; both programs that read a token from it say what is missing."""
    for script in ("llmenv login <&-", "llmenv-agent enroll <&-"):
        done = run_program(script, LLMENV_CONFIG_DIR="/nonexistent", LLMENV_STATE_DIR="/nonexistent")
        assert done.returncode == ExitCode.USAGE
        assert "This is no token" in done.stderr
