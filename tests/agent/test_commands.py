"""The commands of llmenv-agent as a person meets them."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest
from google.protobuf import json_format
from llmenv.fleet.v1 import result_pb2, run_pb2
from llmenv_agent.definitions import read_definitions
from llmenv_agent.local_check import parse_settings, went_well
from llmenv_agent.main import COMMANDS

if TYPE_CHECKING:
    from conftest import AgentFolder

HEAVY = ("grpc", "cryptography", "sqlite3", "asyncio", "psutil", "google.protobuf", "platformdirs")


def modules_after(code: str) -> set[str]:
    """What a fresh interpreter has imported after `code`."""
    program = f"{code}\nimport sys\nprint('\\n'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_help_imports_nothing_heavy() -> None:
    """`llmenv-agent --help` names every command and loads none of what they work with."""
    loaded = modules_after("from llmenv_agent.main import run\nrun(['--help'])")
    assert set() == loaded & set(HEAVY)


def test_a_local_check_needs_neither_grpc_nor_cryptography() -> None:
    """Everything up to the first check stays free of what only the stream needs."""
    loaded = modules_after(
        "import llmenv_agent.commands.check, llmenv_agent.local_check, llmenv_agent.configuration\n"
        "import llmenv_agent.execution, llmenv_agent.facts"
    )
    assert set() == loaded & {"grpc", "cryptography", "sqlite3"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(agent: AgentFolder, name: str) -> None:
    """Help is there and is data: it goes to stdout."""
    done = agent.call(name, "--help")
    assert done.returncode == 0
    assert f"Usage: llmenv-agent {name}" in done.stdout
    assert done.stderr == ""


def test_checks_lists_the_folder(agent: AgentFolder) -> None:
    """Each check file is listed with the question it asks, and each suite with its version."""
    listed = json.loads(agent.call("checks", "--format", "json").stdout)
    assert list(read_definitions()) == [each["name"] for each in listed["checks"]]
    (basics,) = (each for each in listed["checks"] if each["name"] == "torch_basics")
    assert basics["allowed"]["size"] == "a whole number from 8 to 8191"
    quick = next(each for each in listed["suites"] if each["name"] == "quick")
    assert "torch_basics" in quick["checks"]
    table = agent.call("checks").stdout
    assert f"\nquick  {quick['version']}" in table
    assert [each["name"] for each in listed["checks"] if f"    {each['summary'][:60]}" not in table] == []


@pytest.mark.parametrize("width", [80, 120])
def test_the_list_of_checks_fits_the_terminal(agent: AgentFolder, width: int) -> None:
    """No line is wider than what the person has."""
    lines = agent.call("checks", COLUMNS=str(width)).stdout.splitlines()
    assert [line for line in lines if len(line) > width] == []


def test_one_suite_is_listed_alone(agent: AgentFolder) -> None:
    """With `--suite` the others and their checks are left out; CSV has one row a check."""
    rows = agent.call("checks", "--suite", "quick", "--format", "csv").stdout.splitlines()
    assert rows[0] == "check,suites,typical_seconds,deadline_seconds,needs,question"
    assert [row.split(",")[0] for row in rows[1:]] == [
        name for name, each in read_definitions().items() if "quick" in each.suites
    ]
    assert "| quick |" in agent.call("checks", "--suite", "quick", "--format", "md").stdout
    assert "There is no suite 'night'" in agent.call("checks", "--suite", "night").stderr


def test_check_prints_the_run_and_nothing_else(agent: AgentFolder) -> None:
    """In an environment without torch: an error with its reason, exit code 1, progress on stderr."""
    done = agent.call("check", "--check", "torch_basics", "--device", "cpu")
    run = json_format.Parse(done.stdout, run_pb2.Run())
    assert done.returncode == 1
    assert [(r.check_name, r.status) for r in run.results] == [("torch_basics", result_pb2.STATUS_ERROR)]
    assert (run.suite, run.environment.name, run.device) == ("custom", "plain", "cpu")
    assert done.stderr.startswith("[1/1] torch_basics ... error (")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--suite", "nightly"], "There is no suite 'nightly'; there are: "),
        (["--check", "nonsense"], "There is no check 'nonsense'; there are: "),
        (["--set", "torch_training.steps"], "is not CHECK.PARAM=VALUE"),
        (["--set", "nonsense.steps=1"], "there is no check 'nonsense'; there are "),
        (["--set", "torch_training.step=1"], "torch_training has no parameter 'step'; it has: "),
        (["--set", "torch_training.steps=many"], "steps must be a whole number from 40 to 10000, not 'many'"),
        (["--target", "/nowhere/python"], "/nowhere/python is no Python interpreter"),
        (["--suite", "quick", "--check", "torch_basics"], "exclude each other"),
        (["--device", "gpu"], "'gpu' is not one of"),
    ],
)
def test_a_wrong_flag_is_one_sentence(agent: AgentFolder, arguments: list[str], sentence: str) -> None:
    """Exit code 2, nothing on stdout, no traceback."""
    done = agent.call("check", *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_without_a_target_the_active_environment_is_checked(agent: AgentFolder) -> None:
    """And where none is active, the person is asked to name one."""
    agent.configure("")
    nameless = agent.call("check", "--check", "torch_basics", VIRTUAL_ENV="", CONDA_PREFIX="")
    assert nameless.returncode == 2
    assert "--target PYTHON" in nameless.stderr
    active = agent.call("check", "--check", "torch_basics", VIRTUAL_ENV=sys.prefix)
    assert sys.prefix in json.loads(active.stdout)["environment"]["python_path"]


def test_several_targets_want_a_name(agent: AgentFolder) -> None:
    """Nothing is chosen for a person who has a choice."""
    table = f'[[target]]\nname = "{{}}"\npython = "{sys.executable}"\n'
    agent.configure(table.format("one") + table.format("two"))
    done = agent.call("check", "--check", "torch_basics")
    assert done.returncode == 2
    assert "Several targets are configured (one, two)" in done.stderr
    named = agent.call("check", "--check", "torch_basics", "--target", "two")
    assert json.loads(named.stdout)["environment"]["name"] == "two"


def test_a_damaged_spool_is_one_sentence(agent: AgentFolder) -> None:
    """`status` says it, with the spool's own exit code."""
    (agent.path / "state").mkdir()
    (agent.path / "state" / "spool.db").write_bytes(b"x" * 8_192)
    done = agent.call("status")
    assert done.returncode == 5
    assert "is damaged" in done.stderr
    assert "Traceback" not in done.stderr


def test_status_before_anything_happened(agent: AgentFolder) -> None:
    """Not enrolled and nothing recorded is an answer, and asking makes no file."""
    status = agent.status()
    (daily,) = status.pop("schedules")
    assert {
        "identity": None,
        "spool": None,
        "quarantine": [],
        "state_dir": str(agent.path / "state"),
    } == status
    assert (daily["name"], daily["from"], daily["every_seconds"]) == ("quick", "default", 86_400)
    assert not (agent.path / "state").exists()
    said = agent.call("status").stdout
    assert "not enrolled" in said
    assert "schedule         quick, by default: quick, every 1d; last never, next " in said


def test_settings_are_json_or_text() -> None:
    """A number is a number, and what is no JSON is the text itself."""
    settings = ["torch_training.steps=50", "transformers_generate.model=gpt2"]
    assert parse_settings(settings, read_definitions()) == {
        "torch_training": {"steps": 50},
        "transformers_generate": {"model": "gpt2"},
    }


def test_run_went_well_when_every_planned_check_did() -> None:
    """What was not asked for is not missed; what was planned and never ran is."""
    passed = [result_pb2.Result(check_name="ops", status=result_pb2.STATUS_PASS)]
    assert went_well(run_pb2.Run(planned_checks=["ops"], results=passed))
    assert not went_well(run_pb2.Run(planned_checks=["ops", "leak"], results=passed))
    passed[0].status = result_pb2.STATUS_FAIL
    assert not went_well(run_pb2.Run(planned_checks=["ops"], results=passed))


def is_checking(pid: int) -> bool:
    """Whether a check's process has begun."""
    with contextlib.suppress(psutil.Error):
        children = psutil.Process(pid).children(recursive=True)
        return any("peft_lora.py" in " ".join(child.cmdline()) for child in children)
    return False


@pytest.mark.training
def test_ctrl_c_ends_the_check(agent: AgentFolder, training_python: object) -> None:
    """The check's process ends with it: exit code 130, an empty stdout, no traceback."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "llmenv_agent.main",
            "check",
            "--check",
            "peft_lora",
            "--target",
            str(training_python),
        ],
        env=agent.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 90
    while not is_checking(process.pid):
        assert time.monotonic() < deadline, "no check started"
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=90)
    assert process.returncode == 130
    assert stdout == ""
    assert "Traceback" not in stderr
