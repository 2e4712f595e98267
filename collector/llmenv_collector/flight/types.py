"""The types of SQL that the views have, as ODBC and JDBC list them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from llmenv.arrow_flight import flight_sql_pb2 as sql

XDBC_SCHEMA = pa.schema(
    [
        pa.field("type_name", pa.string(), nullable=False),
        pa.field("data_type", pa.int32(), nullable=False),
        pa.field("column_size", pa.int32()),
        pa.field("literal_prefix", pa.string()),
        pa.field("literal_suffix", pa.string()),
        pa.field("create_params", pa.list_(pa.field("item", pa.string(), nullable=False))),
        pa.field("nullable", pa.int32(), nullable=False),
        pa.field("case_sensitive", pa.bool_(), nullable=False),
        pa.field("searchable", pa.int32(), nullable=False),
        pa.field("unsigned_attribute", pa.bool_()),
        pa.field("fixed_prec_scale", pa.bool_(), nullable=False),
        pa.field("auto_increment", pa.bool_()),
        pa.field("local_type_name", pa.string()),
        pa.field("minimum_scale", pa.int32()),
        pa.field("maximum_scale", pa.int32()),
        pa.field("sql_data_type", pa.int32(), nullable=False),
        pa.field("datetime_subcode", pa.int32()),
        pa.field("num_prec_radix", pa.int32()),
        pa.field("interval_precision", pa.int32()),
    ]
)


def described(name: str, code: int, *, size: int | None = None, **more: Any) -> dict[str, Any]:
    quoted = code in {sql.XDBC_VARCHAR, sql.XDBC_DATE, sql.XDBC_TIMESTAMP}
    return {
        "type_name": name,
        "data_type": code,
        "column_size": size,
        "literal_prefix": "'" if quoted else None,
        "literal_suffix": "'" if quoted else None,
        "nullable": sql.NULLABILITY_NULLABLE,
        "case_sensitive": code == sql.XDBC_VARCHAR,
        "searchable": sql.SEARCHABLE_FULL,
        "fixed_prec_scale": False,
        "sql_data_type": code,
        **more,
    }


def whole(name: str, code: int, digits: int) -> dict[str, Any]:
    return described(
        name, code, size=digits, unsigned_attribute=False, auto_increment=False, num_prec_radix=10
    )


TYPES = sorted(
    [
        whole("TINYINT", sql.XDBC_TINYINT, 3),
        whole("SMALLINT", sql.XDBC_SMALLINT, 5),
        whole("INTEGER", sql.XDBC_INTEGER, 10),
        whole("BIGINT", sql.XDBC_BIGINT, 19),
        described("BOOLEAN", sql.XDBC_BIT, size=1),
        described("DOUBLE", sql.XDBC_DOUBLE, size=53, unsigned_attribute=False, num_prec_radix=2),
        described("VARCHAR", sql.XDBC_VARCHAR),
        described("BLOB", sql.XDBC_VARBINARY),
        described("DATE", sql.XDBC_DATE, size=10),
        described("TIMESTAMP WITH TIME ZONE", sql.XDBC_TIMESTAMP, size=32),
    ],
    key=lambda one: (one["data_type"], one["type_name"]),
)
