"""An agent that takes too much, or does not go on, ends itself."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from llmenv_agent.configuration import parse_configuration
from llmenv_agent.errors import UsageError
from llmenv_agent.exit_codes import ExitCode
from llmenv_agent.watchdog import Usage, Watchdog, read_usage
from llmenv_agent.watchdog_settings import WatchdogSettings

from .set_clocks import SetClocks

MIB = 2**20


class Agent:
    """What a watchdog sees of an agent, as the test sets it. Its loop answers while `run` runs it."""

    def __init__(self, **settings: float) -> None:
        self.loop = asyncio.new_event_loop()
        self.clocks = SetClocks()
        self.memory_mib, self.cpu_seconds, self.overdue = 60.0, 0.0, -1.0
        self.watchdog = Watchdog(
            WatchdogSettings(**settings),
            loop=self.loop,
            overdue_seconds=lambda: self.overdue,
            end=lambda _: None,
            read_usage=lambda: Usage(memory_bytes=int(self.memory_mib * MIB), cpu_seconds=self.cpu_seconds),
            clocks=self.clocks.clocks,
        )

    def look(self, *, is_alive: bool = True, cpu_seconds: float = 0.0) -> str:
        """Ten seconds later."""
        self.clocks.wait(10)
        self.cpu_seconds += cpu_seconds
        trouble = self.watchdog.trouble()
        if is_alive:
            self.loop.run_until_complete(asyncio.sleep(0))
        return trouble or ""


def test_an_agent_at_rest_is_left_alone() -> None:
    """A day of it."""
    agent = Agent()
    assert {agent.look(cpu_seconds=0.01) for _ in range(8_640)} == {""}


def test_too_much_memory_is_said() -> None:
    """At the first look: it only gets worse."""
    agent = Agent(memory_mib=256)
    agent.memory_mib = 300
    assert agent.look() == "The agent has 300 MiB resident, more than 256; it ends itself."


def test_too_much_cpu_is_said_after_its_window() -> None:
    """The delivery of a large spool takes a core for a minute, which is no trouble."""
    agent = Agent(cpu_percent=50, cpu_window_seconds=600)
    assert {agent.look(cpu_seconds=10) for _ in range(6)} == {""}
    assert {agent.look(cpu_seconds=0) for _ in range(60)} == {""}
    looks = [agent.look(cpu_seconds=6) for _ in range(60)]
    assert looks[-1] == "The agent used 60 % of a core for 600 s, more than 50 %; it ends itself."
    assert looks[30] == ""


def test_a_loop_that_does_not_answer_is_said() -> None:
    """After as many looks as make up the bound."""
    agent = Agent(stuck_after_seconds=30)
    looks = [agent.look(is_alive=False) for _ in range(4)]
    assert looks == ["", "", "", "The agent's event loop has not answered for 30 s; it ends itself."]


def test_a_pause_is_not_taken_for_a_stuck_loop() -> None:
    """SIGSTOP for an hour is one look, and the loop answers the next."""
    agent = Agent(stuck_after_seconds=30)
    agent.look(is_alive=False)
    agent.clocks.wait(3_600)
    assert agent.look() == ""
    assert agent.look() == ""


def test_a_check_that_is_not_ended_is_said() -> None:
    """Its deadline passed, and for as many looks the worker has not ended it."""
    agent = Agent(stuck_after_seconds=30)
    agent.overdue = 5
    looks = [agent.look() for _ in range(3)]
    assert looks == ["", "", "A check should have been ended 30 s ago; the agent ends itself."]
    agent.overdue = -1
    assert agent.look() == ""


def test_what_this_process_takes_is_read() -> None:
    """Real figures: memory of this interpreter, CPU that goes up."""
    before = read_usage()
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    after = read_usage()
    assert 10 * MIB < after.memory_bytes < 4_096 * MIB
    assert after.cpu_seconds - before.cpu_seconds >= 0.03


def test_it_asks_the_loop_to_end_in_order() -> None:
    """Through the loop, in its thread, and it does not end a process that ends by itself."""
    asked: list[tuple[str, str]] = []

    async def scenario() -> None:
        ended = asyncio.Event()

        def end(sentence: str) -> None:
            asked.append((sentence, threading.current_thread().name))
            ended.set()

        watchdog = Watchdog(
            WatchdogSettings(memory_mib=1),
            loop=asyncio.get_running_loop(),
            overdue_seconds=lambda: -1.0,
            end=end,
            look_every_seconds=0.01,
        )
        watchdog.start()
        await asyncio.wait_for(ended.wait(), 90)
        watchdog.stop()

    asyncio.run(scenario())
    ((sentence, thread),) = asked
    assert "more than 1; it ends itself." in sentence
    assert thread == "MainThread"


STUCK = """
import asyncio, logging, sys, time
from llmenv_agent.watchdog import Watchdog
from llmenv_agent.watchdog_settings import WatchdogSettings

class Wedged(logging.StreamHandler):
    def emit(self, record):
        super().emit(record)
        time.sleep(600)

logging.basicConfig(handlers=[Wedged(sys.stderr)])

async def main():
    watchdog = Watchdog(
        WatchdogSettings(stuck_after_seconds=1), loop=asyncio.get_running_loop(),
        overdue_seconds=lambda: -1.0, end=lambda _: None, look_every_seconds=0.1,
    )
    watchdog.start()
    time.sleep(600)

asyncio.run(main())
"""


def test_a_process_whose_loop_is_stuck_is_ended() -> None:
    """Although neither the loop nor the log ever comes back: the code is that of the watchdog."""
    done = subprocess.run(
        [sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == ExitCode.WATCHDOG
    assert "The agent's event loop has not answered for 1 s; it ends itself." in done.stderr


def test_every_key_arrives() -> None:
    """Each in its own unit, the others at their defaults."""
    text = """
        [watchdog]
        memory_mib = 512
        cpu_percent = 80
        cpu_window = "5m"
        stuck_after = "90s"
    """
    assert parse_configuration(text, path=Path("agent.toml")).watchdog == WatchdogSettings(
        memory_mib=512, cpu_percent=80, cpu_window_seconds=300, stuck_after_seconds=90
    )
    assert parse_configuration("", path=Path("agent.toml")).watchdog == WatchdogSettings()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("memory = 1", "agent.toml:2: watchdog.memory is not known here"),
        ("memory_mib = -1", "agent.toml:2: watchdog.memory_mib must be a number above 0"),
        ("cpu_percent = 101", "agent.toml:2: watchdog.cpu_percent must be a number above 0, at most 100"),
        ('stuck_after = "0s"', "agent.toml:2: watchdog.stuck_after must be a second or more"),
    ],
)
def test_a_mistake_is_said_with_its_line(line: str, problem: str) -> None:
    """As everywhere in the file."""
    with pytest.raises(UsageError) as caught:
        parse_configuration(f"[watchdog]\n{line}\n", path=Path("agent.toml"))
    assert problem in str(caught.value)
