"""What drivers and BI tools ask of a database first: its catalogs, tables, types and abilities."""

from __future__ import annotations

import importlib.metadata
import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from llmenv.arrow_flight import flight_sql_pb2 as sql

from llmenv_collector.flight.types import TYPES, XDBC_SCHEMA
from llmenv_collector.sql.arrow_frames import plain_schema
from llmenv_collector.sql.statement_rules import CATALOG, SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping

    import duckdb

VIEW = "VIEW"
COLUMNS = "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE schema_name = 'v1'"
REMARKS = "ARROW:FLIGHT:SQL:REMARKS"


def required(name: str, kind: Any) -> Any:
    return pa.field(name, kind, nullable=False)


CATALOGS = pa.schema([required("catalog_name", pa.string())])
SCHEMAS = pa.schema([pa.field("catalog_name", pa.string()), required("db_schema_name", pa.string())])
TABLES = pa.schema(
    [
        pa.field("catalog_name", pa.string()),
        pa.field("db_schema_name", pa.string()),
        required("table_name", pa.string()),
        required("table_type", pa.string()),
    ]
)
TABLES_WITH_SCHEMA = TABLES.append(required("table_schema", pa.binary()))
TABLE_TYPES = pa.schema([required("table_type", pa.string())])
PRIMARY_KEYS = pa.schema(
    [
        pa.field("catalog_name", pa.string()),
        pa.field("db_schema_name", pa.string()),
        required("table_name", pa.string()),
        required("column_name", pa.string()),
        pa.field("key_name", pa.string()),
        required("key_sequence", pa.int32()),
    ]
)
FOREIGN_KEYS = pa.schema(
    [
        *(
            pa.field(f"{side}_{part}_name", pa.string(), nullable=part in {"catalog", "db_schema"})
            for side in ("pk", "fk")
            for part in ("catalog", "db_schema", "table", "column")
        ),
        required("key_sequence", pa.int32()),
        pa.field("fk_key_name", pa.string()),
        pa.field("pk_key_name", pa.string()),
        required("update_rule", pa.uint8()),
        required("delete_rule", pa.uint8()),
    ]
)
SQL_INFO_VALUE = pa.dense_union(
    [
        pa.field("string_value", pa.string()),
        pa.field("bool_value", pa.bool_()),
        pa.field("bigint_value", pa.int64()),
        pa.field("int32_bitmask", pa.int32()),
        pa.field("string_list", pa.list_(pa.field("string_data", pa.string()))),
        pa.field(
            "int32_to_int32_list_map",
            pa.map_(pa.int32(), pa.list_(pa.field("$data$", pa.int32()))),
        ),
    ]
)
SQL_INFO = pa.schema([required("info_name", pa.uint32()), pa.field("value", SQL_INFO_VALUE)])
SCHEMA_OF = {
    sql.CommandGetCatalogs: CATALOGS,
    sql.CommandGetDbSchemas: SCHEMAS,
    sql.CommandGetTableTypes: TABLE_TYPES,
    sql.CommandGetPrimaryKeys: PRIMARY_KEYS,
    sql.CommandGetExportedKeys: FOREIGN_KEYS,
    sql.CommandGetImportedKeys: FOREIGN_KEYS,
    sql.CommandGetCrossReference: FOREIGN_KEYS,
    sql.CommandGetSqlInfo: SQL_INFO,
    sql.CommandGetXdbcTypeInfo: XDBC_SCHEMA,
}


def schema_of(command: Any) -> Any:
    """Of the answer to a command; None for one that this module does not answer."""
    if isinstance(command, sql.CommandGetTables):
        return TABLES_WITH_SCHEMA if command.include_schema else TABLES
    return SCHEMA_OF.get(type(command))


def read_views(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Arrow's schema of each view, with its comments, by name."""
    comments: dict[str, dict[str, str]] = {}
    for view, column, comment in connection.execute(COLUMNS).fetchall():
        comments.setdefault(view, {})[column] = comment or ""
    return {view: with_remarks(connection, view, comments[view]) for view in sorted(comments)}


def with_remarks(connection: duckdb.DuckDBPyConnection, view: str, comments: Mapping[str, str]) -> Any:
    empty = connection.sql(f'SELECT * FROM v1."{view}" LIMIT 0')  # noqa: S608 (a name of ours)
    with empty.to_arrow_reader() as reader:
        schema = plain_schema(reader.schema)
    return pa.schema([field.with_metadata({REMARKS: comments.get(field.name, "")}) for field in schema])


def answer(command: Any, views: Mapping[str, Any], *, statement_seconds: int) -> Any:
    """The table for a command."""
    schema = schema_of(command)
    if isinstance(command, sql.CommandGetSqlInfo):
        return sql_info(list(command.info), statement_seconds=statement_seconds)
    return pa.Table.from_pylist(rows(command, views), schema=schema)


def rows(command: Any, views: Mapping[str, Any]) -> list[dict[str, Any]]:
    match command:
        case sql.CommandGetCatalogs():
            return [{"catalog_name": CATALOG}]
        case sql.CommandGetTableTypes():
            return [{"table_type": VIEW}]
        case sql.CommandGetXdbcTypeInfo():
            return [
                one
                for one in TYPES
                if not command.HasField("data_type") or one["data_type"] == command.data_type
            ]
        case sql.CommandGetDbSchemas():
            return [{"catalog_name": CATALOG, "db_schema_name": SCHEMA}] if is_ours(command) else []
        case sql.CommandGetTables():
            return tables(command, views) if is_ours(command) else []
    return []  # views have no keys


def tables(command: sql.CommandGetTables, views: Mapping[str, Any]) -> list[dict[str, Any]]:
    if command.table_types and VIEW not in command.table_types:
        return []
    pattern = command.table_name_filter_pattern if command.HasField("table_name_filter_pattern") else "%"
    place = {"catalog_name": CATALOG, "db_schema_name": SCHEMA, "table_type": VIEW}
    return [
        {**place, "table_name": name, "table_schema": schema.serialize().to_pybytes()}
        for name, schema in views.items()
        if is_like(name, pattern)
    ]


def is_ours(command: sql.CommandGetTables | sql.CommandGetDbSchemas) -> bool:
    """Whether a command's catalog and pattern of schemas mean the one that there is."""
    if command.HasField("catalog") and command.catalog not in {"", CATALOG}:
        return False
    pattern = command.db_schema_filter_pattern
    return not command.HasField("db_schema_filter_pattern") or is_like(SCHEMA, pattern)


def is_like(name: str, pattern: str) -> bool:
    """As SQL's LIKE: % for any text, _ for one letter."""
    regular = "".join({"%": ".*", "_": "."}.get(letter, re.escape(letter)) for letter in pattern)
    return re.fullmatch(regular, name, re.DOTALL) is not None


def sql_info(wanted: list[int], *, statement_seconds: int) -> Any:
    """All of it, or what was asked for and is known."""
    known = abilities(statement_seconds)
    kept = {code: value for code, value in sorted(known.items()) if not wanted or code in wanted}
    codes = pa.array(list(kept), pa.uint32())
    return pa.Table.from_arrays([codes, union_of(list(kept.values()))], schema=SQL_INFO)


def abilities(statement_seconds: int) -> dict[int, Any]:
    """By code; the type of a value in Python decides its type in the union."""
    return {
        sql.FLIGHT_SQL_SERVER_NAME: "llmenv-collector",
        sql.FLIGHT_SQL_SERVER_VERSION: importlib.metadata.version("llmenv"),
        sql.FLIGHT_SQL_SERVER_ARROW_VERSION: pa.__version__,
        sql.FLIGHT_SQL_SERVER_READ_ONLY: True,
        sql.FLIGHT_SQL_SERVER_SQL: True,
        sql.FLIGHT_SQL_SERVER_SUBSTRAIT: False,
        sql.FLIGHT_SQL_SERVER_TRANSACTION: Bits(sql.SQL_SUPPORTED_TRANSACTION_NONE),
        sql.FLIGHT_SQL_SERVER_CANCEL: True,
        sql.FLIGHT_SQL_SERVER_BULK_INGESTION: False,
        sql.FLIGHT_SQL_SERVER_STATEMENT_TIMEOUT: Bits(min(statement_seconds * 1_000, 2**31 - 1)),
        sql.SQL_DDL_CATALOG: False,
        sql.SQL_DDL_SCHEMA: False,
        sql.SQL_DDL_TABLE: False,
        sql.SQL_IDENTIFIER_CASE: Bits(sql.SQL_CASE_SENSITIVITY_CASE_INSENSITIVE),
        sql.SQL_IDENTIFIER_QUOTE_CHAR: '"',
        sql.SQL_QUOTED_IDENTIFIER_CASE: Bits(sql.SQL_CASE_SENSITIVITY_CASE_INSENSITIVE),
        sql.SQL_ALL_TABLES_ARE_SELECTABLE: True,
        sql.SQL_NULL_ORDERING: Bits(sql.SQL_NULLS_SORTED_AT_END),
        sql.SQL_SEARCH_STRING_ESCAPE: "\\",
        sql.SQL_SUPPORTS_COLUMN_ALIASING: True,
        sql.SQL_SUPPORTS_EXPRESSIONS_IN_ORDER_BY: True,
        sql.SQL_CORRELATED_SUBQUERIES_SUPPORTED: True,
        sql.SQL_SCHEMA_TERM: "schema",
        sql.SQL_CATALOG_TERM: "database",
        sql.SQL_CATALOG_AT_START: True,
    }


class Bits(int):
    """A number that Flight SQL calls a bit mask."""


def union_of(values: list[Any]) -> Any:
    kinds = {str: 0, bool: 1, int: 2, Bits: 3}
    codes = [kinds[type(value)] for value in values]
    children, offsets = [], []
    for kind, field in enumerate(SQL_INFO_VALUE):
        members = [value for value, code in zip(values, codes, strict=True) if code == kind]
        children.append(pa.array(members, field.type))
    counts = [0] * len(children)
    for code in codes:
        offsets.append(counts[code])
        counts[code] += 1
    names = [field.name for field in SQL_INFO_VALUE]
    return pa.UnionArray.from_dense(
        pa.array(codes, pa.int8()), pa.array(offsets, pa.int32()), children, names
    )
