"""The SQL shell on a terminal, against a collector over TLS."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import stat
import struct
import subprocess
import sys
import termios
import threading
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from .conftest import Fleet

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_SECONDS = 120.0
# Makes the terminal its own, so that Ctrl-C is a signal as on any terminal.
ON_TERMINAL = (
    "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    "sys.argv = ['llmenv', 'sql']; from llmenv_cli.main import main; main()"
)
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]")
ENDLESS = "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range * 3 = b.range * 7 + 1;"


class Terminal:
    """A process on a terminal of 100 columns, and everything that it has shown."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-c", ON_TERMINAL],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={**environment, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"},
        )
        os.close(theirs)
        self._shown = ""
        self._read = 0
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def _listen(self) -> None:
        try:
            while content := os.read(self._ours, 65_536):
                self._shown += content.decode(errors="replace")
        except OSError:  # Linux says so when nobody has it open any more
            return

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def expect(self, words: str) -> str:
        """Waits until that is shown after what was expected before; returns what was shown until then."""
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            text = ESCAPES.sub("", self._shown)
            place = text.find(words, self._read)
            if place >= 0:
                before, self._read = text[self._read : place], place + len(words)
                return before
            assert time.monotonic() < end, f"{words!r} was not shown: {text[self._read :]!r}"
            time.sleep(0.02)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        os.close(self._ours)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A collector, and an analyst who is logged in to it."""
    running = Fleet(tmp_path_factory.mktemp("sql-shell"))
    running.call("llmenv-collector", "init")
    running.start_collector()
    running.call("llmenv", "login", token=running.token("--role", "analyst"))
    yield running
    assert running.collector is not None
    running.collector.terminate()
    running.collector.wait(timeout=90)


@pytest.fixture
def terminal(fleet: Fleet) -> Iterator[Terminal]:
    shell = Terminal(fleet.environment)
    shell.expect("\\q leaves.")
    shell.expect("sql>")
    yield shell
    shell.close()


def test_statements_commands_and_errors(fleet: Fleet, terminal: Terminal) -> None:
    """Several lines make a statement, an error points at its place, and the history is its owner's."""
    terminal.type("SELECT 40 + 2\r")
    terminal.expect("...>")
    terminal.type("AS answer;\r")
    terminal.expect("42")
    terminal.expect("Rows: 1 in ")
    terminal.type("SELECT 1, nonsense FROM runs;\r")
    terminal.expect("^")
    terminal.expect("(line 1, column 11)")
    terminal.type("\\d delivery_days\r")
    terminal.expect("median_delay_seconds")
    terminal.expect("How long records took")
    terminal.type("\\d nothing\r")
    terminal.expect("There is no view")
    terminal.type("\\q\r")
    assert terminal.process.wait(PATIENCE_SECONDS) == 0
    (history,) = fleet.folder.rglob("sql_history")
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "+AS answer;" in history.read_text()


def test_ctrl_c_ends_the_statement_and_not_the_shell(fleet: Fleet, terminal: Terminal) -> None:
    """Its process at the collector ends too, and the next statement is answered."""
    terminal.type(f"{ENDLESS}\r")
    wait_for_workers(fleet, running=True)
    terminal.type("\x03")
    terminal.expect("Cancelled.")
    wait_for_workers(fleet, running=False)
    terminal.expect("sql>")
    terminal.type("SELECT 'still' || ' here' AS text;\r")
    terminal.expect("still here")
    terminal.type("SELECT half a thought\x03")
    terminal.expect("sql>")
    terminal.type("\x04")
    assert terminal.process.wait(PATIENCE_SECONDS) == 0


def wait_for_workers(fleet: Fleet, *, running: bool) -> None:
    assert fleet.collector is not None
    end = time.monotonic() + PATIENCE_SECONDS
    while running != bool(workers(fleet.collector.pid)):
        assert time.monotonic() < end, f"running: {not running}"
        time.sleep(0.02)


def workers(pid: int) -> list[psutil.Process]:
    """Those that read a snapshot; another one waits to be asked."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it ends meanwhile
            if any(".duckdb" in file.path for file in child.open_files()):
                found.append(child)
    return found
