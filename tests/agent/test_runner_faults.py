"""Whatever a check does to its process, the runner comes back with the right verdict."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from llmenv.fleet.v1 import result_pb2
from llmenv_agent import leftover, runner
from llmenv_agent.definitions import read_definition
from llmenv_agent.memory_kills import parse_vmstat, read_memory_kills
from llmenv_agent.process import LOG_TAIL_BYTES
from llmenv_agent.targets import target_from

if TYPE_CHECKING:
    from collections.abc import Iterator

FAULTS = Path(__file__).parent / "fault_checks"


def run_fault(name: str, **options: Any) -> result_pb2.Result:
    definition = read_definition(FAULTS / f"{name}.py")
    return runner.run_check(definition, target=target_from(sys.executable), device="cpu", **options)


def is_gone(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def becomes_true(condition: Any, *, seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_failed_assertion_is_a_fail_that_quotes_it() -> None:
    """An assertion without a message is a fail, and its line of source is the reason."""
    result = run_fault("assertion")
    assert result.status == result_pb2.STATUS_FAIL
    assert result.reason.text == "Assertion failed: assert loss < 1.0"
    assert result.error.type == "AssertionError"
    assert "assertion.py" in result.error.traceback


def test_missing_package_is_an_error_that_names_it() -> None:
    """A package in REQUIRES that is not installed is an error, and the check does not run."""
    result = run_fault("missing_package")
    assert result.status == result_pb2.STATUS_ERROR
    assert result.error.missing == "a_package_that_nobody_has"
    assert result.reason.text == "The package a_package_that_nobody_has is not installed in this environment."
    assert result.run_seconds == 0


def test_missing_library_is_an_error_that_names_it() -> None:
    """A dynamic library that the loader does not find is an error of its own, no failed assertion."""
    result = run_fault("missing_library")
    assert result.status == result_pb2.STATUS_ERROR
    assert result.error.missing == "liba_library_that_nobody_has.so.7"
    assert result.error.type == "OSError"


def test_abort_is_a_crash_with_the_last_words() -> None:
    """SIGABRT is a crash whose reason is what the library said before it."""
    result = run_fault("abort")
    assert result.status == result_pb2.STATUS_CRASH
    assert result.process_end.signal_name == "SIGABRT"
    assert result.process_end.signal_number == signal.SIGABRT
    assert "failed assertion `buffer is not large enough'" in result.reason.text
    assert "in run" in result.log_tail  # the Python stack


def test_segmentation_fault_is_a_crash() -> None:
    """SIGSEGV is a crash, and the log shows which Python line it happened in."""
    result = run_fault("segmentation_fault")
    assert result.status == result_pb2.STATUS_CRASH
    assert result.process_end.signal_name == "SIGSEGV"
    assert "segmentation_fault.py" in result.log_tail


def test_kill_from_outside_does_not_blame_memory_when_the_system_killed_nothing() -> None:
    """A SIGKILL that neither the runner nor the system sent for memory is said to be just that."""
    result = run_fault("killed_from_outside")
    assert result.status == result_pb2.STATUS_CRASH
    assert result.process_end.signal_name == "SIGKILL"
    assert not result.process_end.killed_at_deadline
    blames_memory = "probably for memory" in result.reason.text
    assert blames_memory == (read_memory_kills() is None)


def test_kill_for_memory_is_told_by_the_systems_own_count() -> None:
    """A process that the kernel kills in a control group of 64 MiB is said to be killed for memory."""
    with memory_group(64 * 1024 * 1024) as group:
        result = run_fault("killed_for_memory", parameters={"control_group": str(group)})
    assert result.status == result_pb2.STATUS_CRASH
    assert result.process_end.signal_name == "SIGKILL"
    assert (
        result.reason.template
        == "Its process was killed by SIGKILL while the system killed {count} for memory."
    )
    assert int(result.reason.values["count"]) >= 1


@contextlib.contextmanager
def memory_group(limit_bytes: int) -> Iterator[Path]:
    name = f"llmenv-test-{os.getpid()}"
    for root, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(root) / name
        try:
            group.mkdir()
            (group / limit).write_text(str(limit_bytes))
        except OSError:
            with contextlib.suppress(OSError):
                group.rmdir()
            continue
        yield group
        group.rmdir()
        return
    pytest.skip("no control group for memory can be made here; it takes Linux and root")


def test_hang_is_a_timeout_that_says_where() -> None:
    """A busy loop that ignores SIGTERM ends at the deadline, and the reason names the function."""
    result = run_fault("hang")
    assert result.status == result_pb2.STATUS_TIMEOUT
    assert result.process_end.killed_at_deadline
    assert result.reason.text.startswith("Did not end within 6 s; it was in spin (hang.py:")
    assert 6 <= result.wall_seconds < 90


def test_time_that_was_asked_for_is_given() -> None:
    """A soak runs past its own deadline, and is still ended when it takes longer than both together."""
    result = run_fault("long_by_request")
    assert result.status == result_pb2.STATUS_PASS, result.reason.text
    assert result.wall_seconds > 4.5
    result = run_fault("long_by_request", parameters={"longer_seconds": 60.0})
    assert result.status == result_pb2.STATUS_TIMEOUT
    assert result.reason.text.startswith("Did not end within 8.5 s")


@pytest.mark.parametrize("code", [0, 3])
def test_immediate_exit_is_a_crash_with_its_code(code: int) -> None:
    """An os._exit without a result is a crash, also with code 0."""
    result = run_fault("immediate_exit", parameters={"code": code})
    assert result.status == result_pb2.STATUS_CRASH
    assert result.process_end.exit_code == code
    assert result.reason.text == f"Its process exited with code {code} without a result."


def test_output_flood_keeps_its_end_and_counts_the_rest() -> None:
    """50 MB of output neither block the check nor fill memory: 64 KiB are kept, the rest is counted."""
    before = psutil.Process().memory_info().rss
    result = run_fault("output_flood")
    assert result.status == result_pb2.STATUS_PASS
    assert result.log_tail.endswith("the last words\n")
    assert len(result.log_tail.encode()) == LOG_TAIL_BYTES
    assert result.log_bytes_cut + LOG_TAIL_BYTES == 50 * 1_000_000 + len("the last words\n")
    assert psutil.Process().memory_info().rss - before < 25_000_000


def test_child_left_behind_is_ended_and_counted() -> None:
    """A child that outlives its check is ended with the group and counted in the result."""
    result = run_fault("child_left_behind")
    assert result.status == result_pb2.STATUS_PASS
    assert result.process_end.children_left_behind == 1
    assert becomes_true(lambda: is_gone(int(result.facts[0].number)))


def test_escaped_child_does_not_hold_the_runner() -> None:
    """A child in its own session keeps the output open; the runner does not wait for it."""
    start = time.monotonic()
    result = run_fault("escaped_child")
    assert result.status == result_pb2.STATUS_PASS
    assert time.monotonic() - start < 50
    os.kill(int(result.facts[0].number), signal.SIGKILL)


def test_crash_after_the_result_turns_a_pass_into_a_warning() -> None:
    """A process that aborts while it exits has done its work, and that it aborted is said."""
    result = run_fault("crash_at_exit")
    assert result.status == result_pb2.STATUS_WARN
    assert result.process_end.signal_name == "SIGABRT"
    assert "after its result its process ended with SIGABRT" in result.reason.text


def test_result_file_that_is_none_is_an_error() -> None:
    """A result file with a word that is no status is refused with a sentence."""
    result = run_fault("garbage_result")
    assert result.status == result_pb2.STATUS_ERROR
    assert result.reason.text == "Its result file cannot be used: its status is no word of status."


def test_exception_without_words_is_an_error() -> None:
    """Not even its text can be asked for: the check has its verdict all the same, with the traceback."""
    result = run_fault("unspeakable")
    assert (result.status, result.reason.text) == (result_pb2.STATUS_ERROR, "UnspeakableError")
    assert "raise UnspeakableError" in result.error.traceback


def test_missing_interpreter_is_an_error(tmp_path: Path) -> None:
    """An interpreter that has gone since the target was configured is an error, no exception."""
    python = tmp_path / "python"
    python.symlink_to(sys.executable)
    target = target_from(str(python))
    python.unlink()
    result = runner.run_check(read_definition(FAULTS / "assertion.py"), target=target, device="cpu")
    assert result.status == result_pb2.STATUS_ERROR
    assert result.reason.text == f"The interpreter {python} cannot be started: No such file or directory."


def test_interpreter_without_its_library_is_an_error_that_names_it(tmp_path: Path) -> None:
    """An interpreter whose own shared library is gone says so, as a venv does after an upgrade."""
    python = tmp_path / "python"
    said = "dyld[501]: Library not loaded: @executable_path/../Python"
    python.write_text(f"#!/bin/sh\necho '{said}' >&2\nkill -ABRT $$\n")
    python.chmod(0o755)
    definition = read_definition(FAULTS / "assertion.py")
    result = runner.run_check(definition, target=target_from(str(python)), device="cpu")
    assert result.status == result_pb2.STATUS_ERROR
    assert result.error.missing == "Python"


def test_cases_that_crash_or_hang_cost_their_own_rows() -> None:
    """Rows after an abort and after a hang are run in fresh processes, in order, each once."""
    result = run_fault("crashing_cases")
    assert [(case.name, case.status) for case in result.cases] == [
        ("right", result_pb2.STATUS_PASS),
        ("aborts", result_pb2.STATUS_CRASH),
        ("right again", result_pb2.STATUS_PASS),
        ("hangs", result_pb2.STATUS_TIMEOUT),
        ("right at last", result_pb2.STATUS_PASS),
    ]
    assert json.loads(result.cases[1].parameters_json) == {"word": "aborts"}
    assert result.cases[3].reason.text.startswith("Did not end within 6 s; it was in run (crashing_cases.py:")
    assert result.facts[0].text == (
        "right: pass, aborts: crash, right again: pass, hangs: timeout, right at last: pass"
    )


def test_check_with_crashed_cases_does_not_pass() -> None:
    """A check that says pass in its last process is a crash when a row ended an earlier one."""
    result = run_fault("crashing_cases")
    assert result.status == result_pb2.STATUS_CRASH
    assert result.reason.text == "1 of 5 cases ended its process, first aborts."


def test_fresh_processes_are_bounded() -> None:
    """A check every row of which aborts is given up, and the reason says so."""
    result = run_fault("always_crashing_cases")
    assert len(result.cases) == runner.MOST_PROCESSES
    assert result.status == result_pb2.STATUS_CRASH
    assert result.reason.text.startswith(f"Gave up after {runner.MOST_PROCESSES} processes")


def test_cancelled_check_ends_with_its_process(tmp_path: Path) -> None:
    """Setting the event ends the running process and raises instead of inventing a verdict."""
    note, cancelled = tmp_path / "pid", threading.Event()
    threading.Thread(target=lambda: becomes_true(note.exists) and cancelled.set()).start()
    with pytest.raises(runner.CheckCancelledError):
        run_fault("endless", parameters={"note": str(note)}, cancelled=cancelled)
    assert becomes_true(lambda: is_gone(int(note.read_text())))


AGENT = """
import sys
from pathlib import Path
from llmenv_agent.definitions import read_definition
from llmenv_agent.runner import run_check
from llmenv_agent.targets import target_from
run_check(
    read_definition(Path(sys.argv[1])),
    target=target_from(sys.executable),
    device="cpu",
    parameters={"note": sys.argv[2]},
    leftover_file=Path(sys.argv[3]),
)
"""


@contextlib.contextmanager
def agent_with_a_check(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A small agent in a process of its own, and the pid of the check that it runs."""
    note = folder / "pid"
    arguments = [str(FAULTS / "endless.py"), str(note), str(folder / "leftover.json")]
    with subprocess.Popen([sys.executable, "-c", AGENT, *arguments]) as agent:
        assert becomes_true(lambda: note.exists() and note.read_text())
        yield agent, int(note.read_text())
        agent.kill()
    leftover.end_leftover(folder / "leftover.json")


def test_check_dies_with_a_killed_agent(tmp_path: Path) -> None:
    """kill -9 of the agent ends the check that it was running."""
    with agent_with_a_check(tmp_path) as (agent, check_pid):
        agent.kill()
        assert becomes_true(lambda: is_gone(check_pid))


def test_next_agent_removes_what_the_killed_one_left(tmp_path: Path) -> None:
    """The note of a killed agent leads to its private folder, which the next one removes."""
    with agent_with_a_check(tmp_path) as (agent, check_pid):
        folder = Path(json.loads((tmp_path / "leftover.json").read_text())["folder"])
        assert folder.is_dir()
        agent.kill()
        assert becomes_true(lambda: is_gone(check_pid))
    assert not leftover.end_leftover(tmp_path / "leftover.json")
    assert not folder.exists()
    assert not (tmp_path / "leftover.json").exists()


def test_next_agent_ends_a_check_that_lives_on(tmp_path: Path) -> None:
    """A check whose agent is gone and which cannot notice is ended by the next agent."""
    with agent_with_a_check(tmp_path) as (agent, check_pid):
        os.kill(check_pid, signal.SIGSTOP)  # stopped, it does not see the end of its pipe
        assert becomes_true(lambda: psutil.Process(check_pid).status() == psutil.STATUS_STOPPED)
        agent.kill()
        agent.wait()
        assert not is_gone(check_pid)
        assert leftover.end_leftover(tmp_path / "leftover.json")
        assert becomes_true(lambda: is_gone(check_pid))


def test_recycled_pid_is_never_ended(tmp_path: Path) -> None:
    """A note that names a process without the folder in its command line ends nothing."""
    note = tmp_path / "leftover.json"
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
        started = psutil.Process(stranger.pid).create_time()
        folder = str(tmp_path / "llmenv-check-gone")
        note.write_text(json.dumps({"pid": stranger.pid, "started": started, "folder": folder}))
        assert not leftover.end_leftover(note)
        assert stranger.poll() is None
        stranger.kill()


def test_note_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    """A full or read-only disk, here a file where the folder should be, is no reason not to check."""
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "leftover.json"
    with leftover.noted(path) as note:
        note.write(os.getpid(), tmp_path)
    assert not leftover.end_leftover(path)


def test_note_that_is_half_written_names_nobody(tmp_path: Path) -> None:
    """A note cut off by a full disk is removed and nothing is ended."""
    note = tmp_path / "leftover.json"
    note.write_text('{"pid": 1')
    assert not leftover.end_leftover(note)
    assert not note.exists()


def test_system_without_the_count_of_memory_kills_has_none() -> None:
    """The count is read from its own line, and its absence is no zero."""
    assert parse_vmstat("nr_free_pages 1\noom_kill 7\n") == 7
    assert parse_vmstat("nr_free_pages 1\n") is None
