"""What launchd and systemd are told: each key by the rules of its manual page, and nothing secret."""

from __future__ import annotations

import configparser
import os
import plistlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmenv_agent.service import launchd, systemd
from llmenv_agent.service.job import Account, Domain, Job, carried_variables, own_python
from llmenv_agent.service.launchd import Launchd
from llmenv_agent.service.placement import why_not_lasting, why_not_there
from llmenv_agent.service.systemd import Systemd

# launchd.plist(5): the keys that are used, and their types.
TYPES = {
    "Label": str,
    "ProgramArguments": list,
    "EnvironmentVariables": dict,
    "UserName": str,
    "WorkingDirectory": str,
    "LimitLoadToSessionType": str,
    "RunAtLoad": bool,
    "KeepAlive": bool,
    "ThrottleInterval": int,
    "ExitTimeOut": int,
    "ProcessType": str,
    "Umask": int,
    "StandardOutPath": str,
    "StandardErrorPath": str,
}
# systemd.exec(5): each takes devices, memory or folders from a check that trains.
BREAKING = {
    "PrivateDevices",
    "DevicePolicy",
    "ProtectClock",
    "MemoryDenyWriteExecute",
    "ProtectHome",
    "PrivateTmp",
    "PrivateNetwork",
    "SystemCallFilter",
}


def job_of(domain: Domain, folder: Path, *, log_folder: Path | None) -> Job:
    for name in ("agent.toml", "state", "log"):
        (folder / name).mkdir(exist_ok=True)
    own = Account(name="ana", uid=os.geteuid(), gid=os.getegid(), home=folder)
    return Job(
        domain=domain,
        account=own,
        python=own_python(),
        config=folder / "agent.toml",
        state_dir=folder / "state",
        log_folder=log_folder,
        carried=carried_variables(),
    )


@pytest.fixture(params=list(Domain))
def domain(request: pytest.FixtureRequest) -> Domain:
    chosen: Domain = request.param
    return chosen


@pytest.fixture
def plist(domain: Domain, tmp_path: Path) -> dict[str, Any]:
    """As launchd reads it from the file."""
    job = job_of(domain, tmp_path, log_folder=tmp_path / "log")
    content: dict[str, Any] = plistlib.loads(plistlib.dumps(launchd.plist(job, has_screen=True)))
    return content


@pytest.fixture
def unit(domain: Domain, tmp_path: Path) -> configparser.RawConfigParser:
    """As systemd reads it, but for the comments."""
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # keys are told apart by case
    parser.read_string(systemd.unit(job_of(domain, tmp_path, log_folder=None)))
    return parser


def test_every_key_of_the_plist_is_one_of_launchds(plist: dict[str, Any]) -> None:
    """With the type that its manual page gives: a wrong one is ignored without a word."""
    assert {key: type(value) for key, value in plist.items()} == {key: TYPES[key] for key in plist}


def test_the_plist_keeps_the_agent_running(plist: dict[str, Any]) -> None:
    """From the load on, after every end, not more often than launchd likes, and never throttled."""
    assert plist["RunAtLoad"]
    assert plist["KeepAlive"]
    assert plist["ThrottleInterval"] >= 10
    assert plist["ExitTimeOut"] >= 5
    assert plist["ProcessType"] == "Interactive"


def test_every_path_of_the_plist_is_absolute_and_there(plist: dict[str, Any]) -> None:
    """launchd starts the job in / and makes no folders."""
    words = [word for word in plist["ProgramArguments"] if "/" in word]
    paths = [
        *words,
        plist["StandardOutPath"],
        plist["StandardErrorPath"],
        plist["EnvironmentVariables"]["HOME"],
    ]
    assert [path for path in paths if not Path(path).is_absolute()] == []
    assert [path for path in paths if not Path(path).parent.is_dir()] == []
    assert os.access(plist["ProgramArguments"][0], os.X_OK)


def test_each_domain_has_its_own_keys_alone(plist: dict[str, Any], domain: Domain) -> None:
    """UserName is ignored outside the system domain, the session type inside it."""
    own = {Domain.SYSTEM: {"UserName", "WorkingDirectory"}, Domain.USER: {"LimitLoadToSessionType"}}
    assert set(plist) & {"UserName", "WorkingDirectory", "LimitLoadToSessionType"} == own[domain]


def test_a_daemon_finds_what_a_shell_would(plist: dict[str, Any]) -> None:
    """HOME, which launchd does not set for a daemon, and Homebrew's folder, which its PATH lacks."""
    variables = plist["EnvironmentVariables"]
    assert set(variables) >= {"HOME", "PATH"}
    assert "/opt/homebrew/bin" in variables["PATH"].split(":")


def test_nothing_secret_is_written_down(
    domain: Domain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody can read both files: of the installer's variables only ours that are no secret go in."""
    for name in ("HF_TOKEN", "LLMENV_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "canary")
    monkeypatch.setenv("LLMENV_DEVICE", "cpu")
    job = job_of(domain, tmp_path, log_folder=tmp_path / "log")
    texts = [plistlib.dumps(launchd.plist(job, has_screen=False)).decode(), systemd.unit(job)]
    assert [text for text in texts if "canary" in text] == []
    assert [text for text in texts if "LLMENV_DEVICE" not in text] == []


def test_the_unit_keeps_the_agent_running(unit: configparser.RawConfigParser, domain: Domain) -> None:
    """After every end, for ever, and only a part of it where the kernel ends a check for its memory."""
    service = unit["Service"]
    assert (service["Restart"], unit["Unit"]["StartLimitIntervalSec"]) == ("always", "0")
    assert (service["OOMPolicy"], service["KillMode"], service["LimitCORE"]) == ("continue", "mixed", "0")
    # The agent tells systemd nothing of its readiness, so `notify` would have it killed.
    assert service["Type"] == "exec"
    assert ("User" in service) == (domain is Domain.SYSTEM)
    wanted = {Domain.SYSTEM: "multi-user.target", Domain.USER: "default.target"}
    assert unit["Install"]["WantedBy"] == wanted[domain]


def test_the_unit_leaves_a_check_its_gpu_and_its_folders(unit: configparser.RawConfigParser) -> None:
    """No directive of those that take them away."""
    assert set(unit["Service"]) & BREAKING == set()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_has_no_complaint_about_the_unit(domain: Domain, tmp_path: Path) -> None:
    """systemd-analyze reads the file as systemd does."""
    file = tmp_path / "llmenv-agent.service"
    file.write_text(
        systemd.unit(job_of(domain, tmp_path, log_folder=None)).replace("User=ana", "User=daemon")
    )
    scope = ["--user"] if domain is Domain.USER else []
    done = subprocess.run(
        ["systemd-analyze", *scope, "verify", str(file)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@given(word=st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp", "Zs")), min_size=1))
def test_a_path_comes_back_as_it_was_written(word: str) -> None:
    """Spaces, quotes, % and $ of a path mean something to systemd."""
    own = Account(name="ana", uid=1, gid=1, home=Path("/home/ana"))
    odd = Path("/with space") / f"x{word}y"
    job = Job(
        domain=Domain.USER, account=own, python=Path("/p"), config=odd, state_dir=Path("/s"), log_folder=None
    )
    assert systemd.parse_command(systemd.unit(job)) == job.arguments()


@pytest.mark.parametrize("kind", [Launchd, Systemd])
def test_each_domain_has_its_own_folder(kind: type[Launchd | Systemd], tmp_path: Path) -> None:
    """One person's file lies in their home, the machine's below its root."""
    own = Account(name="ana", uid=1, gid=1, home=tmp_path / "home")
    paths = {
        each: kind(domain=each, account=own, root=tmp_path / "root").unit_path.relative_to(tmp_path)
        for each in Domain
    }
    expected = {
        Launchd: ("home/Library/LaunchAgents", "root/Library/LaunchDaemons", "org.llmenv.agent.plist"),
        Systemd: ("home/.config/systemd/user", "root/etc/systemd/system", "llmenv-agent.service"),
    }[kind]
    assert [str(paths[each]) for each in Domain] == [f"{folder}/{expected[2]}" for folder in expected[:2]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\tlast exit code = (never exited)\n", ""),
        ("\tlast exit code = 0\n", "code 0 (done)"),
        ("\tlast exit code = 4\n", "code 4 (not enrolled)"),
        ("\tlast exit code = 78: EX_CONFIG\n", "code 78"),
        ("\tlast exit code = 1\n\tlast terminating signal = Killed: 9\n", "signal Killed: 9"),
        ("\tendpoints = {\n\t\tlast exit code = 3\n\t}\n", ""),
    ],
)
def test_how_a_job_of_launchd_last_ended(text: str, words: str) -> None:
    """The forms that `launchctl print` is known to use; what is indented further is not the job's."""
    assert launchd.last_exit(launchd.parse_print(text)) == words


def test_labels_that_launchd_keeps_from_starting() -> None:
    """macOS 13 and later say "disabled", earlier ones "true"."""
    text = (
        'disabled services = {\n\t"a.b" => disabled\n\t"c.d" => enabled\n\t"e.f" => true\n\t"g.h" => false\n}'
    )
    assert launchd.parse_disabled(text) == {"a.b", "e.f"}


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [("0", "0", ""), ("1", "5", "code 5 (spool)"), ("1", "0", "code 0 (done)"), ("2", "9", "signal 9")],
)
def test_how_a_unit_of_systemd_last_ended(code: str, status: str, words: str) -> None:
    """ExecMainStatus is a code or a signal, as ExecMainCode says."""
    text = f"ExecMainCode={code}\nExecMainStatus={status}\n"
    assert systemd.last_exit(systemd.parse_show(text)) == words


@pytest.mark.parametrize(
    ("path", "is_fine"),
    [
        ("/Users/ana/llm/.venv/bin/python", True),
        ("/opt/llmenv/bin/python", True),
        ("/Users/ana/Desktop/llm/.venv/bin/python", False),
        ("/Users/ana/Documents/agent.toml", False),
        ("/Users/ana/DesktopOld/agent.toml", True),
        ("/Volumes/models/.venv/bin/python", False),
    ],
)
def test_where_macos_lets_a_service_start(path: str, is_fine: bool) -> None:
    """Not where it asks a person first, and not on another volume."""
    reason = why_not_there(Path(path), home=Path("/Users/ana"), is_mac=True)
    assert (reason == "") == is_fine


@pytest.mark.parametrize(
    "path",
    [
        "/private/var/folders/x/python",
        "/opt/homebrew/Cellar/python@3.12/3.12.4/bin/python3.12",
        "/Users/ana/.cache/uv/archive-v0/x/bin/python",
    ],
)
def test_an_interpreter_that_will_be_gone_is_seen(path: str) -> None:
    """An upgrade, a clean-up or a restart takes it away."""
    assert why_not_lasting(Path(path), is_mac=True) != ""
    assert why_not_lasting(Path(sys.base_prefix) / "python", is_mac=True) == ""
