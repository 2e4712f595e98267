"""What the agent tells a check of how it was started, and which versions are known to be bad here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from llmenv.fleet.v1 import environment_pb2, machine_pb2
from llmenv_agent.probe import surroundings as in_the_target
from llmenv_agent.surroundings import bad_combinations, surroundings
from llmenv_agent.targets import Target

if TYPE_CHECKING:
    from pathlib import Path

M2 = machine_pb2.Machine(chip="Apple M2", os_name="macOS", os_version="15.5", is_apple_silicon=True)


def environment_with(**versions: str) -> environment_pb2.Environment:
    packages = [environment_pb2.Package(name=name, version=version) for name, version in versions.items()]
    return environment_pb2.Environment(packages=packages)


@pytest.fixture
def target(tmp_path: Path) -> Target:
    env_file = tmp_path / "trainer.env"
    env_file.write_text("export HF_TOKEN=hf_very_secret\n")
    return Target(name="lab", python=tmp_path / "python", variables={"HF_HOME": "/models"}, env_file=env_file)


def test_names_of_variables_travel_and_values_do_not(target: Target) -> None:
    """What the target sets may be secret, so that only its names are said."""
    conditions = machine_pb2.Conditions(session_type=machine_pb2.SESSION_TYPE_SSH, swap_used_bytes=0)
    told = surroundings(target, conditions)
    assert told["variables"] == ["HF_HOME", "HF_TOKEN"]
    assert told["env_file"] == str(target.env_file)
    assert (told["session_type"], told["swap_used_bytes"]) == ("ssh", 0)
    assert "hf_very_secret" not in str(told)
    assert "/models" not in str(told)


def test_what_is_unknown_stays_unknown(target: Target) -> None:
    """No session type and no swap figure are not a guess."""
    told = surroundings(target, machine_pb2.Conditions())
    assert (told["session_type"], told["swap_used_bytes"]) == ("", None)


def test_a_bad_combination_names_what_it_is_about() -> None:
    """The most severe first, each with the versions and the chip that make it one."""
    found = bad_combinations(M2, environment_with(torch="2.13.0"))
    assert {"KI038", "KI053"} <= {each["id"] for each in found}
    assert found[0]["severity"] == "critical"
    assert "KI093" not in {each["id"] for each in found}, "it holds on every chip, whatever is installed"
    by_id = {each["id"]: each["combination"] for each in found}
    assert by_id["KI038"] == "torch 2.13.0, Apple M2"


def test_the_catalogue_says_nothing_of_other_machines() -> None:
    """A version that is bad on MPS is not bad on Linux."""
    linux = machine_pb2.Machine(chip="Apple M2", os_name="Linux")
    assert bad_combinations(linux, environment_with(torch="2.13.0")) == []


def test_the_probe_reads_what_the_agent_writes(target: Target) -> None:
    """Both ends know the same keys, and a newer agent's are left out."""
    rows = bad_combinations(M2, environment_with(torch="2.13.0"))
    conditions = machine_pb2.Conditions(session_type=machine_pb2.SESSION_TYPE_DAEMON, swap_used_bytes=7)
    read = in_the_target.from_request({**surroundings(target, conditions, rows), "a_newer_key": 1})
    assert (read.session_type, read.swap_used_bytes) == ("daemon", 7)
    assert read.variables == ("HF_HOME", "HF_TOKEN")
    assert [each.id for each in read.bad_combinations] == [row["id"] for row in rows]
    assert in_the_target.from_request({}) == in_the_target.Surroundings()
