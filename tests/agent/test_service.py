"""`service`: installed, updated, asked about and removed, beside stand-ins that run the job for real.

There is neither a Mac nor a running systemd here: tests/agent/stand_ins answer in their place.
"""

from __future__ import annotations

import json
import os
import plistlib
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import AgentFolder

STAND_INS = Path(__file__).parent / "stand_ins"
NOTHING_TO_DO = """
[agent]
checks_folders = ["{folder}"]
[[target]]
name = "plain"
python = "{python}"
[schedule.idle]
every = "24h"
"""
IDLE_CHECK = '''
"""Does nothing, so that an agent that starts has little to do?"""

SUITES = ("idle",)
REQUIRES = ()
TIMEOUT_SECONDS = 30
PARAMETERS = {}


def run(probe):
    probe.passed("Nothing was asked.")
'''


class ServiceHost:
    """A person's machine with one supervisor, and the agent of that person."""

    def __init__(self, agent: AgentFolder, command: str) -> None:
        self.agent = agent
        self.folder = agent.path / "supervisor"
        self.home = agent.path / "home"
        self.units = self.home / ".config" / "systemd" / "user"
        self.plist = self.home / "Library" / "LaunchAgents" / "org.llmenv.agent.plist"
        for each in (self.folder, self.home, self.units.parent):
            each.mkdir(parents=True)
        script = self.folder / command
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {STAND_INS / command}.py "$@"\n')
        script.chmod(0o755)

    def call(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.agent.call("service", *words, **{**self.variables(), **variables})

    def variables(self) -> dict[str, str]:
        return {
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "STAND_IN_FOLDER": str(self.folder),
            "STAND_IN_UNITS": str(self.units),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "TMPDIR": str(self.folder),  # a checkout may lie in the usual one, where no service may
        }

    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()

    def status(self, **variables: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(
            self.call("status", "--user", "--format", "json", **variables).stdout
        )
        return answer

    def end(self) -> None:
        """Whatever a test left running."""
        for name in ("loaded.json", "state.json"):
            path = self.folder / name
            pid = json.loads(path.read_text())["pid"] if path.exists() else 0
            if pid and is_ours(pid, self.agent.path):
                os.kill(pid, signal.SIGKILL)


def is_ours(pid: int, folder: Path) -> bool:
    """A number may have gone to somebody else's process meanwhile."""
    try:
        return str(folder) in Path(f"/proc/{pid}/cmdline").read_text()
    except FileNotFoundError:
        return False


@pytest.fixture
def idle(enrolled: AgentFolder) -> AgentFolder:
    """An enrolled agent whose one suite takes no time."""
    folder = enrolled.path / "checks"
    folder.mkdir()
    (folder / "idle_check.py").write_text(IDLE_CHECK.lstrip())
    enrolled.configure(NOTHING_TO_DO.format(folder=folder, python=sys.executable))
    return enrolled


@pytest.fixture
def mac(idle: AgentFolder) -> Iterator[ServiceHost]:
    host = ServiceHost(idle, "launchctl")
    yield host
    host.end()


@pytest.fixture
def linux(idle: AgentFolder) -> Iterator[ServiceHost]:
    host = ServiceHost(idle, "systemctl")
    yield host
    host.end()


def wait_for_delivery(host: ServiceHost) -> None:
    """Until the service's agent has delivered something; fails after a generous time."""
    deadline = time.monotonic() + 180
    while (spool := host.agent.status()["spool"]) is None or not spool["stored"]:
        assert time.monotonic() < deadline, host.agent.status()
        time.sleep(0.2)


def test_launchd_runs_the_agent_and_forgets_it_again(mac: ServiceHost) -> None:
    """Installed, it delivers with no variables but the plist's; removed, it leaves nothing."""
    before = sorted(mac.home.rglob("*"))
    done = mac.call("install", "--user", STAND_IN_SCREEN="1")
    assert done.returncode == 0, done.stderr
    assert "Installed; user: running as pid" in done.stderr
    wait_for_delivery(mac)
    state = mac.status(STAND_IN_SCREEN="1")
    assert [state[f"is_{word}"] for word in ("installed", "enabled", "loaded", "running")] == [
        True,
        True,
        True,
        True,
    ]
    log = mac.home / "Library" / "Logs" / "llmenv" / "agent.log"
    assert "connected; the collector has" in log.read_text()
    removed = mac.call("uninstall", "--user", STAND_IN_SCREEN="1")
    assert removed.returncode == 0, removed.stderr
    assert f"Removed {mac.plist}." in removed.stderr
    assert f"Removed {log}." in removed.stderr
    assert f"Kept {mac.agent.path / 'state'}" in removed.stderr
    assert not is_ours(state["pid"], mac.agent.path)
    files = [path for path in sorted(mac.home.rglob("*")) if path.is_file()]
    assert [path for path in before if path.is_file()] == files
    assert mac.call("status", "--user", STAND_IN_SCREEN="1").stdout == "user: not installed\n"


def test_a_second_installation_updates_the_first(mac: ServiceHost) -> None:
    """The old agent ends before the new one starts, also where it was disabled meanwhile."""
    assert mac.call("install", "--user").returncode == 0
    first = mac.status()["pid"]
    (mac.folder / "disabled").touch()
    assert not mac.status()["is_enabled"]
    done = mac.call("install", "--user", LLMENV_LOG_FORMAT="json")
    assert done.returncode == 0, done.stderr
    assert "Updated; user: running as pid" in done.stderr
    second = mac.status()
    assert second["is_enabled"]
    assert first != second["pid"]
    assert not is_ours(first, mac.agent.path)
    assert plistlib.loads(mac.plist.read_bytes())["EnvironmentVariables"]["LLMENV_LOG_FORMAT"] == "json"


def test_without_a_screen_the_job_goes_to_the_users_background_domain(mac: ServiceHost) -> None:
    """gui/UID does not exist over ssh; the person is told what that means."""
    done = mac.call("install", "--user")
    assert f"bootstrap user/{os.geteuid()} {mac.plist}" in mac.calls()
    assert "not logged in at the screen: after a restart only --system runs it." in done.stderr
    assert plistlib.loads(mac.plist.read_bytes())["LimitLoadToSessionType"] == "Background"


def test_purge_takes_the_state_directory_and_says_what_was_lost(mac: ServiceHost) -> None:
    """Identity and spool go only on request, and the collector's side is named."""
    machine = mac.agent.status()["identity"]["machine_id"]
    assert mac.call("install", "--user").returncode == 0
    done = mac.call("uninstall", "--user", "--purge")
    assert f"Removed {mac.agent.path / 'state'}." in done.stderr
    assert f"llmenv-collector machine revoke {machine}" in done.stderr
    assert not (mac.agent.path / "state").exists()


def test_a_service_that_does_not_run_is_said_with_its_last_end(mac: ServiceHost) -> None:
    """The unit's own words, and the meaning of the agent's code."""
    assert mac.call("install", "--user").returncode == 0
    os.kill(mac.status()["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 90
    while mac.status()["is_running"]:
        assert time.monotonic() < deadline
    said = mac.call("status", "--user").stdout
    assert said.startswith("user: loaded, not running, last ended with code 4 (not enrolled)  (launchd, ")


def test_uninstalling_nothing_is_no_error(mac: ServiceHost) -> None:
    """A script may call it on every machine."""
    done = mac.call("uninstall", "--user")
    assert (0, f"There was no service at {mac.plist}.\n") == (done.returncode, done.stderr)


def test_systemd_runs_the_agent_and_forgets_it_again(linux: ServiceHost) -> None:
    """The same on Linux, in the person's own systemd."""
    done = linux.call("install", "--user")
    assert done.returncode == 0, done.stderr
    wait_for_delivery(linux)
    unit = linux.units / "llmenv-agent.service"
    assert linux.calls()[:4] == [
        "--user show --property=Version",
        "--user daemon-reload",
        "--user enable llmenv-agent.service",
        "--user restart llmenv-agent.service",
    ]
    first = linux.status()
    assert first["is_running"]
    assert "Updated; user: running as pid" in linux.call("install", "--user").stderr
    assert first["pid"] != linux.status()["pid"]
    removed = linux.call("uninstall", "--user")
    assert f"Removed {unit}." in removed.stderr
    assert not unit.exists()
    assert linux.call("status", "--user").stdout == "user: not installed\n"
    assert "connected; the collector has" in (linux.folder / "journal").read_text()


def test_a_unit_of_the_machine_runs_as_its_person(linux: ServiceHost, tmp_path: Path) -> None:
    """--system --run-as, with /etc/systemd/system out of reach of this test's machine."""
    folder = Path("/etc/systemd/system")
    if os.geteuid() != 0 or not folder.is_dir() or not shutil.which("unshare"):
        pytest.skip("needs root, unshare and /etc/systemd/system")
    agent = f"{Path(sys.executable).parent / 'llmenv-agent'}"
    steps = [
        f"mount -t tmpfs tmpfs {folder}",
        f"{agent} service install --system --run-as root",
        f"cp {folder}/llmenv-agent.service {tmp_path}/unit",
        f"{agent} service uninstall --system",
        f"ls {folder} > {tmp_path}/left",
    ]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", "\n".join(steps)],
        env={**linux.agent.environment, **linux.variables(), "STAND_IN_UNITS": str(folder)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    assert "\nUser=root\n" in (tmp_path / "unit").read_text()
    assert (tmp_path / "left").read_text() == ""


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--system",), "--system needs --run-as USER"),
        (("--system", "--run-as", "no-such-person"), "There is no user 'no-such-person' on this machine."),
        (("--user", "--run-as", "daemon"), "--user is for"),
    ],
)
def test_a_service_of_nobody_is_refused(mac: ServiceHost, words: tuple[str, ...], sentence: str) -> None:
    """Whose environments are checked must be clear."""
    done = mac.call("install", *words, SUDO_USER="")
    assert done.returncode == 2
    assert sentence in done.stderr
    assert not mac.plist.exists()


def test_a_machine_that_is_not_enrolled_gets_no_service(agent: AgentFolder) -> None:
    """It would only end again; the sentence says what to do first."""
    host = ServiceHost(agent, "launchctl")
    done = host.call("install", "--user")
    assert done.returncode == 2
    assert f"not enrolled in {agent.path / 'state'}: run `llmenv-agent enroll" in done.stderr
    assert not host.plist.exists()


def test_an_agent_without_a_target_gets_no_service(mac: ServiceHost) -> None:
    """What it should check is missing."""
    mac.agent.configure("[agent]\n")
    done = mac.call("install", "--user")
    assert done.returncode == 2
    assert "names no target" in done.stderr


def test_an_interpreter_in_a_temporary_folder_gets_no_service(mac: ServiceHost) -> None:
    """It would be gone after the next start of the machine."""
    done = mac.call("install", "--user", TMPDIR=str(Path(sys.executable).parent))
    assert done.returncode == 2
    assert "lies in a folder for temporary files" in done.stderr


def test_an_account_that_cannot_start_the_agent_gets_no_service(mac: ServiceHost) -> None:
    """It is tried as that account, before anything is written."""
    if os.geteuid() != 0:
        pytest.skip("only root can try it as somebody else")
    done = mac.call("install", "--system", "--run-as", "nobody")
    assert done.returncode in {2, 3}
    assert re.search(r"nobody cannot start|As nobody the agent does not start", done.stderr), done.stderr
    assert not Path("/Library/LaunchDaemons/org.llmenv.agent.plist").exists()


def test_a_supervisor_that_refuses_leaves_nothing_behind(mac: ServiceHost) -> None:
    """Its own words are shown, and the file is taken back."""
    refusing = mac.folder / "launchctl"
    refusing.write_text(
        "#!/bin/sh\n"
        'case "$1 $2" in\n'
        "  print\\ *org.llmenv.agent) exit 113;;\n"
        "  bootstrap*) echo 'Bootstrap failed: 125: Domain does not support it' >&2; exit 125;;\n"
        "esac\n"
    )
    done = mac.call("install", "--user")
    assert done.returncode == 3
    assert "failed with code 125: Bootstrap failed: 125: Domain does not support it." in done.stderr
    assert not mac.plist.exists()


def test_a_system_without_a_supervisor_is_refused(idle: AgentFolder) -> None:
    """One sentence, and no traceback."""
    code = (
        "import llmenv_agent.service.supervisor as s; s.SYSTEM_FOLDERS = '/nowhere'\n"
        "from llmenv_agent.main import run\n"
        "raise SystemExit(run(['service', 'install', '--user']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**idle.environment, "PATH": "/nowhere"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "has neither launchctl nor systemctl" in done.stderr
