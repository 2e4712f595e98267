"""`llmenv fleet watch` without an id: lines, JSON, and a screen that comes and goes cleanly."""

from __future__ import annotations

import datetime as dt
import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from llmenv.catalog.texts import texts
from llmenv.fleet.v1 import fleet_watch_pb2 as messages
from llmenv.fleet.v1 import result_pb2
from llmenv_cli import watched_fleet
from llmenv_cli.render.fleet.watch import Screen
from llmenv_cli.render.terminal import console_of
from llmenv_cli.watched_fleet import Said, WatchedFleet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

USAGE, REFUSED, INTERRUPTED = 2, 5, 130
PATIENCE_SECONDS = 120.0
ENDED = (grpc.StatusCode.UNAUTHENTICATED, "The token has expired or was revoked.")
NOW = dt.datetime(2026, 2, 15, 16, 20, 5)  # noqa: DTZ001 (naive as ToDatetime's, in UTC)
SPOOL = "019c6120-0000-7000-8000-0000000000dd"


def machine(number: int, hostname: str, **more: Any) -> messages.WatchedMachine:
    identity = f"019c6120-0000-7000-8000-{number:012x}"
    return messages.WatchedMachine(
        machine_id=identity, hostname=hostname, chip="Apple M2 Ultra", **{"is_connected": True, **more}
    )


def run(check: str, ended: int) -> dict[str, Any]:
    return {
        "run_id": "019c6120-0000-7000-8000-0000000000aa",
        "suite": "quick",
        "environment_name": "train",
        "device": "mps",
        "check_name": check,
        "ended_checks": ended,
        "planned_checks": 7,
    }


def result(hostname: str, check: str, status: int, turn: int, second: int) -> messages.WatchedResult:
    said = messages.WatchedResult(
        hostname=hostname,
        environment_name="train",
        device="mps",
        check_name=check,
        status=status,  # type: ignore[arg-type] # an enum's number
        turn=turn,  # type: ignore[arg-type]
        wall_seconds=3.5,
    )
    said.reason.text = said.reason.template = "A product of ones was 3.5 and not 4.0.\x1b[2J"
    said.received_at.FromDatetime(NOW - dt.timedelta(seconds=second))
    return said


def response(*machines: messages.WatchedMachine, **more: Any) -> messages.WatchFleetResponse:
    said = messages.WatchFleetResponse(machines=machines, **more)
    said.at.FromDatetime(NOW)
    return said


BEGINS, ENDS = messages.WatchedResult.TURN_BEGINS_TO_FAIL, messages.WatchedResult.TURN_FAILS_NO_MORE
AWAY = machine(1, "air-7", is_connected=False, waiting_records=1_204)
AWAY.last_seen_at.FromDatetime(NOW - dt.timedelta(hours=3))
NEVER = machine(4, "new-1", is_connected=False)
FIRST = response(
    AWAY,
    machine(2, "mini-1", failing_checks=["leak", "torch_training"]),
    NEVER,
    machine(3, "studio-3", run=run("torch_basics", 2)),
    positions=[{"spool_id": SPOOL, "sequence": 7}],
)
SECOND = response(
    machine(3, "studio-3", run=run("torch_training", 3)),
    machine(2, "mini-1", failing_checks=["leak"]),
    results=[
        result("studio-3", "torch_basics", result_pb2.STATUS_FAIL, BEGINS, 3),
        result("mini-1", "torch_training", result_pb2.STATUS_PASS, ENDS, 2),
        result("studio-3", "packages", result_pb2.STATUS_WARN, 0, 1),
    ],
    left_out_results=12,
    positions=[{"spool_id": SPOOL, "sequence": 9}],
)
THIRD = response(machine(3, "studio-3"), machine(1, "air-7"), left_machine_ids=[NEVER.machine_id])


@pytest.fixture
def servicer(logged_in: Any) -> Any:
    """A collector that says three things of four machines, and then that the token has expired."""
    logged_in.servicer.watches = [[FIRST, SECOND, THIRD]]
    logged_in.servicer.watch_ends = ENDED
    return logged_in.servicer


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_pipe_gets_a_line_for_each_thing(
    llmenv: Callable[..., Any], golden: Any, servicer: Any, language: str
) -> None:
    """The machines at first, then results with how they turned; nothing of what a check says does harm."""
    watched = llmenv("fleet", "watch", "--lang", language)
    assert watched.out == golden(name=f"lines-{language}")
    assert watched.code == REFUSED
    assert "\x1b" not in watched.out


def test_programs_get_an_object_a_line(llmenv: Callable[..., Any], golden: Any, servicer: Any) -> None:
    """Each is of one kind, in the words of the contract."""
    watched = llmenv("fleet", "watch", "--format", "json")
    assert watched.out == golden(name="json")
    assert all(len(json.loads(line)) == 2 for line in watched.out.splitlines())


def test_what_is_asked_for_reaches_the_collector(llmenv: Callable[..., Any], servicer: Any) -> None:
    """Machines, a condition and checks."""
    llmenv("fleet", "watch", "--where", "chip = 'x'", "--machine", "a", "--machine", "b", "--check", "leak")
    asked = servicer.requests[-1]
    assert (asked.where, list(asked.machines), list(asked.checks)) == ("chip = 'x'", ["a", "b"], ["leak"])


def test_it_goes_on_where_it_was(
    llmenv: Callable[..., Any], servicer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a loss, which is said once, from the position reached; what is as it was is not said again."""
    monkeypatch.setattr(watched_fleet, "RETRY_SECONDS", 0.01)
    servicer.watches = [[FIRST, SECOND], [], [response(*FIRST.machines[:3], SECOND.machines[0])]]
    watched = llmenv("fleet", "watch")
    asked = [one for one in servicer.requests if isinstance(one, messages.WatchFleetRequest)]
    positions = [[(at.spool_id, at.sequence) for at in one.positions] for one in asked]
    assert positions == [[], [(SPOOL, 9)], [(SPOOL, 9)]]
    assert watched.err.count("Trying again") == 1
    assert "answers again" in watched.err
    assert watched.out.count("air-7: offline") == 1


@pytest.mark.parametrize(
    "arguments",
    [["--format", "csv"], ["019c6120-0000", "--check", "leak"]],
    ids=["no-file", "command-and-fleet"],
)
def test_what_makes_no_sense_is_a_sentence(
    llmenv: Callable[..., Any], servicer: Any, arguments: list[str]
) -> None:
    """Before anything is asked."""
    watched = llmenv("fleet", "watch", *arguments)
    assert (watched.code, watched.out) == (USAGE, "")
    assert watched.err.startswith("llmenv: ")


def frame(
    *responses: messages.WatchFleetResponse, width: int, height: int, language: str, lost: str = ""
) -> str:
    fleet = WatchedFleet()
    for number, said in enumerate(responses or (FIRST, SECOND)):
        fleet.take_in(Said(said, is_first=number == 0))
    stream = io.StringIO()
    console = console_of(stream)
    console.width = width
    screen = Screen(texts(language), address="lab:7443")
    console.print(screen.frame(fleet, now=NOW, lost=lost, height=height))
    return re.sub(r" +\n", "\n", stream.getvalue())


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("width", [80, 120])
def test_the_screen(golden: Any, width: int, language: str) -> None:
    """Machines, what they run and fail, and the newest results."""
    assert frame(width=width, height=30, language=language) == golden(name=f"screen-{width}-{language}")


def twins() -> tuple[messages.WatchFleetResponse, list[str]]:
    """Two machines that are called alike, a result of the second, and what each is called."""
    one, other = machine(1, "studio"), machine(2, "studio")
    other.machine_id = "019c6120-0001-7000-8000-000000000002"
    turned = result("studio", "packages", result_pb2.STATUS_FAIL, BEGINS, 1)
    turned.machine_id = other.machine_id
    return response(one, other, results=[turned]), ["studio (019c6120-0000)", "studio (019c6120-0001)"]


def test_machines_that_are_called_alike_are_told_apart_in_lines(
    llmenv: Callable[..., Any], servicer: Any
) -> None:
    """From the first line on; another one goes by its hostname."""
    said, names = twins()
    servicer.watches = [[said, response(machine(3, "mini"))]]
    lines = llmenv("fleet", "watch").out.splitlines()
    assert [sum(name in line for line in lines) for name in (*names, "mini", "mini (")] == [1, 2, 1, 0]


@pytest.mark.parametrize("width", [80, 120])
def test_machines_that_are_called_alike_are_told_apart_on_the_screen(width: int) -> None:
    """Both in the list of machines and in that of results."""
    said, names = twins()
    shown = frame(said, width=width, height=24, language="en")
    assert [shown.count(name) for name in names] == [1, 2]
    assert all(len(line) <= width for line in shown.splitlines())


def test_a_screen_that_is_too_small_says_what_it_leaves_out(golden: Any) -> None:
    """Who is at work or fails something stays; and that nobody answers is said."""
    said = frame(width=80, height=16, language="en", lost="No collector answers at lab:7443: refused.")
    assert said == golden(name="screen-small")
    assert len(said.splitlines()) <= 16


def in_terminal(folder: Path, *, rows: int, columns: int) -> tuple[subprocess.Popen[bytes], int]:
    """The process, and the other side of its terminal."""
    terminal, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "LLMENV_CONFIG_DIR": str(folder)}
    environment.pop("COLUMNS", None)
    program = "from llmenv_cli.start import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "fleet", "watch"],
        stdin=side,
        stdout=side,
        stderr=side,
        env=environment,
    )
    os.close(side)
    return process, terminal


def read_until(terminal: int, seen: Callable[[str], bool]) -> str:
    """What the terminal was sent until then, or until its end."""
    content, deadline = b"", time.monotonic() + PATIENCE_SECONDS
    while not seen(content.decode(errors="replace")):
        assert time.monotonic() < deadline, content
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                part = os.read(terminal, 1 << 16)
            except OSError:  # its other side is closed
                break
            if not part:
                break
            content += part
    return content.decode(errors="replace")


def test_ctrl_c_leaves_a_terminal_as_it_was(logged_in: Any, tmp_path: Path) -> None:
    """The other screen is left, the cursor is back, what was seen last stays, and no fault is shown."""
    logged_in.servicer.watches = [[FIRST, SECOND]]
    process, terminal = in_terminal(tmp_path / "config", rows=30, columns=80)
    shown = read_until(terminal, lambda said: "studio-3" in said and "begins to fail" in said)
    process.send_signal(signal.SIGINT)
    shown += read_until(terminal, lambda _: False)
    os.close(terminal)
    assert process.wait(timeout=PATIENCE_SECONDS) == INTERRUPTED
    assert shown.count("\x1b[?1049h") == shown.count("\x1b[?1049l") == 1
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    left = shown.partition("\x1b[?1049l")[2]
    assert "studio-3" in left
    assert "Left off watching" in left
    assert "Traceback" not in shown
