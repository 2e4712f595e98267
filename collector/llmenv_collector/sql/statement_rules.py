"""What a person's statement may be: one SELECT over the views, without what shows or reaches more than them.

DuckDB refuses files, networks and writes itself, by its configuration.  This refuses what it would answer:
the tables behind the views, which are not promised, and functions that show paths and settings.  Functions
that give tables, and tables of the catalog, are listed here when they may be used, so that a new version of
DuckDB brings none along.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

SCHEMA = "v1"
CATALOG = "llmenv"
CATALOGS = {"", CATALOG}
SCHEMAS = {"", SCHEMA, "information_schema", "pg_catalog", "main"}
CATALOG_TABLES = {
    "duckdb_columns",
    "duckdb_functions",
    "duckdb_keywords",
    "duckdb_tables",
    "duckdb_types",
    "duckdb_views",
}
POSTGRES_TABLES = {
    "pg_am",
    "pg_attrdef",
    "pg_attribute",
    "pg_class",
    "pg_collation",
    "pg_constraint",
    "pg_database",
    "pg_depend",
    "pg_description",
    "pg_enum",
    "pg_index",
    "pg_indexes",
    "pg_namespace",
    "pg_proc",
    "pg_sequence",
    "pg_sequences",
    "pg_tables",
    "pg_tablespace",
    "pg_type",
    "pg_views",
}
# Not histogram() and histogram_values(): they are macros that read the table whose name they are given.
TABLE_FUNCTIONS = CATALOG_TABLES | {
    "generate_series",
    "icu_calendar_names",
    "json_each",
    "json_tree",
    "pg_timezone_names",
    "pragma_version",
    "range",
    "repeat",
    "repeat_row",
    "test_all_types",
    "unnest",
}
CATALOG_PREFIXES = ("duckdb_", "pg_", "pragma_", "sqlite_")
REVEALING_FUNCTIONS = {"current_setting", "getenv", "getvariable", "json_serialize_plan", "write_log"}


class RefusedError(Exception):
    """One sentence for the person who wrote the statement."""


def only_select(connection: duckdb.DuckDBPyConnection, sql: str) -> Any:
    """The one statement in the text, a SELECT.  Raises RefusedError for anything else."""
    import duckdb

    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise RefusedError(f"One SELECT statement is wanted; there are {len(statements)} statements.")
    (statement,) = statements
    kind = kind_of(statement)
    if kind != duckdb.StatementType.SELECT.name:
        raise RefusedError(f"Only a SELECT may be asked, not {kind}; the snapshot is read-only.")
    require_allowed(tree_of(connection, statement.query))
    return statement


def kind_of(statement: Any) -> str:
    try:
        return str(statement.type.name)
    except ValueError:  # newer than the list of kinds
        return "this statement"


def tree_of(connection: duckdb.DuckDBPyConnection, sql: str) -> dict[str, Any]:
    """The parsed statement, as DuckDB writes it in JSON."""
    ((text,),) = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
    try:
        tree: dict[str, Any] = json.loads(text)
    except RecursionError:
        raise RefusedError("The statement is nested too deeply: write it flatter.") from None
    if tree.get("error"):
        raise RefusedError(f"The statement cannot be read: {tree['error_message'].rstrip('!.')}.")
    return tree


def require_allowed(tree: dict[str, Any]) -> None:
    """Raises RefusedError for the first thing in it that may not be asked."""
    for node in nodes(tree):
        require_views(node)
        name = node.get("function_name", "").lower()
        if name in REVEALING_FUNCTIONS:
            raise RefusedError(f"{name}() is of the collector's own and may not be asked.")
        if node.get("type") == "TABLE_FUNCTION":
            require_table_function(node["function"].get("function_name", "").lower())


def require_views(node: dict[str, Any]) -> None:
    """The tables behind the views change with the program; only the views are promised."""
    schema, catalog = node.get("schema_name", ""), node.get("catalog_name", "")
    if schema.lower() not in SCHEMAS:
        raise RefusedError(f"Only the views of schema {SCHEMA} may be asked, not {schema}.")
    if catalog.lower() not in CATALOGS and node.get("type") == "BASE_TABLE":
        raise RefusedError(f"Only the views of schema {SCHEMA} may be asked; there is no database {catalog}.")
    table = node.get("table_name", "").lower() if node.get("type") == "BASE_TABLE" else ""
    if table.startswith(CATALOG_PREFIXES) and table not in CATALOG_TABLES | POSTGRES_TABLES:
        raise RefusedError(f"{table} is of the collector's own and may not be asked.")


def require_table_function(name: str) -> None:
    if name not in TABLE_FUNCTIONS:
        raise RefusedError(
            f"{name}() may not be asked: it reaches beyond the views of schema {SCHEMA},"
            " or hides what it reads."
        )


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object in a JSON tree."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
