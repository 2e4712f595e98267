"""DuckDB's extensions for the lake, from wheels of their own: nothing is fetched when a collector starts."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING

import duckdb

from llmenv_collector.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("ducklake", "postgres_scanner", "httpfs")
REMEDY = "install them with `pip install 'llmenv[collector,lake]'`"


def load(connection: duckdb.DuckDBPyConnection) -> None:
    """Raises UsageError where a wheel is missing, or made for another DuckDB."""
    for name in NAMES:
        try:
            connection.execute(f"LOAD '{escaped(str(file_of(name)))}'")
        except duckdb.Error as error:
            raise UsageError(
                f"DuckDB {duckdb.__version__} cannot load its extension {name}: {REMEDY}."
            ) from error


def file_of(name: str) -> Path:
    distribution = f"duckdb-extension-{name.replace('_', '-')}"
    try:
        found = importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError as error:
        raise UsageError(f"The store ducklake needs packages that are not installed: {REMEDY}.") from error
    files = (file for file in found.files or () if file.name == f"{name}.duckdb_extension")
    for file in files:
        return found.locate_file(file)  # type: ignore[return-value]  # a path, says its documentation
    raise UsageError(f"The package {distribution} holds no extension: {REMEDY}.")


def escaped(text: str) -> str:
    """Between single quotes of SQL."""
    return text.replace("'", "''")
