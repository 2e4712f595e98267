"""The history as files: all of it, once, whatever ends an export; then only what changed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from llmenv_agent.simulation.fleet import Fleet as SimulatedFleet
from llmenv_collector.storage.store import Store

from .conftest import BIN
from .lab import database_of, deliver, lab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import Fleet

VIEWS = ("machines", "runs", "results", "expectations")
SINCE_ALL = ("--since", "all", *(part for view in VIEWS for part in ("--view", view)))
PATIENCE_SECONDS = 180.0


@pytest.fixture(scope="module")
def simulated() -> SimulatedFleet:
    return SimulatedFleet(seed=3, machines=2, days=75)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, simulated: SimulatedFleet) -> Iterator[Fleet]:
    """Answers have 500 rows at most, so that a month takes several files."""
    with lab(tmp_path_factory.mktemp("export"), simulated, settings={"LLMENV_SQL_ROWS": "500"}) as running:
        yield running


def manifest_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return content


def require_whole(folder: Path, fleet: Fleet) -> None:
    """Every file is listed with its checksum, none is half-written, and no row is missing or there twice."""
    files = {each["path"]: each for each in manifest_of(folder)["files"]}
    there = {str(each.relative_to(folder)) for each in folder.rglob("*.*") if each.parent != folder}
    assert there == set(files)
    for path, entry in files.items():
        assert hashlib.sha256((folder / path).read_bytes()).hexdigest() == entry["sha256"]
    with duckdb.connect() as connection:
        for view in VIEWS:
            rows = connection.sql(f"SELECT count(*) FROM '{folder}/{view}/*.parquet'")
            asked = fleet.call(
                "llmenv", "sql", f"SELECT count(*) AS n FROM {view}", "--format", "json"
            ).stdout
            assert rows.fetchall() == [(json.loads(asked)[0]["n"],)], view


def test_an_export_that_is_killed_is_gone_on_with(fleet: Fleet, tmp_path: Path) -> None:
    """kill -9 in the middle; the next takes up what is whole, and the one after finds nothing to do."""
    folder = tmp_path / "history"
    command = [str(BIN / "llmenv"), "export", *SINCE_ALL, str(folder)]
    killed = subprocess.Popen(command, env=fleet.environment, stderr=subprocess.DEVNULL)
    end = time.monotonic() + PATIENCE_SECONDS
    # One that is done before this process had its turn is as good: nothing is left to do then.
    while killed.poll() is None and len(list(folder.glob("results/*.parquet"))) < 2:
        assert time.monotonic() < end
        time.sleep(0.005)
    killed.kill()
    killed.wait()
    taken = {each["path"]: each for each in manifest_of(folder)["files"]}
    (folder / "expectations").mkdir(exist_ok=True)
    (folder / "expectations" / "2026-01.parquet.part").write_bytes(b"half")
    gone_on = fleet.call("llmenv", *command[1:])
    assert f"{len(taken)} were up to date" in gone_on.stderr
    require_whole(folder, fleet)
    whole = manifest_of(folder)["files"]
    assert any(".2-of-" in each["path"] for each in whole)
    assert {each["path"]: each for each in whole}.items() >= taken.items()
    assert "; 0 files written" in fleet.call("llmenv", *command[1:]).stderr
    assert manifest_of(folder)["files"] == whole


def test_only_what_changed_is_written_again(fleet: Fleet, simulated: SimulatedFleet, tmp_path: Path) -> None:
    """A machine that was away delivers; a file that was damaged is replaced."""
    folder = tmp_path / "history"
    command = ("export", "--since", "all", "--view", "runs", "--view", "machines", str(folder))
    fleet.call("llmenv", *command)
    before = {each["path"]: each for each in manifest_of(folder)["files"]}
    damaged = min(path for path in before if path.startswith("runs/"))
    (folder / damaged).write_bytes(b"PAR1")
    fleet.end_collector(signal.SIGTERM)
    late = SimulatedFleet(seed=4, machines=1, days=5)
    with contextlib.closing(Store(database_of(fleet))) as store:
        deliver(store, late, late.machines[0])
    fleet.start_collector()
    fleet.call("llmenv", *command)
    after = {each["path"]: each for each in manifest_of(folder)["files"]}
    written = {
        path
        for path, entry in after.items()
        if entry["snapshot_at"] != before.get(path, entry)["snapshot_at"]
    }
    changed = {
        path for path, entry in after.items() if entry["made_from"] != before.get(path, {}).get("made_from")
    }
    assert damaged in written
    assert "machines/all.parquet" in changed
    assert changed <= written | (set(after) - set(before))
    assert len(changed) < len(after)
    assert hashlib.sha256((folder / damaged).read_bytes()).hexdigest() == after[damaged]["sha256"]


def test_months_are_whole(fleet: Fleet, tmp_path: Path) -> None:
    """A date stands for its month, at both ends, and a view of what is comes whole; CSV as well."""
    months = fleet.call(
        "llmenv",
        "sql",
        "SELECT DISTINCT strftime(started_at, '%Y-%m') AS month FROM runs ORDER BY 1",
        "--format",
        "csv",
    ).stdout.split()[1:]
    assert len(months) >= 3
    folder = tmp_path / "history"
    fleet.call(
        "llmenv",
        *("export", "--since", f"{months[1]}-20", "--until", months[-2], "--format", "csv"),
        *("--view", "runs", "--view", "machines", str(folder)),
    )
    written = sorted(each["path"] for each in manifest_of(folder)["files"])
    assert written == ["machines/all.csv", *(f"runs/{month}.csv" for month in months[1:-1])]
    refused = fleet.call("llmenv", "export", "--since", "all", str(folder), codes=(2,)).stderr
    assert "was exported with another format" in refused


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--since", "March"], "'March' is no month such as 2026-03", id="no time"),
        pytest.param(["--since", "2026-03", "--until", "2026-02"], "is after --until", id="wrong way round"),
        pytest.param(["--since", "all", "--view", "run"], "did you mean runs", id="no view"),
    ],
)
def test_what_cannot_be_exported(fleet: Fleet, tmp_path: Path, arguments: list[str], words: str) -> None:
    """One sentence, and exit code 2."""
    refused = fleet.call("llmenv", "export", *arguments, str(tmp_path / "history"), codes=(2,))
    assert words in refused.stderr
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.txt").touch()
    strange = fleet.call("llmenv", "export", "--since", "all", str(tmp_path / "own"), codes=(2,))
    assert "is no export and has thesis.txt in it" in strange.stderr
