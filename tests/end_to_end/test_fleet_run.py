"""An admin has machines run checks: what the terminal says, and that each command is done once."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import BIN, check_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import Fleet

pytestmark = pytest.mark.slow
BARE_PYTHON = Path(sys.executable)
PATIENT = """
'Does time pass?'

import time

ORDER = 0
SUITES = ("lab",)
REQUIRES = ()
TIMEOUT_SECONDS = 150
PARAMETERS = {"seconds": 0}


def run(probe):
    time.sleep(probe.parameters["seconds"])
    probe.passed("It does.")
"""
RUN = ("fleet", "run", "--check", "patient", "--all")
FINE, NOT_READY, USAGE, REFUSED, INTERRUPTED = 0, 1, 2, 5, 130


class Machine:
    """An agent of the fleet as a daemon; its schedule runs one check at once, and then not for a day."""

    def __init__(self, fleet: Fleet) -> None:
        folder = fleet.folder / "checks"
        folder.mkdir()
        (folder / "patient.py").write_text(PATIENT.lstrip())
        self.fleet = fleet
        schedule = ("[schedule.lab]", 'every = "24h"')
        self.configuration = fleet.configure(
            BARE_PYTHON, "[agent]", f'checks_folders = ["{folder}"]', *schedule
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [str(BIN / "llmenv-agent"), "run", "--config", str(self.configuration)]
        with (self.fleet.folder / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=self.fleet.environment, stderr=log)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(90)

    def is_checking(self) -> bool:
        return self.process is not None and bool(check_processes(self.process.pid))


class Terminal:
    """`llmenv` in a process of its own, which the test reads as a person would."""

    def __init__(self, fleet: Fleet, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [str(BIN / "llmenv"), *arguments],
            env=fleet.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def read_until(self, pattern: str) -> str:
        """The line of stderr that has it."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if re.search(pattern, line):
                return line
        raise AssertionError(f"nothing said {pattern!r}")

    def end(self, code: int) -> tuple[str, str]:
        """What is left of stdout and stderr, once it has exited with `code`."""
        out, err = self.process.communicate(timeout=200)
        assert self.process.returncode == code, err
        assert "Traceback" not in err
        return out, err


@pytest.fixture
def machine(fleet: Fleet) -> Iterator[Machine]:
    machine = Machine(fleet)
    yield machine
    machine.end(signal.SIGKILL)


def commanded_runs(fleet: Fleet) -> list[dict[str, Any]]:
    """Every run that a command led to, as SQL sees it; each is named by its command."""
    query = "SELECT run_id, outcome FROM runs WHERE run_trigger = 'command' ORDER BY started_at"
    found: list[dict[str, Any]] = json.loads(fleet.call("llmenv", "sql", query, "--format", "json").stdout)
    return found


def listed(fleet: Fleet) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        fleet.call("llmenv", "fleet", "commands", "--format", "json").stdout
    )
    return found


def wait_for(condition: Callable[[], bool], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_a_run_now_is_shown_as_it_goes(fleet: Fleet, machine: Machine) -> None:
    """By a condition; progress on stderr, outcomes on stdout, and the exit code says that all went well."""
    machine.start()
    (hostname,) = (one["hostname"] for one in json.loads(machines(fleet)))
    where = f"hostname = '{hostname}' AND memory_bytes > 0"
    command = ("fleet", "run", "--suite", "lab", "--where", where, "--format", "json")
    out, err = Terminal(fleet, *command).end(FINE)
    (outcome,) = json.loads(out)
    assert (outcome["hostname"], outcome["state"], outcome["went_well"]) == (hostname, "ended", True)
    assert outcome["statuses"] == "pass 1"
    assert [outcome["run_ids"]] == [run["run_id"] for run in commanded_runs(fleet)]
    said = [line.removeprefix(hostname) for line in err.splitlines()]
    assert said[-3:] == [
        ", target: patient begins",
        ", target: ✓ pass patient: It does.",
        ": ended",
    ]


def machines(fleet: Fleet) -> str:
    return fleet.call("llmenv", "fleet", "machines", "--format", "json").stdout


def test_what_did_not_go_well_is_in_the_exit_code(fleet: Fleet, machine: Machine) -> None:
    """A command that the machine refuses, and a check that could not be run there."""
    machine.start()
    out, _ = Terminal(fleet, *RUN, "--set", "patient.seconds=a while", "--format", "json").end(NOT_READY)
    (refused,) = json.loads(out)
    assert (refused["state"], refused["went_well"]) == ("refused", False)
    assert "seconds" in refused["finding"]
    command = ("fleet", "run", "--check", "torch_basics", "--all", "--format", "json")
    (ended,) = json.loads(Terminal(fleet, *command).end(NOT_READY)[0])
    assert (ended["state"], ended["finding"]) == ("ended", "torch_basics error")


def test_a_machine_that_is_offline_gets_it_when_it_returns(fleet: Fleet, machine: Machine) -> None:
    """The terminal says whom it waits for; the collector may be killed in between; it is done once."""
    terminal = Terminal(fleet, *RUN, "--expires", "30m", "--format", "json")
    assert "offline; gets the command when it returns, until " in terminal.read_until("offline")
    fleet.end_collector(signal.SIGKILL)
    assert "Trying again" in terminal.read_until("Trying again")
    fleet.start_collector()
    machine.start()
    out, _ = terminal.end(FINE)
    assert [one["state"] for one in json.loads(out)] == ["ended"]
    assert len(commanded_runs(fleet)) == 1


def test_ctrl_c_leaves_off_watching_and_the_machine_goes_on(fleet: Fleet, machine: Machine) -> None:
    """It says how to go on; whoever watches later sees everything, and can end it."""
    machine.start()
    terminal = Terminal(fleet, *RUN, "--set", "patient.seconds=120")
    terminal.read_until("patient begins")
    terminal.process.send_signal(signal.SIGINT)
    _, err = terminal.end(INTERRUPTED)
    identity = re.search(r"llmenv fleet watch (\S+)`", err)
    assert identity is not None
    later = Terminal(fleet, "fleet", "watch", identity[1], "--format", "json")
    later.read_until("patient begins")
    fleet.call("llmenv", "fleet", "cancel", identity[1])
    out, _ = later.end(NOT_READY)
    assert [one["state"] for one in json.loads(out)] == ["cancelled"]
    assert [run["outcome"] for run in commanded_runs(fleet)] == ["cancelled"]
    assert not machine.is_checking()


def test_what_waits_behind_a_run_is_taken_back(fleet: Fleet, machine: Machine) -> None:
    """The second command never begins; the first goes on."""
    machine.start()
    first = Terminal(fleet, *RUN, "--set", "patient.seconds=120", "--format", "json")
    first.read_until("patient begins")
    fleet.call("llmenv", *RUN, "--no-wait")
    wait_for(lambda: listed(fleet)[0]["state"] == "accepted")
    fleet.call("llmenv", "fleet", "cancel", listed(fleet)[0]["command_id"])
    wait_for(lambda: listed(fleet)[0]["state"] == "cancelled")
    assert listed(fleet)[1]["state"] == "started"
    assert machine.is_checking()
    fleet.call("llmenv", "fleet", "cancel", listed(fleet)[1]["command_id"])
    out, _ = first.end(NOT_READY)
    assert [one["state"] for one in json.loads(out)] == ["cancelled"]
    assert len(commanded_runs(fleet)) == 1


def test_an_agent_killed_after_it_accepted_does_it_once(fleet: Fleet, machine: Machine) -> None:
    """What had not begun is done by the next agent; what had begun is closed, and said to be lost."""
    machine.start()
    first = Terminal(fleet, *RUN, "--set", "patient.seconds=120", "--format", "json")
    first.read_until("patient begins")
    second = Terminal(fleet, *RUN, "--format", "json")
    second.read_until("accepted")
    machine.end(signal.SIGKILL)
    machine.start()
    out, _ = first.end(NOT_READY)
    (lost,) = json.loads(out)
    assert (lost["state"], lost["finding"]) == ("ended", "the agent ended before the command did")
    out, _ = second.end(FINE)
    assert [one["state"] for one in json.loads(out)] == ["ended"]
    assert [run["outcome"] for run in commanded_runs(fleet)] == ["interrupted", "completed"]


def test_a_command_expires(fleet: Fleet, machine: Machine) -> None:
    """One that nobody was told of, and one that waits too long behind another."""
    out, _ = Terminal(fleet, *RUN, "--expires", "1s", "--format", "json").end(NOT_READY)
    assert [one["state"] for one in json.loads(out)] == ["expired"]
    machine.start()
    first = Terminal(fleet, *RUN, "--set", "patient.seconds=120", "--format", "json")
    first.read_until("patient begins")
    second = Terminal(fleet, *RUN, "--expires", "5s", "--format", "json")
    second.read_until("accepted")
    time.sleep(5)
    fleet.call("llmenv", "fleet", "cancel", listed(fleet)[1]["command_id"])
    out, _ = second.end(NOT_READY)
    assert [one["state"] for one in json.loads(out)] == ["expired"]
    first.end(NOT_READY)
    assert len(commanded_runs(fleet)) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--where", "chp = 1"), 'The condition cannot be used: Binder Error: Referenced column "chp"'),
        (("--machine", "nobody"), "No machine is called 'nobody'"),
        (("--all", "--set", "seconds"), "--set 'seconds' is not CHECK.PARAM=VALUE"),
        (("--all", "--expires", "soon"), "'soon' is no length of time"),
        ((), "Say which machines"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    fleet: Fleet, arguments: tuple[str, ...], sentence: str
) -> None:
    """With the exit code for it; nothing is issued."""
    _, err = Terminal(fleet, "fleet", "run", "--check", "patient", *arguments).end(USAGE)
    assert sentence in err
    assert listed(fleet) == []


def test_a_viewer_may_look_and_not_command(fleet: Fleet) -> None:
    """The collector refuses; the exit code says so."""
    fleet.call("llmenv", "login", token=fleet.token("--role", "viewer"))
    _, err = Terminal(fleet, *RUN).end(REFUSED)
    assert "The token may not do this" in err
    assert listed(fleet) == []
