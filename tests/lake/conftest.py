"""What a test on a lake needs: PostgreSQL, DuckDB's extensions, a folder for Parquet."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

from tests.lake.cluster import Cluster, may_run, programs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llmenv_collector.lake.place import Place

MISSING = next(
    (
        reason
        for is_missing, reason in (
            (programs() is None, "PostgreSQL is not installed (apt-get install postgresql)"),
            (not may_run(), "PostgreSQL refuses to run as root, and there is no user postgres here"),
            (
                importlib.util.find_spec("duckdb_extension_ducklake") is None
                or importlib.util.find_spec("psycopg") is None,
                "the extra [lake] is not installed here: make test-lake has an environment with it",
            ),
        )
        if is_missing
    ),
    "",
)
needs_lake = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if MISSING:
        pytest.skip(MISSING)
    one = Cluster()
    yield one
    one.remove()


@pytest.fixture
def place(cluster: Cluster, tmp_path: Path) -> Place:
    """A lake of its own, not created yet."""
    from llmenv_collector.lake.place import Place

    return Place(catalog=cluster.database(), data=str(tmp_path / "lake"), environment={})
