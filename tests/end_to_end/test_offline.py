"""A snapshot answers people while its collector is down, and changes nothing."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from llmenv_agent.simulation.fleet import Fleet as SimulatedFleet

from .conftest import BIN, Fleet
from .lab import lab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUESTIONS = (
    ("sql", "SELECT * FROM runs ORDER BY ALL", "--format", "json"),
    ("sql", "SELECT view, name, type FROM view_columns ORDER BY ALL", "--format", "csv"),
    ("run", "list", "--format", "json"),
    ("fleet", "report", "--since", "all", "--as-of", "2026-01-09", "--format", "json"),
)
# What a report reads, and no more: each costs two statements.
EXPORTED = (
    *("machines", "runs", "records", "results", "result_cases", "measurements", "conditions", "facts"),
    *("environments", "environment_sightings", "environment_packages", "result_variables"),
)


class Offline(Fleet):
    """A folder with tokens of its own, in which a snapshot is served."""

    def __init__(self, folder: Path, snapshot: Path) -> None:
        super().__init__(folder)
        self.call("llmenv-collector", "init")
        self.server = subprocess.Popen(
            [
                *(str(BIN / "llmenv-collector"), "serve", "--read-only", "--snapshot", str(snapshot)),
                *("--listen", "127.0.0.1:0"),
            ],
            env=self.environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = self.server.stderr.readline() if self.server.stderr else ""

    def log_in(self, role: str) -> None:
        self.call("llmenv", "login", token=self.token("--role", role))

    def stop(self) -> None:
        self.server.send_signal(signal.SIGTERM)
        assert self.server.wait(timeout=90) == 0
        assert self.server.stderr is not None
        self.server.stderr.close()


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[tuple[str, ...], Any]]:
    """A backup, an export, and what the collector itself had said; it is down by now."""
    folder = tmp_path_factory.mktemp("offline")
    simulated = SimulatedFleet(seed=5, machines=2, days=9)
    with lab(folder / "lab", simulated, settings={"LLMENV_CHANGES_SECONDS": "3600"}) as running:
        said = {each: answer_of(running, each) for each in QUESTIONS}
        run_id = json.loads(running.call("llmenv", "run", "list", "--format", "json").stdout)[0]["run_id"]
        said["run", "show", run_id, "--format", "md"] = answer_of(
            running, ("run", "show", run_id, "--format", "md")
        )
        chosen = [part for view in EXPORTED for part in ("--view", view)]
        running.call("llmenv", "export", "--since", "all", *chosen, str(folder / "export"))
        running.call("llmenv-collector", "backup", str(folder / "backup"))
    return folder / "backup", folder / "export", said


def answer_of(fleet: Fleet, question: tuple[str, ...]) -> Any:
    """With its exit code; of a report not when it was made."""
    ended = fleet.call("llmenv", *question, codes=(0, 1, 4))
    if question[:2] == ("fleet", "report"):
        content = json.loads(ended.stdout)
        del content["generated_at"]
        return ended.returncode, content
    return ended.returncode, ended.stdout


@pytest.fixture(scope="module")
def offline(answers: tuple[Path, Path, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Offline]:
    serving = Offline(tmp_path_factory.mktemp("laptop"), answers[0])
    yield serving
    serving.stop()


def test_answers_are_those_of_the_collector(offline: Offline, answers: tuple[Path, Path, Any]) -> None:
    """SQL, lists, runs and the report, as of the time of the snapshot."""
    assert ", read-only, as of 2026-" in offline.said
    offline.log_in("analyst")
    for question, said in answers[2].items():
        assert answer_of(offline, question) == said, question


def test_an_export_answers_too(
    answers: tuple[Path, Path, dict[tuple[str, ...], Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """SQL and the report as the collector gave them; a whole run is not in it, which is said."""
    serving = Offline(tmp_path_factory.mktemp("export-laptop"), answers[1])
    try:
        serving.log_in("analyst")
        for question, said in answers[2].items():
            if question[:2] == ("run", "show"):
                refused = serving.call("llmenv", *question, codes=(2,))
                assert "serve a backup" in refused.stderr
            else:
                assert without_reasons(answer_of(serving, question)) == without_reasons(said), question
    finally:
        serving.stop()


def without_reasons(content: Any) -> Any:
    """An export has the sentence about what is wrong as text, and not with its parts for another language."""
    if isinstance(content, dict):
        return {name: without_reasons(each) for name, each in content.items() if name != "reason"}
    if isinstance(content, list | tuple):
        return [without_reasons(each) for each in content]
    return content


def test_roles_hold(offline: Offline) -> None:
    """A viewer has reports and no SQL, and a stranger nothing."""
    offline.log_in("viewer")
    assert "analyst" in offline.call("llmenv", "sql", "SELECT 1", codes=(5,)).stderr
    offline.call("llmenv", "fleet", "machines")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("fleet", "run", "--all", "--suite", "quick", "--no-wait"), id="command"),
        pytest.param(("import", "IMPORT", "--source", "public"), id="import"),
    ],
)
def test_what_changes_something_is_refused(
    offline: Offline, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """One sentence that says why and where, to an admin as well."""
    offline.log_in("admin")
    file = tmp_path / "a.csv"
    file.write_text("machine\n")
    given = [str(file) if each == "IMPORT" else each for each in arguments]
    refused = offline.call("llmenv", *given, codes=(2,))
    assert refused.stdout == ""
    assert "served read-only: nothing can be changed here; ask the collector itself." in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_snapshot_is_not_written_to(
    offline: Offline, answers: tuple[Path, Path, Any], tmp_path: Path
) -> None:
    """Every byte of the backup is as it was: another folder can be restored from it."""
    (tmp_path / "again").mkdir()
    offline.call("llmenv-collector", "init", "--data", str(tmp_path / "again" / "data"))
    restored = offline.call(
        "llmenv-collector", "restore", str(answers[0]), "--data", str(tmp_path / "again" / "data")
    )
    assert "Traceback" not in restored.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        pytest.param(["--read-only"], "--read-only needs --snapshot, or --store ducklake", id="no snapshot"),
        pytest.param(["--read-only", "--snapshot", "none"], "There is no snapshot none", id="not there"),
        pytest.param(
            ["--read-only", "--snapshot", __file__], "is no database of a collector", id="no database"
        ),
        pytest.param(
            ["--read-only", "--snapshot", "none", "--listen", "0.0.0.0:0"], "on loopback alone", id="network"
        ),
    ],
)
def test_what_cannot_be_served(tmp_path: Path, flags: list[str], words: str) -> None:
    """One sentence, before anything listens."""
    fleet = Fleet(tmp_path)
    fleet.call("llmenv-collector", "init")
    refused = fleet.call("llmenv-collector", "serve", *flags, codes=(1, 2, 3, 4, 5))
    assert words in refused.stderr


def test_a_snapshot_that_is_not_there_is_named_first(tmp_path: Path) -> None:
    """Also where there is no data folder yet, which whoever mistyped has no need of."""
    flags = ("--read-only", "--snapshot", str(tmp_path / "none"), "--data", str(tmp_path / "nothing"))
    refused = Fleet(tmp_path).call("llmenv-collector", "serve", *flags, codes=(2,))
    assert "There is no snapshot" in refused.stderr
