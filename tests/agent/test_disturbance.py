"""A check whose figures were spoilt by another process or by sleep keeps its verdict and not its figures."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from llmenv.fleet.v1 import result_pb2
from llmenv_agent.clocks import SYSTEM_CLOCKS, Clocks, Span
from llmenv_agent.definitions import read_definition
from llmenv_agent.disturbance import watched
from llmenv_agent.facts.agx_clients import parse_agx_clients
from llmenv_agent.facts.nvidia_pmon import parse_nvidia_pmon
from llmenv_agent.gpu_use import GpuUse, Reading
from llmenv_agent.runner import run_check
from llmenv_agent.targets import target_from

from .set_clocks import SetClocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEASURING = read_definition(Path(__file__).parent / "fault_checks" / "measuring.py")
START_AND_LEAVE = """
import subprocess
nowhere = subprocess.DEVNULL
print(subprocess.Popen(["sleep", "120"], stdout=nowhere, stderr=nowhere).pid)
"""
# As ioreg writes the entries: keys of an entry in any order, a process with several clients, one without use.
AGX = """
+-o AGXDeviceUserClient  <class AGXDeviceUserClient, id 0x100002dbc, !registered, !matched, active, busy 0>
    {
      "AppUsage" = ()
      "IOUserClientCreator" = "pid 444, runningboardd"
    }

+-o AGXDeviceUserClient  <class AGXDeviceUserClient, id 0x100002dbd, !registered, !matched, active, busy 0>
    {
      "AppUsage" = ({"API"="Metal","accumulatedGPUTime"=2000000000},{"accumulatedGPUTime"=500000000})
      "IOUserClientCreator" = "pid 440, WindowServer"
      "CommandQueueCount" = 1
    }

+-o AGXDeviceUserClient  <class AGXDeviceUserClient, id 0x100002dbe, !registered, !matched, active, busy 0>
    {
      "IOUserClientCreator" = "pid 440, WindowServer"
      "AppUsage" = ({"API"="Metal","lastSubmittedTime"=0,"accumulatedGPUTime"=1000000000})
    }
"""
PMON = """\
# gpu         pid   type     sm    mem    enc    dec    jpg    ofa    command
# Idx           #    C/G      %      %      %      %      %      %    name
    0       {pid}     C     {share}      4      -      -      -      -    python
    0      4194305     C     99      4      -      -      -      -    of_another_container
    1          -     -      -      -      -      -      -      -    -
"""


@pytest.fixture
def stranger() -> Iterator[int]:
    """A process that is no descendant of this one."""
    made = subprocess.run([sys.executable, "-c", START_AND_LEAVE], capture_output=True, text=True, check=True)
    pid = int(made.stdout)
    yield pid
    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def pmon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets what `nvidia-smi` prints from now on."""
    said = tmp_path / "pmon.txt"
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$1" = pmon ] && echo >> "{said}.looks" && cat "{said}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    said.write_text("")
    return said.write_text


def measured(
    device: str = "cuda", *, clocks: Clocks = SYSTEM_CLOCKS, seconds: float = 0.0
) -> result_pb2.Result:
    return run_check(
        MEASURING,
        target=target_from(sys.executable),
        device=device,
        parameters={"seconds": seconds},
        watch_machine=functools.partial(watched, clocks=clocks, look_every_seconds=0.1),
    )


def figures(result: result_pb2.Result) -> list[str]:
    return [measurement.name for each in (result, *result.cases) for measurement in each.measurements]


def test_an_undisturbed_check_keeps_its_figures(pmon: Callable[[str], None], stranger: int) -> None:
    """Another process with an idle context is no disturbance, and is not counted."""
    pmon(PMON.format(pid=stranger, share="-"))
    result = measured()
    assert figures(result) == ["steps_per_second", "seconds"]
    assert not result.HasField("measurements_withheld")
    assert result.conditions_after.other_gpu_processes == 0


def test_another_process_on_the_gpu_spoils_the_figures(pmon: Callable[[str], None], stranger: int) -> None:
    """The verdict stands, the figures of the check and of its cases are gone, and the reason names who."""
    pmon(PMON.format(pid=stranger, share=37))
    result = measured()
    assert result.status == result_pb2.STATUS_PASS
    assert figures(result) == []
    assert result.measurements_withheld.text == (
        "Another process used the GPU meanwhile: sleep, 37 % of the time."
    )
    assert result.conditions_after.other_gpu_processes == 1
    assert not result.conditions_before.HasField("other_gpu_processes")


def test_a_process_that_ends_before_the_check_does_is_seen(
    pmon: Callable[[str], None], stranger: int, tmp_path: Path
) -> None:
    """Some of the looks saw it at 80 %."""
    pmon(PMON.format(pid=stranger, share=80))
    looks = tmp_path / "pmon.txt.looks"

    def free_the_gpu() -> None:
        while not looks.exists() or len(looks.read_text()) < 5:
            time.sleep(0.02)
        pmon(PMON.format(pid=stranger, share=0))

    threading.Thread(target=free_the_gpu, daemon=True).start()
    assert "Another process used the GPU meanwhile: sleep" in measured(seconds=2.0).measurements_withheld.text


def test_our_own_processes_are_no_disturbance(pmon: Callable[[str], None]) -> None:
    """Nor is one whose number means nothing here."""
    pmon(PMON.format(pid=os.getpid(), share=99))
    result = measured()
    assert figures(result) == ["steps_per_second", "seconds"]
    assert result.conditions_after.other_gpu_processes == 0


def test_a_check_on_the_cpu_does_not_ask(pmon: Callable[[str], None], stranger: int) -> None:
    """Whoever uses the GPU is not in its way."""
    pmon(PMON.format(pid=stranger, share=90))
    result = measured("cpu")
    assert figures(result) == ["steps_per_second", "seconds"]
    assert not result.conditions_after.HasField("other_gpu_processes")


def test_where_it_cannot_be_told_nothing_is_said(pmon: Callable[[str], None]) -> None:
    """No count at all is not a count of none."""
    pmon("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n")
    result = measured()
    assert figures(result) == ["steps_per_second", "seconds"]
    assert not result.conditions_after.HasField("other_gpu_processes")


def test_a_sleep_in_between_spoils_the_figures() -> None:
    """The awake clock fell behind the one that goes on: the lid was closed for an hour."""
    asleep = iter([0.0])
    clocks = Clocks(elapsed=lambda: SYSTEM_CLOCKS.elapsed() + next(asleep, 3_600.0))
    result = measured("cpu", clocks=clocks)
    assert figures(result) == []
    assert result.measurements_withheld.text == "The machine slept for 3600 s meanwhile."


def test_setting_the_time_of_day_spoils_nothing() -> None:
    """Sleep is not told by the wall clock, which people and NTP set."""
    steps = iter([0.0])
    clocks = Clocks(wall=lambda: time.time() + next(steps, 86_400.0))
    assert figures(measured("cpu", clocks=clocks)) == ["steps_per_second", "seconds"]


def test_what_the_clocks_say_of_a_sleep() -> None:
    """Waiting and setting the time are no sleep, and two clocks a little apart give no negative one."""
    clocks = SetClocks()
    span = Span(clocks.clocks)
    clocks.wait(10)
    clocks.set_forward(-500)
    assert (span.awake_seconds(), span.slept_seconds()) == (10, 0)
    clocks.sleep(60)
    clocks.elapsed -= 0.001
    assert (span.awake_seconds(), span.slept_seconds()) == (10, pytest.approx(59.999))
    clocks.elapsed -= 100
    assert span.slept_seconds() == 0


def test_the_systems_clocks_go_on() -> None:
    """All three exist here, the awake one is that of time.monotonic, and this machine is awake."""
    span = Span()
    awake, monotonic = SYSTEM_CLOCKS.awake(), time.monotonic()
    assert awake == pytest.approx(monotonic, abs=0.5)
    while span.awake_seconds() < 0.05:
        time.sleep(0.01)
    assert span.slept_seconds() < 0.05


def test_the_gpu_time_of_a_macs_processes_is_added_up() -> None:
    """Every client of a process counts; a text without any tells nothing."""
    assert parse_agx_clients(AGX) == {444: 0.0, 440: 3.5}
    assert parse_agx_clients("") is None


def test_the_busiest_gpu_of_a_process_counts() -> None:
    """A process on two GPUs has two lines."""
    lines = (
        PMON.format(pid=7, share=20)
        + "    1       7     C     30      4      -      -      -      -    python\n"
    )
    assert parse_nvidia_pmon(lines) == {7: 0.3, 4194305: 0.99}
    assert parse_nvidia_pmon("No devices were found\n") is None
    assert parse_nvidia_pmon("") is None


def test_gpu_seconds_count_from_the_first_look(stranger: int) -> None:
    """What a process used before is not held against it; what it used in between is its share."""
    clocks = SetClocks()
    totals = iter([100.0, 101.0, 103.0])
    use = GpuUse(read=lambda: Reading(seconds={stranger: next(totals), 1: 5.0}), clocks=clocks.clocks)
    use.look()
    clocks.wait(5)
    use.look()
    clocks.wait(5)
    use.look_back()
    assert [(each.pid, each.share) for each in use.others()] == [(stranger, pytest.approx(0.3))]


def test_a_process_that_begins_meanwhile_counts_from_its_beginning(stranger: int) -> None:
    """Its first total is all its own, and its last one stays when it has ended."""
    clocks = SetClocks()
    readings = iter([{1: 5.0}, {1: 5.0, stranger: 4.0}, {1: 5.0}])
    use = GpuUse(read=lambda: Reading(seconds=next(readings)), clocks=clocks.clocks)
    for _ in range(3):
        use.look()
        clocks.wait(5)
    assert [each.share for each in use.others()] == [pytest.approx(0.4)]


CAFFEINATE = """\
#!/bin/sh
echo "$@" >> "{log}"
while kill -0 "$4" 2>/dev/null; do sleep 0.05; done
"""


def test_checks_keep_a_mac_awake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """caffeinate is told the process of the check, and nothing of it is left."""
    program, log = tmp_path / "caffeinate", tmp_path / "log"
    program.write_text(CAFFEINATE.format(log=log))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert measured("cpu", seconds=0.5).status == result_pb2.STATUS_PASS
    (arguments,) = log.read_text().splitlines()
    *flags, pid = arguments.split()
    assert flags == ["-i", "-m", "-w"]
    assert int(pid) != os.getpid()
    assert [each for each in psutil.Process().children() if str(program) in each.cmdline()] == []


def test_a_caffeinate_that_cannot_be_started_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check that may be put to sleep is better than none."""
    program = tmp_path / "caffeinate"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert measured("cpu").status == result_pb2.STATUS_PASS
