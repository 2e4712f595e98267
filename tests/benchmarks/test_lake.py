"""The benchmark of a lake: every machine is led to one of the collectors, and what is missing is said."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
import lake
from systems.postgres import version
from systems.server import NotInstalledError


def missing() -> str:
    try:
        lake.require_programs()
        version()
    except NotInstalledError as error:
        return str(error)
    return ""


@pytest.mark.skipif(bool(missing()), reason=missing())
@pytest.mark.timeout(900)
def test_all_is_stored_on_two_collectors() -> None:
    """Commits are counted where they are made, and somebody's processor time was used."""
    row = lake.measured(lake.Shape(collectors=2), machines=2, days=1)

    assert row.played["ledger_is_whole"]
    assert row.played["measurements"] > 0
    assert row.snapshots is not None
    assert row.snapshots > 0
    assert min(row.collectors_cpu, row.stored_bytes) > 0


def test_what_is_not_installed_is_said_in_its_rows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And nothing fails: there are no figures."""
    monkeypatch.setattr(lake, "BIN", tmp_path)
    monkeypatch.setattr(sys, "argv", ["lake.py", "--quick"])

    assert lake.main() == 0
    *rows, last = capsys.readouterr().out.splitlines()
    assert sum("not installed: .venv-lake, which make test-lake makes" in row for row in rows) == 4
    assert json.loads(last) == []


def test_a_machine_in_turn_is_led_to_each_collector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Enrolled at the first, and the rest of its identity is left as it was."""
    folders = [tmp_path / f"collector-{number}" for number in range(2)]
    for number, folder in enumerate(folders):
        folder.mkdir()
        (folder / "serving.json").write_text(json.dumps({"agents_address": f"127.0.0.1:{number}"}))
    for name in ("mini-001", "mini-002", "mini-003"):
        (tmp_path / "agents" / name).mkdir(parents=True)
        identity = {"machine_id": name, "agent_addresses": ["127.0.0.1:0"]}
        (tmp_path / "agents" / name / "identity.json").write_text(json.dumps(identity))
    monkeypatch.setattr(lake, "call", lambda *_, **__: "{}")

    lake.enrol(tmp_path, folders, machines=3)

    found = [json.loads(path.read_text()) for path in sorted((tmp_path / "agents").glob("*/*.json"))]
    assert [each["agent_addresses"] for each in found] == [["127.0.0.1:0"], ["127.0.0.1:1"], ["127.0.0.1:0"]]
    assert [each["machine_id"] for each in found] == ["mini-001", "mini-002", "mini-003"]
