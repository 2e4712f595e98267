"""An export folder has what the collector has: each row once, and none that is gone."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pytest
from llmenv.fleet.v1 import fleet_service_pb2 as messages
from llmenv_cli.errors import UsageError
from llmenv_cli.export.folder import Export
from llmenv_cli.export.manifest import FILE_NAME, Manifest
from llmenv_cli.export.months import Span
from llmenv_cli.sql.views import View

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

TABLES = """
CREATE SCHEMA v1;
CREATE TABLE v1.results (machine_id VARCHAR, result_id INTEGER, measured_at TIMESTAMP);
CREATE TABLE v1.cases (machine_id VARCHAR, result_id INTEGER, name VARCHAR);
INSERT INTO v1.results VALUES ('mini', 1, '2026-01-20');
INSERT INTO v1.cases VALUES ('mini', 1, 'first'), ('mini', 2, 'second');
"""
CASES = View(name="cases", meaning="", time_column="results.measured_at", question="", example="", columns=())


class Collector:
    """Answers as one does, from tables in memory."""

    def __init__(self, *, most_rows: int = 1_000) -> None:
        self.connection = duckdb.connect()
        self.connection.execute(TABLES)
        self.most_rows = most_rows

    def query(
        self, sql: str, *, max_rows: int, parameters: Sequence[Any] = ()
    ) -> Iterator[messages.QueryResponse]:
        values = {each.name: getattr(each, each.WhichOneof("value")) for each in parameters}
        table = self.connection.sql(sql, params=values or None).to_arrow_table()
        sink = io.BytesIO()
        shown = table.slice(length=max_rows or self.most_rows)
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(shown)
        yield messages.QueryResponse(arrow_ipc=sink.getvalue())
        yield messages.QueryResponse(rows=len(shown), is_truncated=len(shown) < len(table))


def export(collector: Collector, folder: Path, span: Span = Span()) -> list[str]:  # noqa: B008 (frozen)
    """Files that are there, all of which the manifest names."""
    manifest = Manifest.load(folder, output_format="parquet", collector="c")
    Export(collector, manifest).run([CASES], span, say=lambda _: None)  # type: ignore[arg-type]
    named = Manifest.load(folder, output_format="parquet", collector="c").files
    there = sorted(each.relative_to(folder).as_posix() for each in folder.glob("*/*.parquet"))
    assert there == sorted(named)
    assert all(manifest.is_whole(each) for each in named.values())
    return there


def cases(folder: Path) -> list[tuple[Any, ...]]:
    return duckdb.sql(f"SELECT name FROM '{folder}/cases/*.parquet' ORDER BY name").fetchall()


def test_rows_that_get_a_time_are_there_once(tmp_path: Path) -> None:
    """Cases of a check that still ran have none; after its end they lie in its month alone."""
    collector = Collector()
    assert export(collector, tmp_path) == ["cases/2026-01.parquet", "cases/undated.parquet"]
    collector.connection.execute("INSERT INTO v1.results VALUES ('mini', 2, '2026-02-01')")
    assert export(collector, tmp_path) == ["cases/2026-01.parquet", "cases/2026-02.parquet"]
    assert cases(tmp_path) == [("first",), ("second",)]


def test_what_was_forgotten_is_gone(tmp_path: Path) -> None:
    """From the months that are asked for; others stay as they were exported."""
    collector = Collector()
    export(collector, tmp_path)
    collector.connection.execute("DELETE FROM v1.cases")
    assert export(collector, tmp_path, Span("2026-02", "2026-03")) == ["cases/2026-01.parquet"]
    assert export(collector, tmp_path) == []


@pytest.mark.parametrize("killed", ["before the files went", "before the manifest was written"])
def test_an_export_that_was_killed_while_it_removed_leaves_no_row_twice(tmp_path: Path, killed: str) -> None:
    """The next one removes what was left, and nothing that is not an export's."""
    collector = Collector()
    export(collector, tmp_path)
    undated = (tmp_path / "cases" / "undated.parquet").read_bytes()
    before = (tmp_path / FILE_NAME).read_bytes()
    collector.connection.execute("INSERT INTO v1.results VALUES ('mini', 2, '2026-02-01')")
    export(collector, tmp_path)
    if killed == "before the files went":
        (tmp_path / "cases" / "undated.parquet").write_bytes(undated)
    else:
        (tmp_path / FILE_NAME).write_bytes(before)
    (tmp_path / "cases" / "notes.txt").touch()
    assert export(collector, tmp_path) == ["cases/2026-01.parquet", "cases/2026-02.parquet"]
    assert (tmp_path / "cases" / "notes.txt").exists()


def test_months_that_were_cut_from_the_answer_are_not_taken_for_gone(tmp_path: Path) -> None:
    """Nothing is removed on what is only part of an answer."""
    collector = Collector()
    there = export(collector, tmp_path)
    collector.most_rows = 1
    with pytest.raises(UsageError, match="more months"):
        export(collector, tmp_path)
    collector.most_rows = 1_000
    assert export(collector, tmp_path) == there
