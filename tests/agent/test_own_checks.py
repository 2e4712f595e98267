"""Checks and suites of a lab's own: found, run and scheduled like ours, or refused with file and line."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from llmenv_agent.configuration import parse_configuration
from llmenv_agent.definitions import DefinitionError
from llmenv_agent.errors import UsageError
from llmenv_agent.repertoire import read_repertoire
from llmenv_agent.suites import merged

if TYPE_CHECKING:
    from conftest import AgentFolder

MY_CHECK = '''
"""Is the answer still 42?"""
SUITES = ("nightly",)
REQUIRES = ()
TIMEOUT_SECONDS = 60
TYPICAL_SECONDS = 0.5
PARAMETERS = {"answer": 42}
def run(probe):
    probe.fact("drawn", probe.seed)
    probe.expect("answer", probe.parameters["answer"] == 42, "42", probe.parameters["answer"])
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "llm-checks"
    path.mkdir()
    (path / "my_check.py").write_text(textwrap.dedent(MY_CHECK).lstrip())
    return path


def test_a_check_of_ones_own_runs_like_ours(agent: AgentFolder, folder: Path) -> None:
    """By its name, from a folder named on the command line, with the seed that was asked for."""
    done = agent.call("check", "--checks", str(folder), "--check", "my_check", "--seed", "7")
    result = json.loads(done.stdout)["results"][0]
    assert (result["status"], result["seed"]) == ("STATUS_PASS", 7)
    assert {"name": "drawn", "number": 7.0} in result["facts"]


def test_a_suite_of_ones_own_sets_parameters(agent: AgentFolder, folder: Path) -> None:
    """The suite's parameters win over those of the check, and --set over both."""
    agent.configure(
        f"""
        [agent]
        checks_folders = ["{folder}"]
        [[target]]
        python = "{sys.executable}"
        [checks.my_check]
        answer = 40
        [suite.weekly]
        checks = ["my_check"]
        [suite.weekly.parameters.my_check]
        answer = 41
        """
    )
    run = json.loads(agent.call("check", "--suite", "weekly").stdout)
    assert (run["suite"], run["results"][0]["parameters_json"]) == ("weekly", '{"answer": 41}')
    told = json.loads(agent.call("check", "--suite", "weekly", "--set", "my_check.answer=42").stdout)
    assert told["results"][0]["status"] == "STATUS_PASS"
    listed = json.loads(agent.call("checks", "--suite", "weekly", "--format", "json").stdout)
    assert listed["suites"][0]["typical_seconds"] == 0.5
    assert listed["suites"][0]["parameters"] == {"my_check": {"answer": 41}}


def test_a_suite_of_ones_own_is_scheduled_and_delivered(enrolled: AgentFolder, folder: Path) -> None:
    """The daemon runs it when it is due; the collector has it when the command ends with 0."""
    enrolled.configure(
        f'[agent]\nchecks_folders = ["{folder}"]\n[[target]]\npython = "{sys.executable}"\n'
        '[suite.weekly]\nchecks = ["my_check"]\n[schedule.weekly]\nevery = "7d"\n'
    )
    done = enrolled.call("run", "--once")
    assert done.returncode == 0, done.stderr
    assert "suite weekly" in done.stderr
    assert "my_check: pass" in done.stderr


def test_suites_that_check_files_name_are_known(folder: Path) -> None:
    """A lab's check may name a suite that no configuration lists, and join ours."""
    known = read_repertoire([folder])
    assert [each.name for each in known.suite("nightly").definitions] == ["my_check"]
    assert known.suite_names()[-1] == "nightly"
    with pytest.raises(DefinitionError, match=r"There is no suite 'weekly'; there are: quick, .*nightly"):
        known.suite("weekly")


def test_parameters_are_part_of_a_suites_version(folder: Path) -> None:
    """A suite that sets something else is another one."""
    text = f'[agent]\nchecks_folders = ["{folder}"]\n'
    text += '[suite.a]\nchecks = ["my_check"]\n[suite.b]\nchecks = ["my_check"]\n'
    text += "[suite.b.parameters.my_check]\nanswer = 1\n"
    configuration = parse_configuration(text, path=Path("agent.toml"))
    known = read_repertoire(configuration.checks_folders, configuration.suites)
    assert known.suite("a").version != known.suite("b").version


def test_a_name_of_ours_is_refused(folder: Path) -> None:
    """What is stored is known by its name, so no check takes the name of another."""
    (folder / "my_check.py").rename(folder / "torch_basics.py")
    with pytest.raises(
        DefinitionError, match=r"/torch_basics\.py:1: there is a check 'torch_basics' already"
    ):
        read_repertoire([folder])


def test_a_file_name_that_is_no_name_is_refused(folder: Path) -> None:
    """`--set CHECK.PARAM=VALUE` could not name it."""
    (folder / "my_check.py").rename(folder / "my-check.py")
    with pytest.raises(DefinitionError, match=r"/my-check\.py:1: the file names the check"):
        read_repertoire([folder])


def test_a_file_that_is_no_check_is_refused(folder: Path) -> None:
    """With its line; a file whose name begins with _ is left alone."""
    (folder / "_notes.py").write_text("1 +")
    read_repertoire([folder])
    (folder / "other.py").write_text('"""Why?"""\nSUITES = 1\n\n\ndef run(probe):\n    pass\n')
    with pytest.raises(DefinitionError, match=r"/other\.py:1: TIMEOUT_SECONDS is missing"):
        read_repertoire([folder])


@pytest.mark.parametrize("name", ["", "a b", "../up", "custom"])
def test_a_suite_that_could_not_be_named_is_refused(name: str, folder: Path) -> None:
    """As in agent.toml; `custom` is what a run of named checks is stored as."""
    (folder / "my_check.py").write_text(MY_CHECK.lstrip().replace("nightly", name))
    with pytest.raises(DefinitionError, match=rf"/my_check\.py:1: SUITES has {re.escape(repr(name))}"):
        read_repertoire([folder])


@pytest.mark.parametrize(
    ("name", "value"),
    [("", "1"), ("A=B", "1"), ("A", "\\0"), ("A", "\\ud800")],
    ids=["empty", "equals", "nul", "half a character"],
)
def test_a_variable_that_no_process_can_have_is_refused(name: str, value: str, folder: Path) -> None:
    """With its line, before anything runs: to start the check with it broke the agent down."""
    check = folder / "my_check.py"
    check.write_text(MY_CHECK.lstrip().replace("def run", f'ENVIRONMENT = {{"{name}": "{value}"}}\ndef run'))
    with pytest.raises(DefinitionError, match=r"/my_check\.py:7: ENVIRONMENT must be a dict of variables"):
        read_repertoire([folder])


def test_a_folder_that_is_not_there_is_refused(agent: AgentFolder) -> None:
    """On the command line it is named; in the file its line is."""
    done = agent.call("checks", "--checks", "/nowhere")
    assert done.returncode == 2
    assert "The folder of checks /nowhere cannot be read: No such file or directory." in done.stderr


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[agent]\nchecks_folders = ["/nowhere"]', "agent.toml:2: agent.checks_folders names /nowhere"),
        ('[agent]\nchecks_folders = "x"', "agent.toml:2: agent.checks_folders must be a list of texts"),
        ("[suite.mine]", "agent.toml:1: suite.mine needs checks"),
        (
            '[suite.mine]\nchecks = ["opps"]',
            "agent.toml:2: suite.mine.checks names 'opps', which is no check",
        ),
        ('[suite.mine]\ncheck = ["ops"]', "agent.toml:2: suite.mine.check is not known here"),
        (
            '[suite."a b"]\nchecks = ["ops"]',
            "agent.toml:1: suite has the name 'a b'; take letters, digits, dots, _ and -",
        ),
        (
            '[suite.quick]\nchecks = ["packages"]',
            "agent.toml:1: suite.quick has the name of a suite of llmenv",
        ),
        (
            '[suite.mine]\nchecks = ["packages"]\n[suite.mine.parameters.torch_training]\nsteps = 1',
            "agent.toml:3: suite.mine.parameters.torch_training is no check of this suite",
        ),
        (
            '[suite.mine]\nchecks = ["torch_training"]\n[suite.mine.parameters.torch_training]\nstep = 1',
            "agent.toml:4: suite.mine.parameters.torch_training.step is refused: torch_training has no",
        ),
        ("[schedule.nightly]", "agent.toml:1: schedule.nightly is no suite; there are quick, full"),
    ],
)
def test_a_mistake_is_named_with_its_line(text: str, sentence: str) -> None:
    """The person sees the file, the line, and what may stand there."""
    with pytest.raises(UsageError) as caught:
        parse_configuration(text, path=Path("agent.toml"))
    assert str(caught.value).startswith(sentence)


def test_a_suite_that_a_check_names_is_not_listed_again(folder: Path) -> None:
    """Of two lists neither could be right."""
    text = f'[agent]\nchecks_folders = ["{folder}"]\n[suite.nightly]\nchecks = ["packages"]\n'
    with pytest.raises(UsageError, match=r"agent\.toml:3: suite\.nightly is a suite already: .*my_check\.py"):
        parse_configuration(text, path=Path("agent.toml"))


def test_later_layers_win_each_parameter_for_itself() -> None:
    """What a layer does not say stays as it was."""
    assert merged({"a": {"x": 1, "y": 1}}, {"a": {"y": 2}, "b": {"z": 3}}) == {
        "a": {"x": 1, "y": 2},
        "b": {"z": 3},
    }
