"""What a check writes that no probe should: half characters, half lines, pages in a sentence, no folder."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import psutil
import pytest
from llmenv.fleet.v1 import result_pb2
from llmenv_agent import leftover, runner
from llmenv_agent.check_process import CheckProcess
from llmenv_agent.definitions import read_definition
from llmenv_agent.targets import target_from

if TYPE_CHECKING:
    from pathlib import Path


def run_body(folder: Path, *lines: str) -> result_pb2.Result:
    """A check of these lines, in `folder`."""
    path = folder / "of_lines.py"
    path.write_text(
        '"""Does it?"""\nSUITES = ()\nREQUIRES = ()\nTIMEOUT_SECONDS = 60\nPARAMETERS = {}\n'
        "def run(probe):\n" + "".join(f"    {line}\n" for line in lines)
    )
    return runner.run_check(read_definition(path), target=target_from(sys.executable), device="cpu")


@pytest.mark.parametrize("where", ["name", "reason", "fact", "check"])
def test_half_a_character_costs_nothing_but_itself(tmp_path: Path, where: str) -> None:
    """A file's name that is no UTF-8 is such text in Python, and protobuf takes none of it."""
    odd = {each: "\\udcff" if each == where else "x" for each in ("name", "reason", "fact", "check")}
    result = run_body(
        tmp_path,
        f'with probe.case("{odd["name"]}") as case:',
        f'    case.fact("text", "{odd["fact"]}")',
        f'    case.passed("{{word}}", word="{odd["reason"]}")',
        f'probe.passed("{odd["check"]}")',
    )
    assert result.status == result_pb2.STATUS_PASS, result.reason.text
    (case,) = result.cases
    seen = {"name": case.name, "reason": case.reason.text, "fact": case.facts[0].text}
    assert {**seen, "check": result.reason.text} == {**dict.fromkeys(odd, "x"), where: "?"}


def test_row_longer_than_one_look_is_read_whole(tmp_path: Path) -> None:
    """And the row after it."""
    result = run_body(
        tmp_path,
        'with probe.case("long") as case:',
        '    case.fact("text", "x" * 9_000_000)',
        '    case.passed("Long.")',
        'with probe.case("short") as case:',
        '    case.passed("Short.")',
    )
    assert [case.name for case in result.cases] == ["long", "short"]
    assert len(result.cases[0].facts[0].text) == 9_000_000


def test_row_that_cannot_be_read_is_no_pass(tmp_path: Path) -> None:
    """A full disk leaves half a line: the others are kept, and the check is not called sound."""
    result = run_body(
        tmp_path,
        'with probe.case("whole") as case:',
        '    case.passed("Whole.")',
        'with open("result.json.cases", "a") as stream:',
        """    stream.write('{"end": {"name": "ha\\n[]\\n')""",
    )
    assert result.status == result_pb2.STATUS_ERROR
    assert result.reason.text == "2 lines of its cases cannot be read."
    assert [case.name for case in result.cases] == ["whole"]


def test_value_of_a_sentence_is_bounded(tmp_path: Path) -> None:
    """A sentence is to be read: what a library says on pages is cut."""
    result = run_body(tmp_path, 'probe.passed("It said {words}.", words="x" * 5000)')
    assert result.reason.text == "It said " + "x" * 999 + "…."


def test_folder_that_vanishes_is_not_blamed_on_the_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cleaner of temporary files may take it between two processes of a check."""

    def without_folder(*_: object) -> None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/tmp/gone")

    monkeypatch.setattr(CheckProcess, "run", without_folder)
    result = run_body(tmp_path, 'probe.passed("Never said.")')
    assert result.status == result_pb2.STATUS_ERROR
    assert result.reason.text == (
        "Its process cannot be started, because of /tmp/gone: No such file or directory."
    )


def test_folder_that_cannot_be_made_is_an_error_of_the_check(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As on a disk without room: the run goes on, and the next check may be luckier."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    result = run_body(tmp_path, 'probe.passed("Never said.")')
    assert (result.check_name, result.status) == ("of_lines", result_pb2.STATUS_ERROR)
    assert result.reason.text.startswith(f"Its process cannot be started, because of {tmp_path}/none/")
    assert result.reason.text.endswith(": No such file or directory.")


def test_check_of_an_agent_that_lives_is_left_alone(tmp_path: Path) -> None:
    """Two agents that were given one state folder and two run locks: neither ends the other's check."""
    note, folder = tmp_path / "leftover.json", tmp_path / "llmenv-check-running"
    folder.mkdir()
    with subprocess.Popen(["sleep", "60"]) as agent:
        started = psutil.Process(agent.pid).create_time()
        of_agent = {"agent": agent.pid, "agent_started": started}
        note.write_text(json.dumps({"pid": agent.pid, "started": started, "folder": str(folder), **of_agent}))
        assert not leftover.end_leftover(note)
        assert folder.is_dir()
        assert note.exists()
        agent.kill()
    assert not leftover.end_leftover(note)
    assert not folder.exists()
