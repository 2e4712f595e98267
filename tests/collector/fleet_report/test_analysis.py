"""The process of the statistics: it answers, is bounded, comes back, and ends with the collector."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from llmenv_collector.errors import AnalysisError, AnalysisLimitError
from llmenv_collector.fleet_report.analysis import Analysis, Bounds

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def analysis() -> Iterator[Analysis]:
    opened = Analysis()
    yield opened
    opened.close()


def test_it_takes_and_returns_arrays_in_one_lasting_process(analysis: Analysis) -> None:
    """The second question finds the process of the first one, and it is not this one."""
    values = np.array([3.0, 1.0, 2.0])
    assert analysis.judge(np.sort, values).tolist() == [1.0, 2.0, 3.0]
    process = analysis.judge(os.getpid)
    assert (process != os.getpid(), process == analysis.judge(os.getpid)) == (True, True)


def test_it_loads_neither_grpc_nor_duckdb(analysis: Analysis) -> None:
    """It has numpy and the statistics before the first question."""
    heavy = "__import__('sys').modules.keys() & {'grpc', 'duckdb', 'torch'}"
    assert analysis.judge(eval, heavy) == set()
    for module in ("chips", "comparisons", "compare", "upgrade", "self_test"):
        analysis.judge(exec, f"import llmenv_collector.fleet_report.{module}")
    assert analysis.judge(eval, heavy) == set()
    wanted = "{'numpy', 'llmenv_collector.statistics.bootstrap'} <= __import__('sys').modules.keys()"
    assert analysis.judge(eval, wanted)


def test_a_failure_is_a_sentence_and_the_process_stays(
    analysis: Analysis, caplog: pytest.LogCaptureFixture
) -> None:
    """Who asked reads what went wrong; the log has where."""
    process = analysis.judge(os.getpid)
    with pytest.raises(AnalysisError, match=r"^The statistics of this report failed: ValueError: "):
        analysis.judge(math.sqrt, -1.0)
    assert "Traceback" in caplog.text
    assert process == analysis.judge(os.getpid)


def test_it_is_started_anew_when_it_died(analysis: Analysis) -> None:
    """While it was at work that is an error; while it was idle nobody sees it."""
    process = analysis.judge(os.getpid)
    with pytest.raises(AnalysisError, match="ended by signal 9: ask again"):
        analysis.judge(eval, "__import__('os').kill(__import__('os').getpid(), 9)")
    second = analysis.judge(os.getpid)
    os.kill(second, signal.SIGKILL)
    while is_running(second):
        time.sleep(0.01)
    assert len({process, second, analysis.judge(os.getpid)}) == 3


def test_it_is_ended_at_its_deadline() -> None:
    """Also who waits for another one's answer waits no longer than that."""
    analysis = Analysis(Bounds(seconds=2.0))
    analysis.judge(os.getpid)
    began = time.monotonic()
    errors: list[AnalysisError] = []

    def wait() -> None:
        try:
            analysis.judge(time.sleep, 60)
        except AnalysisLimitError as error:
            errors.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    with pytest.raises(AnalysisLimitError, match="took longer than 2 s and were ended"):
        analysis.judge(time.sleep, 60)
    waiter.join()
    assert (len(errors), time.monotonic() - began < 30) == (1, True)
    analysis.close()


def test_it_is_ended_when_it_takes_too_much_memory() -> None:
    """And the next question has a process again."""
    analysis = Analysis(Bounds(memory_bytes=300_000_000))
    process = analysis.judge(os.getpid)
    with pytest.raises(AnalysisLimitError, match="needed more than 300 MB of memory and were ended"):
        analysis.judge(np.ones, 100_000_000)
    assert process != analysis.judge(os.getpid)
    analysis.close()


def test_what_the_collector_takes_is_not_counted() -> None:
    """`ru_maxrss` survives fork and exec: a collector of half a gigabyte would have had no statistics."""
    script = (
        "import os\nfrom llmenv_collector.fleet_report.analysis import Analysis, Bounds\n"
        "much = b'x' * 500_000_000\nanalysis = Analysis(Bounds(memory_bytes=300_000_000))\n"
        "print(analysis.judge(os.getpid) > 0); analysis.close()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_it_ends_with_the_collector() -> None:
    """Also one that is killed: no process stays behind."""
    script = (
        "import os, time\nfrom llmenv_collector.fleet_report.analysis import Analysis\n"
        "print(Analysis().judge(os.getpid), flush=True); kept = Analysis()\n"
        "print(kept.judge(os.getpid), flush=True); time.sleep(60)"
    )
    collector = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert collector.stdout is not None
    processes = [int(collector.stdout.readline()) for _ in range(2)]
    collector.kill()
    collector.wait()
    collector.stdout.close()
    deadline = time.monotonic() + 30
    while any(is_running(one) for one in processes) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_running(one) for one in processes)


def test_after_the_end_there_is_none() -> None:
    """An answer that is under way ends with an error, and so does every later one."""
    analysis = Analysis()
    process = analysis.judge(os.getpid)
    threading.Timer(0.2, analysis.close).start()
    with pytest.raises(AnalysisError):
        analysis.judge(time.sleep, 60)
    assert not is_running(process)
    with pytest.raises(AnalysisError, match="about to end"):
        analysis.judge(os.getpid)


def is_running(process: int) -> bool:
    """One that ended and whom nobody has waited for is none."""
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False
    ).stdout.strip()
    return bool(state) and not state.startswith("Z")
