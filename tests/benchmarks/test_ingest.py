"""The benchmark of ingest compares like with like."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

if TYPE_CHECKING:
    import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
ONCE = (
    "record",
    "result",
    "measurement",
    "fact",
    "condition",
    "expectation",
    "result_case",
    "run",
    "run_end",
)


def test_bare_duckdb_writes_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the ratio would say nothing; both wrote something in more than one group."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    ingest = importlib.import_module("ingest")
    spent = ingest.beside_bare(tmp_path, days=3, machines=2, group=100)
    counts = [rows_of(tmp_path / name) for name in ("ours.duckdb", "bare.duckdb")]
    assert counts[0] == counts[1]
    assert 0 < spent.measurements < counts[0]["measurement"]
    assert min(spent.ours, spent.bare) > 0


def rows_of(path: Path) -> dict[str, int]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return {
            table: connection.execute(f"SELECT count(*) FROM store.{table}").fetchall()[0][0]
            for table in ONCE
        }
