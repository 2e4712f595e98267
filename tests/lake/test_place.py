"""How a collector reaches the catalog: with any name and value, and not for ever where nobody answers."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from llmenv_collector.errors import StoreError

from tests.lake.conftest import needs_lake

if TYPE_CHECKING:
    from llmenv_collector.lake.place import Place

    from tests.lake.cluster import Cluster

pytestmark = needs_lake
NAME = "it's a \\ lake"


def asked(place: Place, query: str) -> list[str]:
    """What PostgreSQL says on both kinds of connections, DuckDB's first."""
    from llmenv_collector.lake.connection import attached
    from llmenv_collector.lake.fence import connected

    with attached(place) as duck:
        ((one,),) = duck.execute(
            "SELECT * FROM postgres_query('__ducklake_metadata_lake', ?)", [query]
        ).fetchall()
    with closing(connected(place)) as own:
        ((other,),) = own.execute(query).fetchall()  # type: ignore[call-overload]  # any text
    return [one, other]


def test_quotes_and_backslashes_reach_postgres(place: Place, cluster: Cluster) -> None:
    """In the name of the database, which is a secret's, and in a value that no secret has a word for."""
    from psycopg.conninfo import make_conninfo

    quoted = NAME.replace("'", "''")
    cluster.sql(f'CREATE DATABASE "{NAME}"', database="postgres")
    catalog = make_conninfo(**{**place.parameters(), "dbname": NAME, "application_name": NAME})
    named = replace(place, catalog=catalog)
    assert asked(named, f"SELECT (current_database() = '{quoted}')::text") == ["true", "true"]
    assert asked(named, "SELECT current_setting('application_name')") == [NAME, NAME]


def test_options_of_a_person_stay(place: Place) -> None:
    told = replace(place, catalog=f"{place.catalog} options='-c work_mem=5MB' keepalives_idle=7")
    assert asked(told, "SELECT current_setting('work_mem')") == ["5MB", "5MB"]
    assert told.kept_alive()["keepalives_idle"] == "7"
    assert asked(told, "SELECT current_setting('application_name')") == ["llmenv-collector"] * 2


@pytest.mark.parametrize("name", ["keepalives_idle", "keepalives_count", "tcp_user_timeout"])
def test_both_kinds_of_connections_notice_that_nobody_is_there(place: Place, name: str) -> None:
    """By TCP, at this end; and at PostgreSQL's, which holds locks for a collector."""
    alive = place.kept_alive()
    assert int(alive[name]) > 0
    assert f"{name}='{alive[name]}'" in place.attachment("lake").replace("''", "'")
    assert "-c tcp_user_timeout=25000" in alive["options"]


def test_what_cannot_be_opened_is_one_sentence(place: Place) -> None:
    """Without the connection string, which DuckDB quotes whole."""
    from llmenv_collector.lake.connection import attached

    nobody = replace(place, catalog="host=127.0.0.1 port=1 dbname=llmenv")
    with pytest.raises(
        StoreError, match=r"cannot be opened: its catalog did not answer: .*refused"
    ) as refused:
        attached(nobody)
    assert "keepalives" not in str(refused.value)
    with pytest.raises(StoreError, match="there is none in this catalog yet"):
        attached(place, options=", READ_ONLY")
