"""What a result of the runner carries beside its verdict, and how the target's process is started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from llmenv.fleet.v1 import machine_pb2, result_pb2
from llmenv_agent.definitions import DefinitionError, read_definition
from llmenv_agent.runner import run_check
from llmenv_agent.targets import Target, target_from

FAULTS = Path(__file__).parent / "fault_checks"
SURROUNDINGS = read_definition(FAULTS / "surroundings.py")


def surroundings(target: Target, names: str = "") -> dict[str, str]:
    result = run_check(SURROUNDINGS, target=target, device="cpu", parameters={"names": names})
    assert result.status == result_pb2.STATUS_PASS, result.reason.text
    return {fact.name: fact.text for fact in result.facts}


def test_target_sees_its_variables_and_not_the_agents(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What bends an interpreter and what is the agent's own is dropped; the rest is set."""
    for name in ("PYTHONPATH", "PYTHONHOME_", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__", "LLMENV_TOKEN"):
        monkeypatch.setenv(name, "from the agent")
    monkeypatch.setenv("TRAINERS_OWN", "kept")
    env_file = tmp_path / "training.env"
    env_file.write_text('export HF_HOME="/data/hub cache"  # shared\nBOTH=file\n')
    target = target_from(sys.executable, variables={"BOTH": "variables"}, env_file=str(env_file))
    names = "PYTHONPATH PYTHONHOME_ VIRTUAL_ENV __PYVENV_LAUNCHER__ LLMENV_TOKEN"
    names += " TRAINERS_OWN HF_HOME BOTH CHECK_VARIABLE"
    seen = surroundings(target, names)
    assert {name: seen[name] for name in names.split()} == {
        "PYTHONPATH": "(absent)",
        "PYTHONHOME_": "(absent)",
        "VIRTUAL_ENV": "(absent)",
        "__PYVENV_LAUNCHER__": "(absent)",
        "LLMENV_TOKEN": "(absent)",
        "TRAINERS_OWN": "kept",
        "HF_HOME": "/data/hub cache",
        "BOTH": "variables",
        "CHECK_VARIABLE": "set by the check",
    }


def test_probe_leaves_the_targets_path_and_modules_alone() -> None:
    """sys.path holds no folder of the agent, and no third-party module is loaded before the check asks."""
    target = target_from(sys.executable)
    bare = subprocess.run(
        [target.python, "-I", "-c", "import os, sys; print(os.pathsep.join(sys.path))"],
        capture_output=True,
        text=True,
        check=True,
    )
    seen = surroundings(target)
    assert seen["sys_path"] == bare.stdout.strip()
    loaded = {name.partition(".")[0] for name in seen["modules"].split()}
    ours = {name for name in loaded if name.startswith(("llmenv_probe", "llmenv_check_"))}
    # setuptools' .pth files of the environment itself may load theirs at start.
    assert loaded - ours - sys.stdlib_module_names <= {"_distutils_hack", "__main__"} | editable_finders(
        loaded
    )


def editable_finders(names: set[str]) -> set[str]:
    return {name for name in names if "editable" in name or name.startswith("_virtualenv")}


def test_check_has_an_empty_stdin_and_its_own_folder() -> None:
    """A check that reads gets the end at once, and it works in a folder that is gone afterwards."""
    seen = surroundings(target_from(sys.executable))
    assert seen["stdin"] == ""
    assert not Path(seen["folder"]).exists()


def test_result_says_what_ran_and_when() -> None:
    """Name, hash, complete parameters, device, both conditions and separate durations are in the result."""
    conditions = iter([machine_pb2.Conditions(load_1m=1.0), machine_pb2.Conditions(load_1m=2.0)])
    result = run_check(
        SURROUNDINGS,
        target=target_from(sys.executable),
        device="cuda",
        read_conditions=lambda: next(conditions),
        result_id="an id",
    )
    assert result.result_id == "an id"
    assert result.check_name == "surroundings"
    assert result.definition_hash == SURROUNDINGS.definition_hash
    assert json.loads(result.parameters_json) == {"names": ""}
    assert result.device == "cuda"
    assert (result.conditions_before.load_1m, result.conditions_after.load_1m) == (1.0, 2.0)
    assert 0 < result.run_seconds < result.wall_seconds
    assert result.peak_memory.process_bytes > 4_000_000
    assert result.process_end.exit_code == 0


def test_unknown_parameter_is_refused_before_anything_starts() -> None:
    """A parameter that the check does not have is one sentence that names those it has."""
    with pytest.raises(DefinitionError, match="surroundings has no parameter 'steps'; it has: names"):
        run_check(SURROUNDINGS, target=target_from(sys.executable), device="cpu", parameters={"steps": 1})


def remedy_for(name: str, asked: list[str]) -> result_pb2.Result:
    def find_remedy(text: str) -> str:
        asked.append(text)
        return "KI024"

    definition = read_definition(FAULTS / f"{name}.py")
    return run_check(definition, target=target_from(sys.executable), device="cpu", find_remedy=find_remedy)


def test_remedy_is_looked_up_by_what_the_process_said() -> None:
    """A crash is looked up by its log, which is where an abort leaves its message."""
    asked: list[str] = []
    assert remedy_for("abort", asked).remedy_id == "KI024"
    assert "MPSNDArray.mm:788: failed assertion" in asked[0]


def test_failed_case_is_looked_up_by_its_name_and_gives_the_check_its_remedy() -> None:
    """Wrong numbers say nothing that could be recognised: operation, dtype, layout and device do."""
    asked: list[str] = []

    def find_remedy(text: str) -> str:
        asked.append(text)
        return "KI050" if text == "fail of failing_cases where/float32 on mps: It is so." else ""

    definition = read_definition(FAULTS / "failing_cases.py")
    result = run_check(definition, target=target_from(sys.executable), device="mps", find_remedy=find_remedy)
    assert [case.remedy_id for case in result.cases] == ["", "KI050", ""]
    assert result.remedy_id == "KI050"
    assert "fail of failing_cases sum/int64 on mps: It is so." in asked


def test_pass_is_not_looked_up() -> None:
    """What passed needs no remedy."""
    asked: list[str] = []
    assert remedy_for("surroundings", asked).remedy_id == ""
    assert asked == []


def test_progress_names_each_case_as_it_begins() -> None:
    """The callback is given every case once and in order, across the processes of a check."""
    begun: list[str] = []
    definition = read_definition(FAULTS / "crashing_cases.py")
    run_check(definition, target=target_from(sys.executable), device="cpu", on_progress=begun.append)
    assert begun == ["right", "aborts", "right again", "hangs", "right at last"]


def test_oldest_python_runs_the_probe(oldest_python: Path) -> None:
    """The probe writes the same result under Python 3.9, the oldest it supports."""
    definition = read_definition(FAULTS / "crashing_cases.py")
    result = run_check(definition, target=target_from(str(oldest_python)), device="cpu")
    assert [case.name for case in result.cases] == [
        "right",
        "aborts",
        "right again",
        "hangs",
        "right at last",
    ]


@pytest.fixture
def oldest_python() -> Path:
    return find_python("3.9")


def find_python(version: str) -> Path:
    roots = [Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"]
    found = [path for root in roots for path in root.glob(f"{version}.*/bin/python")]
    if not found:
        pytest.skip(f"no Python {version} under {roots[0]}")
    return found[0]
