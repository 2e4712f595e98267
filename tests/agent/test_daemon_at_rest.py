"""`llmenv-agent run` left alone, with a real collector: what it waits for, is told, leaves out and takes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import pytest
from llmenv.fleet.v1 import record_pb2, result_pb2
from llmenv_agent.exit_codes import ExitCode
from llmenv_agent.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import AgentFolder

CHECK = '''
"""Does it end as it is told?"""
SUITES = ("{suite}",)
REQUIRES = ()
TIMEOUT_SECONDS = 60
PARAMETERS = {{}}
def run(probe):
    import os, time
    {does}
    probe.passed("It ended.")
'''
TARGET = """
[agent]
checks_folders = ["{folder}"]
[[target]]
name = "plain"
python = "{python}"
"""
# Whatever runs on this machine is too much for it.
BUSY = "[policy]\ncpu_percent = 0.000001\n"
IDLE = "[policy]\nonly_when_idle = false\n"


class Running:
    """An agent and what it says."""

    def __init__(self, agent: AgentFolder) -> None:
        self._agent = agent
        self.process = subprocess.Popen(
            [sys.executable, "-m", "llmenv_agent.main", "run"],
            env=agent.environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._said: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._said.append(line)

    def wait_for(self, words: str) -> None:
        wait_until(lambda: any(words in line for line in self._said), lambda: "".join(self._said))

    def configure(self, text: str) -> None:
        self._agent.configure(text)
        self.process.send_signal(signal.SIGHUP)

    def records(self, kind: str) -> list[record_pb2.Record]:
        path = self._agent.path / "state" / "spool.db"
        if not path.exists():  # the agent has only begun
            return []
        spool = Spool(path)
        try:
            return [each for each in spool.records() if each.WhichOneof("kind") == kind]
        finally:
            spool.close()


def wait_until(condition: Callable[[], bool], explain: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.05)


@contextmanager
def running(agent: AgentFolder) -> Iterator[Running]:
    started = Running(agent)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait()


@pytest.fixture
def configured(enrolled: AgentFolder) -> str:
    """The beginning of agent.toml, with two suites of checks of a lab's own."""
    folder = enrolled.path / "lab"
    folder.mkdir()
    for suite, does in (("calm", "pass"), ("wild", "os.abort()"), ("slow", "time.sleep(50)")):
        check = textwrap.dedent(CHECK).lstrip().format(suite=suite, does=does)
        (folder / f"{suite}_check.py").write_text(check)
    return TARGET.format(folder=folder, python=sys.executable)


def test_a_suite_waits_for_an_idle_machine(enrolled: AgentFolder, configured: str) -> None:
    """It says so; once it may start it does, and the record of its wait comes before its run."""
    schedule = '[schedule.calm]\nevery = "24h"\n'
    enrolled.configure(configured + schedule + BUSY)
    with running(enrolled) as agent:
        agent.wait_for("suite calm waits: Other processes use")
        assert agent.records("run_started") == []
        agent.configure(configured + schedule + IDLE)
        agent.wait_for("calm_check: pass")
        (waited,) = agent.records("suite_waited")
        assert waited.suite_waited.suite == "calm"
        assert not waited.suite_waited.is_given_up
        assert waited.suite_waited.waited_seconds > 0
        assert waited.suite_waited.reason.template == "Other processes use {percent} % of all cores."
        assert waited.record_id < agent.records("run_started")[0].record_id


def test_a_wrong_configuration_is_refused_and_the_old_one_stays(
    enrolled: AgentFolder, configured: str
) -> None:
    """With its sentence, file and line; the next right one is taken."""
    enrolled.configure(configured + '[schedule.calm]\nevery = "24h"\n' + IDLE)
    with running(enrolled) as agent:
        agent.wait_for("calm_check: pass")
        agent.configure(configured + '[schedule.nonsense]\nevery = "24h"\n')
        agent.wait_for("the configuration is not taken, the old one stays")
        agent.wait_for("schedule.nonsense is no suite; there are")
        agent.configure("[agent]\n")
        agent.wait_for("No target is configured")
        agent.configure(
            f"{configured.replace('[agent]', '[agent]' + chr(10) + 'device = ' + chr(34) + 'cpu' + chr(34))}"
        )
        agent.wait_for("read the configuration again")
        assert agent.process.poll() is None


def test_a_reload_starts_what_the_new_schedule_has(enrolled: AgentFolder, configured: str) -> None:
    """Without a restart; and what ran an hour ago by the old one does not run again."""
    enrolled.configure(configured + '[schedule.calm]\nevery = "24h"\n' + IDLE)
    with running(enrolled) as agent:
        agent.wait_for("calm_check: pass")
        agent.configure(
            configured + '[schedule.calm]\nevery = "24h"\n[schedule.wild]\nevery = "24h"\n' + IDLE
        )
        agent.wait_for("wild_check: crash")
        assert len(agent.records("run_started")) == 2


def test_a_check_that_keeps_crashing_is_left_out(enrolled: AgentFolder, configured: str) -> None:
    """Three runs, three crashes: the fourth run skips it, the log, the spool and `status` say so."""
    schedule = '[schedule.wild]\nevery = "24h"\n'
    enrolled.configure(configured + schedule + IDLE)
    for run in range(4):
        done = enrolled.call("run", "--once")
        assert done.returncode == 0, done.stderr
        assert ("left out: It crashed" in done.stderr) == (run == 2)
    spool = Spool(enrolled.path / "state" / "spool.db")
    results = [each.check_finished.result for each in spool.records() if each.HasField("check_finished")]
    changes = [each for each in spool.records() if each.HasField("quarantine_change")]
    spool.close()
    crash, skip = result_pb2.STATUS_CRASH, result_pb2.STATUS_SKIP
    assert [result.status for result in results] == [crash, crash, crash, skip]
    assert results[3].reason.template == "Left out until {until}: {reason}"
    assert len(changes) == 1
    (left_out,) = enrolled.status()["quarantine"]
    assert (left_out["check"], left_out["target"]) == ("wild_check", "plain")
    assert left_out["reason"] == "It crashed or did not end in time 3 times in a row."
    assert "left out         wild_check in plain until 2" in enrolled.call("status").stdout


def test_an_agent_that_takes_too_much_ends_itself(enrolled: AgentFolder, configured: str) -> None:
    """With a line, its own exit code and an orderly end: nothing waits and no process is left."""
    schedule = '[schedule.slow]\nevery = "24h"\n'
    enrolled.configure(configured + schedule + IDLE + "[watchdog]\nmemory_mib = 1\n")
    with running(enrolled) as agent:
        wait_until(lambda: bool(agent.records("check_started")))
        assert agent.process.wait(120) == ExitCode.WATCHDOG
        agent.wait_for("MiB resident, more than 1; it ends itself.")
        assert len(agent.records("run_finished")) == 1
    assert enrolled.status()["spool"]["waiting"] == 0


def test_an_agent_at_rest_writes_nothing(enrolled: AgentFolder, configured: str) -> None:
    """Ten seconds after its last run: no file touched, nothing written to a disk, and few wakings."""
    enrolled.configure(configured + '[schedule.calm]\nevery = "24h"\n' + IDLE)
    with running(enrolled) as agent:
        agent.wait_for("calm_check: pass")
        wait_until(lambda: enrolled.status()["spool"]["waiting"] == 0)
        process = psutil.Process(agent.process.pid)
        time.sleep(2)  # what follows the run, such as the last acknowledgement, is over
        before = touched(enrolled.path), process.io_counters().write_bytes
        wakings, start = wakings_of(process.pid), time.monotonic()
        time.sleep(10)
        assert (touched(enrolled.path), process.io_counters().write_bytes) == before
        assert (wakings_of(process.pid) - wakings) / (time.monotonic() - start) < 20


def touched(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


def wakings_of(pid: int) -> int:
    """How often its threads waited for something, in all."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 # names are all that is wanted
        with open(f"/proc/{pid}/task/{thread}/status") as file:  # noqa: PTH123 # no Path for a pseudo file
            total += sum(int(line.split()[1]) for line in file if line.startswith("voluntary"))
    return total
