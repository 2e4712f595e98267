"""`llmenv-agent run` with a real collector: kills and stops."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import pytest
from llmenv.fleet.v1 import record_pb2, result_pb2, run_pb2
from llmenv_agent.recovery import AGENT_ENDED
from llmenv_agent.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import AgentFolder

PATIENT = '''
"""Does it wait?"""
SUITES = ("quick",)
REQUIRES = ()
TIMEOUT_SECONDS = 250
PARAMETERS = {"seconds": 200}
def run(probe):
    import time
    time.sleep(probe.parameters["seconds"])
    probe.passed("It waited.")
'''

WITH_OTHER_CHECKS = """
import sys
from pathlib import Path
from llmenv_agent import main, repertoire
repertoire.CHECKS = Path(sys.argv[1])
sys.argv = ["llmenv-agent", *sys.argv[2:]]
main.main()
"""


@pytest.fixture
def checks(tmp_path: Path) -> Path:
    folder = tmp_path / "checks"
    folder.mkdir()
    (folder / "patient.py").write_text(textwrap.dedent(PATIENT).lstrip())
    return folder


@contextmanager
def running(agent: AgentFolder, checks: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", WITH_OTHER_CHECKS, checks, "run", *arguments],
        env=agent.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def records(agent: AgentFolder) -> list[record_pb2.Record]:
    path = agent.path / "state" / "spool.db"
    if not path.exists():  # the agent has only begun
        return []
    spool = Spool(path)
    try:
        with spool._file.reading() as connection:
            rows = connection.execute("SELECT record FROM record ORDER BY sequence").fetchall()
        return [record_pb2.Record.FromString(row["record"]) for row in rows]
    finally:
        spool.close()


def kinds(agent: AgentFolder) -> list[str | None]:
    return [record.WhichOneof("kind") for record in records(agent)]


def wait_for(condition: Callable[[], bool], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def check_processes(agent: AgentFolder) -> list[psutil.Process]:
    check = str(agent.path / "checks" / "patient.py")
    return [each for each in psutil.process_iter(["cmdline"]) if check in (each.info["cmdline"] or [])]


def wait_for_check(agent: AgentFolder) -> None:
    wait_for(lambda: (agent.path / "state" / "leftover.json").exists() and bool(check_processes(agent)))


def test_once_runs_and_delivers(enrolled: AgentFolder, checks: Path) -> None:
    """Everything that was recorded is stored at the collector when the command ends with 0."""
    enrolled.configure(
        f'[[target]]\nname = "plain"\npython = "{sys.executable}"\n[schedule.quick]\nevery = "24h"\n'
    )
    (checks / "patient.py").write_text(textwrap.dedent(PATIENT).lstrip().replace("200", "0"))
    with running(enrolled, checks, "--once") as process:
        assert process.wait(120) == 0
    assert kinds(enrolled) == [
        "environment_snapshot",
        "run_started",
        "check_started",
        "check_finished",
        "run_finished",
    ]
    spool = enrolled.status()["spool"]
    assert (spool["minted"], spool["stored"], spool["waiting"]) == (5, 5, 0)


def test_a_stop_ends_the_check_and_records_it(enrolled: AgentFolder, checks: Path) -> None:
    """SIGTERM: under five seconds, the run is recorded as cancelled and delivered, no process is left."""
    # Load makes one stop slow, and not each: the fastest of three counts.
    assert any(seconds_to_stop(enrolled, checks) < 5 for _ in range(3))


def seconds_to_stop(agent: AgentFolder, checks: Path) -> float:
    """Of an agent in the middle of a check."""
    (agent.path / "state" / "schedule.json").unlink(missing_ok=True)
    with running(agent, checks) as process:
        wait_for_check(agent)
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        seconds = time.monotonic() - start
    assert records(agent)[-1].run_finished.outcome == run_pb2.RUN_OUTCOME_CANCELLED
    wait_for(lambda: not check_processes(agent))
    if seconds < 5:
        assert agent.status()["spool"]["waiting"] == 0
    return seconds


def test_once_that_was_stopped_is_not_done(enrolled: AgentFolder, checks: Path) -> None:
    """Nobody takes half a suite for a whole one: exit code 130."""
    with running(enrolled, checks, "--once") as process:
        wait_for_check(enrolled)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130


def test_a_killed_agent_leaves_no_run_without_an_end(enrolled: AgentFolder, checks: Path) -> None:
    """After kill -9 in a check the next start gives the check a verdict and the run an end."""
    with running(enrolled, checks) as process:
        wait_for_check(enrolled)
        process.kill()
        process.wait()
    assert kinds(enrolled)[-1] == "check_started"
    (checks / "patient.py").write_text(textwrap.dedent(PATIENT).lstrip().replace("200", "0"))
    with running(enrolled, checks, "--once") as process:
        assert process.wait(120) == 0
    check, run = records(enrolled)[3:5]
    assert check.check_finished.result.status == result_pb2.STATUS_ERROR
    assert check.check_finished.result.reason.text == AGENT_ENDED
    assert run.run_finished.outcome == run_pb2.RUN_OUTCOME_INTERRUPTED
    assert enrolled.status()["spool"]["minted"] == enrolled.status()["spool"]["stored"]
    assert check_processes(enrolled) == []


def test_one_agent_a_state_directory(enrolled: AgentFolder, checks: Path) -> None:
    """A second one says so and leaves."""
    with running(enrolled, checks):
        wait_for_check(enrolled)
        second = enrolled.call("run")
    assert second.returncode == 7
    assert "Another llmenv-agent already uses" in second.stderr


def test_a_local_check_waits_for_the_daemon(enrolled: AgentFolder, checks: Path) -> None:
    """One run at a time: `check` beside a running daemon says for whom it waits, and Ctrl-C ends the wait."""
    with running(enrolled, checks) as daemon:
        wait_for_check(enrolled)
        with subprocess.Popen(
            [sys.executable, "-m", "llmenv_agent.main", "check", "--check", "torch_basics"],
            env=enrolled.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as check:
            assert check.stderr is not None
            assert f"waits for pid {daemon.pid} (llmenv-agent run)\n" == check.stderr.readline()
            check.send_signal(signal.SIGINT)
            assert check.wait(60) == 130


def test_once_says_what_was_not_delivered(enrolled: AgentFolder, checks: Path) -> None:
    """A collector that is down costs an exit code of its own; the records stay."""
    identity = enrolled.path / "state" / "identity.json"
    address = enrolled.status()["identity"]["agent_addresses"]
    assert isinstance(address, list)
    identity.write_text(identity.read_text().replace(str(address[0]), "127.0.0.1:1"))
    (checks / "patient.py").write_text(textwrap.dedent(PATIENT).lstrip().replace("200", "0"))
    with running(enrolled, checks, "--once", "--deliver-within", "1s") as process:
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 6
    assert "5 records were not delivered within 1 s" in stderr
    assert "127.0.0.1:1 cannot be reached" in stderr
    assert "Traceback" not in stderr
    assert enrolled.status()["spool"]["waiting"] == 5


def test_once_says_what_broke_and_not_that_its_records_wait(enrolled: AgentFolder) -> None:
    """A spool that fails ends the command with its own code, long before the deadline of the delivery."""
    broken = {"LLMENV_FAILPOINTS": "agent.append.after_commit=error"}
    done = enrolled.call("run", "--once", "--deliver-within", "600s", **broken)
    assert done.returncode == 5
    assert "failpoint agent.append.after_commit" in done.stderr
    assert "were not delivered" not in done.stderr
    assert "Traceback" not in done.stderr


def test_an_agent_without_identity_does_not_start(agent: AgentFolder) -> None:
    """It says how to get one."""
    done = agent.call("run")
    assert done.returncode == 4
    assert "llmenv-agent enroll" in done.stderr


def test_an_agent_without_targets_does_not_start(enrolled: AgentFolder) -> None:
    """There would be nothing to do, for ever."""
    enrolled.configure("")
    done = enrolled.call("run")
    assert done.returncode == 2
    assert "No target is configured" in done.stderr


def test_once_without_a_suite_that_has_times_is_a_mistake(enrolled: AgentFolder) -> None:
    """Nothing would run, and 0 would say that all went well."""
    target = f'[[target]]\npython = "{sys.executable}"\n'
    enrolled.configure(target + '[schedule.quick]\nevery = "never"\n')
    done = enrolled.call("run", "--once")
    assert done.returncode == 2
    assert "llmenv-agent: No suite of [schedule] has times of its own" in done.stderr


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool.db", machine_id="machine")
    yield spool
    spool.close()
