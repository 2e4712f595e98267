"""`llmenv-agent facts`: JSON on stdout, one sentence on stderr."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from llmenv.fleet.v1 import machine_pb2
from llmenv_agent.commands.facts import command

RECORDINGS = Path(__file__).resolve().parent.parent / "recordings"


def test_facts_of_this_machine_are_the_listed_fields_alone() -> None:
    """Two sections, each with fields of its message and no other."""
    result = CliRunner().invoke(command, [])
    answer = json.loads(result.stdout)
    assert (result.exit_code, set(answer)) == (0, {"machine", "conditions"})
    assert set(answer["machine"]) <= {field.name for field in machine_pb2.Machine.DESCRIPTOR.fields}
    assert set(answer["conditions"]) <= {field.name for field in machine_pb2.Conditions.DESCRIPTOR.fields}
    assert answer["machine"]["chip"]


def test_a_recording_is_shown_as_understood() -> None:
    """The kind and one answer."""
    result = CliRunner().invoke(command, ["--from", "notifyutil", str(RECORDINGS / "notifyutil/heavy.txt")])
    assert json.loads(result.stdout) == {
        "kind": "notifyutil",
        "observed": [{"conditions": {"thermal_pressure": "heavy"}}],
    }


def test_a_recording_may_come_from_stdin() -> None:
    """`-` is stdin, as everywhere."""
    text = (RECORDINGS / "sysctl/ultra.txt").read_text("utf-8")
    result = CliRunner().invoke(command, ["--from", "sysctl", "-"], input=text)
    assert json.loads(result.stdout)["observed"][0]["machine"]["chip"] == "Apple M2 Ultra"


@pytest.mark.parametrize(
    ("kind", "content", "sentence"),
    [
        ("nonsense", b"text", "there is no kind 'nonsense'; choose one of applegpuinfo, "),
        ("sysctl", b"\x7fELF\xff", "byte 4 is not UTF-8; send the output as a text file."),
        ("sysctl", b"", "it is empty; send what the tool printed."),
        ("sysctl", b"no such thing", "nothing in it is understood as output of kind sysctl;"),
    ],
    ids=["unknown kind", "binary", "empty", "not understood"],
)
def test_an_unusable_file_is_refused_in_one_sentence(
    tmp_path: Path, kind: str, content: bytes, sentence: str
) -> None:
    """Exit code 2, the file named, nothing on stdout."""
    file = tmp_path / "recording"
    file.write_bytes(content)
    result = CliRunner().invoke(command, ["--from", kind, str(file)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"Cannot use {file}: {sentence}" in result.stderr


def test_a_missing_file_is_refused_in_one_sentence(tmp_path: Path) -> None:
    """Exit code 2 and the file named."""
    result = CliRunner().invoke(command, ["--from", "sysctl", str(tmp_path / "missing")])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "missing': No such file or directory" in result.stderr


def test_the_help_of_facts_costs_nothing() -> None:
    """Importing the command loads neither protobuf nor psutil nor any parser."""
    code = (
        "import sys, llmenv_agent.commands.facts as _;"
        "print([name for name in sys.modules if name.split('.')[0] in {'google', 'psutil', 'llmenv'}"
        " or name.startswith('llmenv_agent.facts')])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
