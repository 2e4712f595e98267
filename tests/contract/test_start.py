"""A person who presses Ctrl-C while a program still loads sees no traceback."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

INTERRUPTED_WHILE_LOADING = """
import builtins, os, signal
import {package}.start
load = builtins.__import__
def interrupted(name, *arguments):
    if name == "{package}.main":
        os.kill(os.getpid(), signal.SIGINT)
    return load(name, *arguments)
builtins.__import__ = interrupted
{package}.start.main()
"""


@pytest.mark.parametrize("package", ["llmenv_cli", "llmenv_agent", "llmenv_collector"])
def test_ctrl_c_while_it_loads_ends_it_without_a_word(package: str) -> None:
    """As any program that is told to end: by the signal, which a shell shows as 130."""
    code = INTERRUPTED_WHILE_LOADING.format(package=package)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize("package", ["llmenv_cli", "llmenv_agent", "llmenv_collector"])
def test_a_program_starts_there(package: str) -> None:
    """And takes Ctrl-C itself from then on."""
    code = f"import sys; sys.argv[1:] = ['--help']; from {package}.start import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: " in done.stdout


@pytest.mark.parametrize("package", ["llmenv_cli", "llmenv_agent", "llmenv_collector"])
def test_the_exit_code_is_the_program_s(package: str) -> None:
    """As the installed script ends with what `main` returns or exits with."""
    code = f"import sys; sys.argv[1:] = ['--nope']; from {package}.start import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
