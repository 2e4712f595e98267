"""Where a lake is: its catalog in PostgreSQL, its files in a folder or in a bucket, and who may use them.

The catalog's password and the bucket's key are given to DuckDB as secrets, so that no message names them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from llmenv_collector.errors import UsageError
from llmenv_collector.lake import extensions
from llmenv_collector.lake.extensions import escaped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import duckdb

    from llmenv_collector.settings import Settings

LAKE = "lake"
"""The name under which it is attached."""
AWS_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
)
BUCKET = "s3://"
DEFAULT_REGION = "us-east-1"
ALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "user_timeout": 25_000}
"""Of TCP, at both ends of a connection: whoever is silent is given up after 25 s, and not after two hours."""
CONNECT_SECONDS = 5


@dataclass(frozen=True)
class Place:
    catalog: str = field(repr=False)
    """A connection string of libpq, which may hold a password."""
    data: str
    """An absolute folder, or s3://bucket/prefix."""
    environment: Mapping[str, str] = field(repr=False)
    """With the AWS_* variables of a bucket."""

    @classmethod
    def of(cls, settings: Settings, environment: Mapping[str, str] = os.environ) -> Place:
        """Raises UsageError for what is not set, and for what cannot be."""
        if not settings.lake_catalog:
            raise UsageError(
                "The store ducklake needs its catalog: set LLMENV_LAKE_CATALOG, or lake_catalog in"
                " collector.toml, to a database of PostgreSQL, such as postgresql://llmenv@db.lab/llmenv."
            )
        if not settings.lake_data:
            raise UsageError(
                "The store ducklake needs a place for its files: give --lake-data, or lake_data in"
                " collector.toml, a folder or s3://bucket/prefix that all collectors reach."
            )
        if not settings.lake_data.startswith(BUCKET) and not Path(settings.lake_data).is_absolute():
            raise UsageError(
                f"lake_data must be an absolute folder or s3://bucket/prefix, not {settings.lake_data!r}."
            )
        place = cls(settings.lake_catalog, settings.lake_data.rstrip("/"), environment)
        place.parameters()
        return place

    @property
    def folder(self) -> Path | None:
        """None where it is a bucket."""
        return None if self.data.startswith(BUCKET) else Path(self.data)

    def shown(self, commit: int) -> dict[str, Any]:
        """For another process, which gets it by a pipe: secrets are in it."""
        told = {name: self.environment[name] for name in AWS_VARIABLES if name in self.environment}
        return {"catalog": self.catalog, "data": self.data, "environment": told, "commit": commit}

    @classmethod
    def from_shown(cls, shown: Mapping[str, Any]) -> Place:
        return cls(shown["catalog"], shown["data"], shown["environment"])

    def show(self, connection: duckdb.DuckDBPyConnection, *, commit: int) -> None:
        """The lake as of a commit, read-only, under its name; no folder but its own may be opened then."""
        extensions.load(connection)
        for statement in self.secrets():
            connection.execute(statement)
        connection.execute(self.attachment(LAKE, options=f", READ_ONLY, SNAPSHOT_VERSION {commit}"))
        connection.execute(f"SET allowed_directories = ['{escaped(self.data)}/']")

    def parameters(self) -> dict[str, str]:
        """Of the connection string, by libpq's names.  Raises UsageError where it is none."""
        from psycopg import ProgrammingError
        from psycopg.conninfo import conninfo_to_dict

        try:
            found = conninfo_to_dict(self.catalog)
        except ProgrammingError:
            # Not its cause, which quotes the string.
            raise UsageError(
                "lake_catalog is no connection string, such as postgresql://llmenv@db.lab/llmenv."
            ) from None
        if "sslpassword" in found:
            # DuckDB quotes it when it cannot connect.
            raise UsageError("lake_catalog has an sslpassword: use a key without one, or a passfile.")
        return {name: str(value) for name, value in found.items() if value is not None}

    def kept_alive(self) -> dict[str, str]:
        """The same with our name and what notices that the other end is gone, unless the string says it."""
        told = self.parameters()
        here = {
            name if name.startswith("keep") else f"tcp_{name}": str(value) for name, value in ALIVE.items()
        }
        there = " ".join(f"-c tcp_{name}={value}" for name, value in ALIVE.items())
        options = f"{there} {told.get('options', '')}".rstrip()
        ours = {"application_name": "llmenv-collector", "connect_timeout": str(CONNECT_SECONDS), **here}
        return {**ours, **told, "options": options}

    def secrets(self) -> Iterator[str]:
        """Statements that let DuckDB in."""
        yield f"CREATE OR REPLACE SECRET lake_catalog ({', '.join(self._of_catalog())})"
        if self.folder is None:
            yield self.secret_of_bucket()

    def secret_of_bucket(self, *, endpoint: str = "") -> str:
        """The statement; with another `endpoint` than the bucket's own where one is given."""
        return f"CREATE OR REPLACE SECRET lake_data ({', '.join(self._of_bucket(endpoint))})"

    def attachment(self, name: str, *, options: str = "", data: str = "") -> str:
        """The statement that attaches it under a name.

        Small changes are not inlined: a text with a NUL byte, which any machine may send, would be
        refused by PostgreSQL together with the whole group.
        """
        if data:
            options += ", OVERRIDE_DATA_PATH true"
        return (
            f"ATTACH 'ducklake:postgres:{escaped(self._beside_the_secret())}' AS {name}"
            f" (DATA_PATH '{escaped(data or self.data)}/', META_SECRET 'lake_catalog',"
            f" DATA_INLINING_ROW_LIMIT 0{options})"
        )

    def _of_catalog(self) -> Iterator[str]:
        known = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD", "dbname": "DATABASE"}
        yield "TYPE postgres"
        parameters = self.parameters()
        for name, word in known.items():
            if name in parameters:
                yield f"{word} '{escaped(parameters[name])}'"

    def _beside_the_secret(self) -> str:
        """What a secret has no word for, such as sslmode."""
        held = {"host", "port", "user", "password", "dbname"}
        return " ".join(
            f"{name}='{quoted(value)}'" for name, value in self.kept_alive().items() if name not in held
        )

    def _of_bucket(self, endpoint: str) -> Iterator[str]:
        told = self.environment
        yield "TYPE s3"
        yield f"SCOPE '{escaped(self.data)}'"
        for variable, word in (
            ("AWS_ACCESS_KEY_ID", "KEY_ID"),
            ("AWS_SECRET_ACCESS_KEY", "SECRET"),
            ("AWS_SESSION_TOKEN", "SESSION_TOKEN"),
        ):
            if told.get(variable):
                yield f"{word} '{escaped(told[variable])}'"
        region = told.get("AWS_REGION") or told.get("AWS_DEFAULT_REGION") or DEFAULT_REGION
        yield f"REGION '{escaped(region)}'"
        if endpoint := endpoint or told.get("AWS_ENDPOINT_URL_S3") or told.get("AWS_ENDPOINT_URL", ""):
            parts = urlsplit(endpoint)
            yield f"ENDPOINT '{escaped(parts.netloc)}'"
            yield f"USE_SSL {str(parts.scheme == 'https').lower()}"
            yield "URL_STYLE 'path'"


def quoted(value: str) -> str:
    """Between single quotes of a connection string."""
    return value.replace("\\", "\\\\").replace("'", "\\'")
