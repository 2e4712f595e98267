"""Bad input is one clear sentence on stderr, nothing on stdout, and exit code 2."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

RUNS = Path(__file__).resolve().parent / "runs"


def complaint(outcome: Any) -> str:
    """What was said, after the conditions that hold for every bad input."""
    assert (outcome.code, outcome.out) == (2, "")
    assert "Traceback" not in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    return str(outcome.err.strip())


def test_a_file_that_is_not_there(llmenv: Callable[..., Any], tmp_path: Path) -> None:
    """The file is named."""
    file = tmp_path / "none.json"
    said = complaint(llmenv("run", "show", str(file)))
    assert said == f"llmenv: {file} cannot be read: No such file or directory."


def test_a_folder_instead_of_a_file(llmenv: Callable[..., Any], tmp_path: Path) -> None:
    """A folder exists, and holds no run."""
    assert "Is a directory" in complaint(llmenv("run", "show", str(tmp_path)))


@pytest.mark.parametrize(
    "words",
    [
        ("run", "show"),
        ("import", "--source", "lab"),
        ("sql", "-f"),
        ("plan", "--memory", "64", "--model"),
        ("fleet", "report", "--pin"),
    ],
    ids=lambda words: words[0],
)
def test_a_pipe_is_not_waited_for(
    llmenv: Callable[..., Any], logged_in: Any, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Nobody may ever write into it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    refused = llmenv(*words, str(pipe))
    assert (refused.code, refused.out) == (2, "")
    assert f"{pipe} cannot be read: it is no file but a pipe or a device." in " ".join(refused.err.split())


def test_what_the_shell_has_opened_is_a_file(llmenv: Callable[..., Any]) -> None:
    """As in `llmenv run show <(ssh mac llmenv-agent check)`."""
    with (RUNS / "ready_m2_ultra.json").open("rb") as run:
        shown = llmenv("run", "show", f"/dev/fd/{run.fileno()}")
    assert (shown.code, shown.err) == (0, "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read(llmenv: Callable[..., Any], tmp_path: Path) -> None:
    """The system's reason is given."""
    file = tmp_path / "run.json"
    file.write_text("{}")
    file.chmod(0)
    assert "Permission denied" in complaint(llmenv("run", "show", str(file)))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "There is nothing in"),
        (b" \n", "There is nothing in"),
        (b"not json", "is not JSON"),
        (b"\xff\xfe\x00", "it is no text"),
        (b"[1, 2]", "not of a run"),
        (b'"text"', "not of a run"),
        (b"null", "not of a run"),
        (b"[" * 100_000, "nested too deeply"),
        (b"{}", "not of a run"),
        (b'{"name": "something else"}', "not of a run"),
        (b'{"run_id": 7}', "not of a run"),
        (b'{"run_id": "x", "results": "many"}', "not of a run"),
    ],
)
def test_content_that_is_no_run(
    llmenv: Callable[..., Any], tmp_path: Path, content: bytes, words: str
) -> None:
    """Whatever it is, the file is named and what is wrong with it."""
    file = tmp_path / "run.json"
    file.write_bytes(content)
    said = complaint(llmenv("run", "show", str(file)))
    assert words in said
    assert str(file) in said


def test_a_run_cut_in_the_middle(llmenv: Callable[..., Any], tmp_path: Path) -> None:
    """As a full disk leaves it."""
    content = (RUNS / "ready_m2_ultra.json").read_bytes()
    file = tmp_path / "run.json"
    file.write_bytes(content[: len(content) // 2])
    assert "holds no run" in complaint(llmenv("run", "show", str(file)))


def test_nothing_on_stdin(llmenv: Callable[..., Any]) -> None:
    """An agent that failed leaves an empty pipe."""
    assert "nothing in stdin" in complaint(llmenv("run", "show", "-"))


def test_parameters_that_are_no_json_do_not_stop_a_report(llmenv: Callable[..., Any], tmp_path: Path) -> None:
    """A field inside a run may be damaged; the rest is shown."""
    content = json.loads((RUNS / "ready_m2_ultra.json").read_text("utf-8"))
    content["results"][0]["parameters_json"] = "{broken"
    file = tmp_path / "run.json"
    file.write_text(json.dumps(content))
    shown = llmenv("run", "show", str(file), "--format", "md")
    assert shown.code == 0
    assert "{broken" in shown.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["run", "nonsense"],
        ["run", "show"],
        ["run", "show", "-", "--format", "yaml"],
        ["run", "show", "-", "--lang", "fr"],
        ["check", "--device", "tpu"],
        ["run", "list", "--limit", "0"],
        ["fleet", "report", "--since", "yesterday"],
        ["fleet", "report", "--since", "0d"],
    ],
)
def test_wrong_command_lines(llmenv: Callable[..., Any], arguments: list[str]) -> None:
    """Usage and one sentence, by click."""
    outcome = llmenv(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert "Error: " in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    "arguments", [["run", "list"], ["fleet", "machines"], ["sql", "SELECT 1"], ["run", "show", "019c6120"]]
)
def test_asking_without_a_login(llmenv: Callable[..., Any], arguments: list[str]) -> None:
    """What to do is said."""
    assert "llmenv login" in complaint(llmenv(*arguments))


@pytest.mark.parametrize("content", ["", "{}", "[]", "not json", '{"address": "a"}'])
def test_damaged_credentials(llmenv: Callable[..., Any], tmp_path: Path, content: str) -> None:
    """The file is named."""
    file = tmp_path / "config" / "credentials.json"
    file.parent.mkdir()
    file.write_text(content)
    said = complaint(llmenv("run", "list"))
    assert str(file) in said
    assert "damaged" in said


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("lang = 'en'\ncolour = 'red'\n", "cli.toml, line 2: there is no setting 'colour'"),
        ("\n\n[lang]\nx = 1\n", "cli.toml, line 3: lang is en or zh"),
        ("lang = 'fr'\n", "cli.toml, line 1: lang is en or zh, not 'fr'"),
        ("timeout_seconds = 'soon'\n", "timeout_seconds is a number above 0"),
        ("timeout_seconds = -1\n", "timeout_seconds is a number above 0"),
        ("lang = \n", "not TOML"),
    ],
)
def test_wrong_settings(llmenv: Callable[..., Any], tmp_path: Path, content: str, words: str) -> None:
    """File and line are named, and nothing is done."""
    file = tmp_path / "config" / "cli.toml"
    file.parent.mkdir()
    file.write_text(content)
    said = complaint(llmenv("run", "show", str(RUNS / "ready_m2_ultra.json")))
    assert words in said
    assert str(file) in said


def test_a_wrong_variable(llmenv: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is named."""
    monkeypatch.setenv("LLMENV_LANG", "klingon")
    assert "The variable LLMENV_LANG" in complaint(llmenv("run", "show", str(RUNS / "ready_m2_ultra.json")))
