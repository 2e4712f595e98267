"""Targets: found below folders, described by their own interpreter, refused with a sentence."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

import psutil
import pytest
from llmenv_agent import environments
from llmenv_agent.discovery import discover
from llmenv_agent.env_file import EnvFileError, parse_env_file
from llmenv_agent.targets import Target, TargetError, environment_kind, target_from


def make_environment(folder: Path, mark: str = "") -> Path:
    """An environment as far as the tools' marks go: an interpreter and `mark`, a file or folder."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    if mark.endswith("/"):
        (folder / mark).mkdir()
    else:
        (folder / "pyvenv.cfg").write_text(f"home = /usr/bin\n{mark}\n")
    return folder


def test_environments_of_every_tool_are_found(tmp_path: Path) -> None:
    """venv, uv and conda environments are found, conda's named ones within its base too."""
    make_environment(tmp_path / "project" / ".venv")
    make_environment(tmp_path / "fast", "uv = 0.9.1")
    make_environment(tmp_path / "miniforge3", "conda-meta/")
    make_environment(tmp_path / "miniforge3" / "envs" / "llm", "conda-meta/")
    found = discover([tmp_path])
    kinds = {target.name: environment_kind(target.python.parent.parent) for target in found}
    assert kinds == {"project": "venv", "fast": "uv", "miniforge3": "conda", "llm": "conda"}


def test_links_in_a_circle_end_the_search(tmp_path: Path) -> None:
    """A link to a folder above is followed once, and no environment is found twice."""
    make_environment(tmp_path / "a" / ".venv")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "a")
    assert len(discover([tmp_path, tmp_path / "a"], levels=20)) == 1


def test_search_is_bounded_in_depth(tmp_path: Path) -> None:
    """An environment below the last level is not found."""
    make_environment(tmp_path / "1" / "2" / "3")
    assert [target.name for target in discover([tmp_path], levels=3)] == ["3"]
    assert discover([tmp_path], levels=2) == []


def test_search_passes_over_what_it_cannot_read(tmp_path: Path) -> None:
    """A folder that is not there is no error, and an environment without interpreter is none."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "pyvenv.cfg").write_text("home = /gone\n")
    assert discover([tmp_path, tmp_path / "missing"]) == []


def test_environments_of_one_name_are_told_apart_by_path(tmp_path: Path) -> None:
    """Two projects called alike keep names that differ."""
    for parent in ("x", "y"):
        make_environment(tmp_path / parent / "same" / ".venv")
    assert [target.name for target in discover([tmp_path])] == [
        str(tmp_path / parent / "same" / ".venv") for parent in ("x", "y")
    ]


def test_target_can_be_named_by_its_folder(tmp_path: Path) -> None:
    """The folder of an environment leads to its interpreter, whose link is not followed."""
    folder = make_environment(tmp_path / "project" / ".venv")
    assert target_from(str(folder)) == Target(name="project", python=folder / "bin" / "python")


@pytest.mark.parametrize("name", ["", "nothing", "pyvenv.cfg"])
def test_target_without_interpreter_is_refused(tmp_path: Path, name: str) -> None:
    """A folder without one, a missing path, and a file that cannot be run."""
    (tmp_path / "pyvenv.cfg").write_text("")
    with pytest.raises(TargetError, match="is no Python interpreter; name one, or the folder"):
        target_from(str(tmp_path / name))


def test_env_file_is_read_as_a_shell_would() -> None:
    """Comments, quotes and `export` are understood, nothing is expanded."""
    text = "# hub\nexport HF_HOME='/a b'\nA=1 B=\"x=y\"  # two\n\nEMPTY=\nP=$HOME\n"
    expected = {"HF_HOME": "/a b", "A": "1", "B": "x=y", "EMPTY": "", "P": "$HOME"}
    assert parse_env_file(text, path=Path("training.env")) == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("A=1\nsource x\n", "training.env:2: 'source' is not NAME=VALUE"),
        ("A='1\n", "training.env:1: No closing"),
        ("A=1\nB='\0'\n", "training.env:2: B has a value that no variable can have"),
    ],
)
def test_wrong_line_of_an_env_file_is_named(text: str, sentence: str) -> None:
    """The sentence has the file and the line."""
    with pytest.raises(EnvFileError, match=sentence):
        parse_env_file(text, path=Path("training.env"))


def add_distribution(folder: Path, name: str, version: str) -> None:
    metadata = folder / f"{name}-{version}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nName: no\n"
    )


@pytest.fixture
def real_target(tmp_path: Path) -> Target:
    """A virtual environment with one distribution in it, another in a folder for PYTHONPATH."""
    folder = tmp_path / "lab" / ".venv"
    venv.create(folder, symlinks=True)
    site_packages = next(folder.glob("lib/python*/site-packages"))
    add_distribution(site_packages, "Torch_Like.thing", "2.13.0")
    add_distribution(tmp_path / "extra", "shadow", "1.0")
    variables = {"PYTHONPATH": str(tmp_path / "extra"), "HF_HOME": "/hub", "HF_TOKEN": "hf_secret"}
    return target_from(str(folder), variables=variables)


def test_environment_is_described_by_its_own_interpreter(real_target: Target) -> None:
    """Version, kind and packages; what only PYTHONPATH shows is reported as that; secrets are left out."""
    environment = environments.describe(real_target)
    version = ".".join(map(str, sys.version_info[:3]))
    assert (environment.name, environment.kind, environment.python_version) == ("lab", "venv", version)
    assert environment.python_implementation == "CPython"
    rows = [(package.name, package.version, package.origin) for package in environment.packages]
    assert rows == [("shadow", "1.0", "pythonpath"), ("torch-like-thing", "2.13.0", "environment")]
    assert dict(environment.variables) == {
        key: real_target.variables[key] for key in ("PYTHONPATH", "HF_HOME")
    }


def test_environment_hash_is_that_of_its_content(real_target: Target) -> None:
    """Another name keeps the hash, another package version changes it."""
    first = environments.describe(real_target)
    renamed = Target(name="other", python=real_target.python, variables=real_target.variables)
    assert environments.describe(renamed).environment_hash == first.environment_hash
    site_packages = next(real_target.python.parent.parent.glob("lib/python*/site-packages"))
    add_distribution(site_packages, "new", "1")
    assert environments.describe(real_target).environment_hash != first.environment_hash


def test_packages_of_the_user_site_are_reported_as_such(tmp_path: Path) -> None:
    """What a plain interpreter sees in the user's own site is no part of the environment."""
    target = target_from(sys.executable, variables={"PYTHONUSERBASE": str(tmp_path)})
    base = Path(sys.executable).resolve()
    target = Target(name="base", python=base, variables=target.variables)
    path = subprocess.run(
        [base, "-c", "import site; print(site.getusersitepackages())"],
        env={"PYTHONUSERBASE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    add_distribution(Path(path.stdout.strip()), "mine", "3")
    packages = {package.name: package.origin for package in environments.describe(target).packages}
    assert packages["mine"] == "user_site"


def test_interpreter_that_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    """What it said last is in the sentence."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'dyld: Library not loaded: Python' >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(
        TargetError, match=r"does not list its packages .* it said: dyld: Library not loaded: Python\.$"
    ):
        environments.describe(target_from(str(python)))


def test_interpreter_that_never_answers_leaves_nothing_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script in the interpreter's place is ended with the child that it waits for."""
    python = tmp_path / "python"
    pids = tmp_path / "pids"
    python.write_text(f"#!/bin/sh\nsleep 1000 &\necho $! >> {pids}\nwait\n")
    python.chmod(0o755)
    monkeypatch.setattr(environments, "INVENTORY_TIMEOUT_SECONDS", 3.0)
    with pytest.raises(TargetError, match=r"does not list its packages within 3 s; "):
        environments.describe(target_from(str(python)))
    started = [int(line) for line in pids.read_text().split()]
    assert len(started) == 2
    left = [psutil.Process(pid) for pid in started if psutil.pid_exists(pid)]
    _, running = psutil.wait_procs(left, timeout=60)  # one that was just ended takes a moment to be gone
    assert [each.pid for each in running if each.status() != psutil.STATUS_ZOMBIE] == []


def test_python_older_than_the_probe_is_one_sentence(tmp_path: Path) -> None:
    """Python 3.8 would list its packages; checks cannot run there."""
    python = tmp_path / "python"
    seen = {"python_version": "3.8.18", "python_implementation": "CPython", "python_architecture": "arm64"}
    listing = json.dumps({**seen, "packages": []})
    python.write_text(f"#!/bin/sh\nfor output; do :; done\necho '{listing}' > \"$output\"\n")
    python.chmod(0o755)
    with pytest.raises(TargetError, match=r"is Python 3\.8\.18; checks need 3\.9 or later in a target\.$"):
        environments.describe(target_from(str(python)))


def test_inventory_of_an_old_python_is_read(tmp_path: Path) -> None:
    """The inventory script runs on Python 3.9."""
    found = sorted((Path.home() / ".pyenv" / "versions").glob("3.9.*/bin/python"))
    if not found:
        pytest.skip("no Python 3.9 under ~/.pyenv/versions")
    output = tmp_path / "seen.json"
    script = environments.INVENTORY
    subprocess.run([found[0], "-X", "utf8", "-I", script, output], check=True)
    assert json.loads(output.read_text())["python_version"].startswith("3.9.")


def test_broken_user_site_does_not_hide_the_environment(real_target: Target, tmp_path: Path) -> None:
    """A sitecustomize that ends every plain start leaves the isolated list, which is what checks see."""
    (tmp_path / "extra" / "sitecustomize.py").write_text("import os\nos._exit(7)\n")
    packages = environments.describe(real_target).packages
    assert [package.name for package in packages] == ["torch-like-thing"]
