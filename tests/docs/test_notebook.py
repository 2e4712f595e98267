"""The notebook of the guide, executed cell by cell against a collector that has two runs of a machine."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmenv_collector.storage.migrate import view_files

from ..collector.conftest import RunningCollector  # noqa: TID252 (tests are no installed package)

if TYPE_CHECKING:
    import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "analysis.ipynb"


def test_the_notebook_runs(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From its first cell to its last, and finds what is stored."""
    collector = RunningCollector(tmp_path / "data")
    collector.stop()
    shutil.copyfile(database, collector.folder / "llmenv.duckdb")
    collector.start()
    try:
        printed = collector.token("--role", "analyst")
        monkeypatch.setenv("LLMENV_COLLECTOR", collector.people_address)
        monkeypatch.setenv("LLMENV_CA", str(collector.folder / "ca.pem"))
        monkeypatch.setenv("LLMENV_TOKEN", str(printed))
        found = run_cells()
    finally:
        collector.stop()
    assert sorted(found["names"]) == sorted(name.removesuffix(".sql") for name, _ in view_files())
    assert found["columns"]["value"]
    assert "pass" not in set(found["failing"]["status"]) != set()
    assert found["medians"].height > 0
    assert sum(runs for _, _, runs in found["per_month"]) == 2
    assert dt.datetime.fromisoformat(found["taken_at"]).tzinfo is not None


def run_cells() -> dict[str, Any]:
    names: dict[str, Any] = {}
    for number, cell in enumerate(json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    return names
