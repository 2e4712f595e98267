"""One run at a time on a machine, whoever holds the lock and however its holder ends."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from llmenv_agent.run_lock import Holder, LockCancelledError, RunLockError, lock_path, run_lock

HOLD = """
import sys
from pathlib import Path
from llmenv_agent.run_lock import run_lock
with run_lock("a schedule", path=Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(path: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock until its stdin ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.lock"


def test_second_comer_waits_and_hears_for_whom(path: Path) -> None:
    """The holder's pid and purpose are told once, and the lock comes when the holder ends."""
    with hold(path) as holder:
        heard: list[Holder] = []

        def on_wait(waited_for: Holder) -> None:
            heard.append(waited_for)
            assert holder.stdin is not None
            holder.stdin.close()

        with run_lock("a person", path=path, on_wait=on_wait):
            assert heard == [Holder(pid=holder.pid, purpose="a schedule")]


def test_killed_holder_gives_the_lock_back(path: Path) -> None:
    """kill -9 of the holder releases the lock, whatever the file still says."""
    with hold(path) as holder:
        holder.kill()
        holder.wait()
        with run_lock("the next", path=path, on_wait=lambda _: pytest.fail("waited for a dead holder")):
            assert f'"pid": {os.getpid()}' in path.read_text()


def test_waiting_can_be_cancelled(path: Path) -> None:
    """A set event ends the waiting with an error of its own."""
    cancelled = threading.Event()
    cancelled.set()
    with hold(path) as holder:
        with pytest.raises(LockCancelledError), run_lock("a person", path=path, cancelled=cancelled):
            pytest.fail("held twice")
        holder.kill()


def test_lock_is_for_all_users(path: Path) -> None:
    """The file can be opened by everybody, whatever the umask says."""
    before = os.umask(0o077)
    try:
        with run_lock("a person", path=path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o666
    finally:
        os.umask(before)


def test_link_is_not_followed(tmp_path: Path, path: Path) -> None:
    """A link laid where the lock should be does not make us write into its target."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path.symlink_to(victim)
    with pytest.raises(RunLockError, match="cannot be opened; set LLMENV_RUN_LOCK"), run_lock("a", path=path):
        pytest.fail("held")
    assert victim.read_text() == "precious"


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
def test_file_of_another_user_can_be_held() -> None:
    """In a sticky folder, on a file that root made, another user gets the lock."""
    folder = Path("/tmp") / f"llmenv-lock-{os.getpid()}"
    folder.mkdir()
    folder.chmod(0o1777)
    path = folder / "run.lock"
    try:
        with run_lock("root", path=path):
            pass
        path.chmod(0o644)
        os.seteuid(65534)
        try:
            with run_lock("nobody", path=path, on_wait=lambda _: pytest.fail("waited for nobody")):
                assert '"root"' in path.read_text()  # not ours to write
        finally:
            os.seteuid(0)
    finally:
        path.unlink(missing_ok=True)
        folder.rmdir()


def test_replaced_file_is_noticed(path: Path) -> None:
    """A lock on a file that was removed meanwhile is none: the next comer would open another."""
    with hold(path) as holder:
        waits: list[Holder] = []

        def replace(waited_for: Holder) -> None:
            waits.append(waited_for)
            path.unlink()

        with run_lock("a person", path=path, on_wait=replace):
            assert path.exists()
            assert len(waits) == 1
        holder.kill()


def test_path_can_be_set(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """LLMENV_RUN_LOCK replaces the machine's own path."""
    monkeypatch.setenv("LLMENV_RUN_LOCK", str(path))
    assert lock_path() == path
    monkeypatch.delenv("LLMENV_RUN_LOCK")
    assert lock_path() == Path("/tmp/llmenv-run.lock")
