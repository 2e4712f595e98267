"""The examples of docs/views.md, asked as an analyst asks, of a store with real runs."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING

import pytest
from llmenv_collector.sql import people_duckdb, statement_rules
from llmenv_collector.storage import migrate

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

VIEWS = [name.removesuffix(".sql") for name, _ in migrate.view_files()]


@pytest.mark.parametrize("view", VIEWS)
def test_the_example_of_a_view_is_allowed_and_answers(
    generator: ModuleType, database: Path, view: str
) -> None:
    """It reads its view, and finds rows in two runs of a machine, one of them not ready."""
    example = generator.view_examples()[view]
    assert f"FROM {view}" in example.statement
    connection = people_duckdb.connect(str(database), memory_bytes=1 << 30)
    try:
        statement = statement_rules.only_select(connection, example.statement)
        answer = connection.sql(statement.query).to_arrow_table()
    finally:
        connection.close()
    assert answer.num_rows > 0


def test_the_views_describe_themselves(generator: ModuleType, database: Path) -> None:
    """An analyst finds each view with its example, its time, and the unit of each column."""
    connection = people_duckdb.connect(str(database), memory_bytes=1 << 30)
    try:
        told = connection.sql("SELECT name, time_column, question, example FROM views").fetchall()
        units = dict(
            connection.sql("SELECT view || '.' || name, unit FROM view_columns WHERE unit <> ''").fetchall()
        )
    finally:
        connection.close()
    assert {name: generator.Example(*example) for name, _, *example in told} == generator.view_examples()
    times = {name: time for name, time, *_ in told}
    assert (times["runs"], times["measurements"], times["machines"]) == (
        "started_at",
        "results.started_at",
        None,
    )
    wanted = {
        "machines.memory_bytes": "bytes",
        "runs.wall_seconds": "seconds",
        "runs.started_at": "UTC",
        "delivery.minted": "count",
        "measurements.value": "unit",
        "change_points.ratio_low": "ratio",
    }
    assert {column: units[column] for column in wanted} == wanted


def test_the_statements_about_both_times_answer(docs: Path, database: Path) -> None:
    """What happened until a time, and what was known at one, as docs/sql.md asks it."""
    page = (docs / "sql.md").read_text(encoding="utf-8")
    statements = re.findall(r"```sql\n(.*?)```", page, flags=re.DOTALL)
    assert len(statements) == 4
    long_ago, far_off = (dt.datetime(year, 1, 1, tzinfo=dt.UTC) for year in (1971, 2999))
    connection = people_duckdb.connect(str(database), memory_bytes=1 << 30)
    try:
        for statement in statements:
            names = set(re.findall(r"\$(\w+)", statement))
            values = {"until": far_off, "known_at": far_off}
            asked = statement_rules.only_select(connection, statement).query
            rows = connection.sql(asked, params={name: values[name] for name in names}).fetchall()
            assert rows, statement
            # The example store received all of it in 1970, and what happened by then is nothing.
            earlier = {"until": long_ago, "known_at": far_off}
            asked = statement_rules.only_select(connection, statement).query
            before = connection.sql(asked, params={name: earlier[name] for name in names}).fetchall()
            assert (before != rows) == ("until" in names), statement
    finally:
        connection.close()
