"""Conditions on machines: whoever reads reports may give one, and learns which machines satisfy it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv.fleet.v1.fleet_service_pb2_grpc import FleetServiceStub
from llmenv.ids import new_id
from llmenv_collector.snapshots.snapshot import NAME
from llmenv_collector.storage.store import Store

from .test_hostile_sql import outcomes

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import RunningCollector

SECRET = "secret"
ANOTHER_TABLE = [
    "1 = CAST((SELECT string_agg(detail, '; ') FROM v1.audit) AS INTEGER)",
    "EXISTS (FROM v1.audit WHERE detail LIKE 's%')",
    "hostname IN (SELECT detail FROM v1.audit)",
    "'x' = ANY (SELECT detail FROM audit)",
    "'x' = ANY (SELECT unnest([detail]) FROM audit)",
    "'x' = ANY (SELECT unnest(['x']) WHERE EXISTS (FROM audit))",
    "'x' = ANY (SELECT unnest(['x']) LIMIT (SELECT count(*) FROM audit))",
    "'x' = ANY (SELECT unnest(['x']) UNION SELECT detail FROM audit)",
    "'x' = ANY (WITH a AS (FROM audit) SELECT unnest(['x']))",
    "'x' = ANY ((SELECT list(detail) FROM v1.audit))",
    "'x' = ANY (ARRAY(SELECT detail FROM v1.audit))",
    "(SELECT detail FROM audit LIMIT 1) = ANY (['x'])",
    "[1] = ANY ([list_transform([1], x -> (SELECT count(*) FROM v1.audit))])",
    "'x' = ANY (query('FROM v1.audit'))",
    "(TABLE v1.audit) IS NOT NULL",
    "len(ARRAY(SELECT detail FROM v1.audit)) > 0",
    "(WITH a AS (FROM v1.audit) SELECT detail FROM a LIMIT 1) = 'x'",
    "(SELECT 1 UNION SELECT 2) = 1",
    "(VALUES (1)) = 1",
    "(SELECT machine.hostname FROM v1.machines AS machine LIMIT 1) = 'x'",
    "CASE WHEN (SELECT count(*) FROM v1.audit) > 0 THEN error('yes') ELSE true END",
    "list_transform([1], x -> (SELECT detail FROM v1.audit)) IS NOT NULL",
    "true IN audit",
    "audit.detail = 'x'",
    "v1.audit.detail = 'x'",
]
OUT_OF_THE_BRACKET = [
    "true) OR (SELECT true",
    "true) OR (true",
    "true) UNION SELECT detail FROM v1.audit WHERE (true",
    "true) UNION ALL BY NAME (SELECT detail AS machine_id FROM v1.audit WHERE true",
    "true) ORDER BY (SELECT detail FROM v1.audit LIMIT 1",
    "true) QUALIFY (row_number() OVER () = 1",
    "true) GROUP BY (machine_id",
    "true) LIMIT (1",
    "true; SELECT detail FROM v1.audit",
    "true; --",
    ";",
    "true); SELECT detail FROM v1.audit; SELECT (true",
    "true) -- no more",
    "true /* on",
    "'open",
    "$$open",
    '"open',
    "FROM v1.audit",
    "SELECT true",
    "true FROM v1.audit",
    "detail FROM v1.audit",
    "true WHERE true",
    "true ORDER BY 1",
    "true LIMIT 1",
    "true UNION SELECT true",
    "true INTERSECT SELECT true",
    "true AS x",
    "x: true",
    "true, true",
    "DISTINCT true",
    "DISTINCT ON (1) true",
    "ALL true",
    "-- nothing",
    " ",
    "$1",
    "chip = ?",
    "chip = $chip",
]
NOT_OF_ONE_ROW = [
    "row_number() OVER () = 1",
    "first_value(hostname) OVER (ORDER BY chip) = hostname",
    "count(*) OVER () > 1",
    "count(*) > 1",
    "string_agg(hostname) = 'x'",
    "unnest(['x']) = 'x'",
    "'x' = ANY (unnest([['x']]))",
    "'x' = ANY ([getenv('HOME')])",
    "'x' = ANY ([first_value(hostname) OVER ()])",
    "generate_subscripts([1], 1) = 1",
    "read_text('/etc/passwd') = 'x'",
    "duckdb_views() IS NOT NULL",
    "query('SELECT 1') = 1",
    "json_serialize_plan('SELECT 1 FROM v1.audit WHERE detail = ''secret one''') IS NOT NULL",
    "pg_get_viewdef(1) = 'x'",
    "pg_catalog.pg_get_viewdef(1) = 'x'",
    "getenv('HOME') = 'x'",
    "current_setting('temp_directory') = 'x'",
    "main.current_setting('temp_directory') = 'x'",
    "getvariable('x') = 'x'",
    "write_log('x') IS NULL",
    "nextval('x') = 1",
    "sleep_ms(1000) IS NULL",
    "COLUMNS(*) = 'x'",
    "* = 'x'",
    "#1 = 'x'",
    "DEFAULT",
    "nothing_like_it(chip)",
]
OF_VALUES = [
    "labels['note']::INTEGER = 1",
    "error(labels['note'])",
    "1 = ANY ([labels['note']::INTEGER])",
    "'x' = ANY ([error(labels['note'])])",
    "error(map_values(labels)::VARCHAR)",
    "labels['note']::TIMESTAMPTZ > now()",
    "strptime(labels['note'], '%Y') > now()",
    "labels['note']::BLOB = from_hex(labels['note'])",
    "json_extract(labels['note'], '$') IS NULL",
    "regexp_matches('x', labels['note'] || '(')",
]
USEFUL = [
    "labels['note'] = 'secret' -- those only",
    "labels['note'] = 'secret' /* ; ) */",
    "labels['note'] LIKE '%ecre%' AND chip IS NULL",
    "labels.note IN ('secret', 'x')",
    "labels['note'] = ANY (['x', 'secret'])",
    "labels['note'] <> ALL (['x', 'y'])",
    "'secret' = ANY (map_values(labels)) AND ('x' = ANY ([]) OR 2 < ANY ([1, 3]))",
    "memory_bytes >= 64 * 2**30 OR true",
    "(gpu_cores > 30) IS NULL",
    "coalesce(os_version, '26.3') >= '26'",
    "coalesce(string_split(os_version, '.')::INTEGER[], [26, 3]) >= [26, 3]",
    "last_seen_at < now() - INTERVAL 7 DAY",
    "extract(year FROM last_seen_at) = 1970 AND NOT coalesce(is_apple_silicon, false)",
    "CASE WHEN chip SIMILAR TO 'Apple M[0-9]+' THEN false ELSE true END",
    "machines.machine_id::VARCHAR BETWEEN '0' AND 'g'",
    "len([name FOR name IN map_keys(labels) IF name ILIKE 'NOTE']) = 1",
    "try_cast(labels['note'] AS INTEGER) IS NULL",
    "if(labels['note'] = 'secret', true, false)",
    "split_part(coalesce(hostname, 'a-b'), '-', 1) COLLATE nocase = 'A'",
    "$$secret$$ = labels['note']",
]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One machine with a label, and rows of the audit: both say SECRET."""
    path = tmp_path_factory.mktemp("snapshot") / NAME
    machine_id = new_id()
    statements = [
        (
            "INSERT INTO store.machine_sighting (machine_id, enrolled_at, last_seen_at, agent_version)"
            f" VALUES ('{machine_id}', '1970-01-02', '1970-01-02', '1')"
        ),
        f"INSERT INTO store.machine_label VALUES ('{machine_id}', 'note', '{SECRET}')",
        (
            "INSERT INTO store.audit BY NAME SELECT number AS audit_no, now() AS happened_at, 'x' AS action,"
            f" '' AS subject, '{SECRET} ' || number AS detail, '' AS actor, '' AS origin, 'done' AS outcome"
            " FROM range(2) AS made(number)"
        ),
    ]
    store = Store(path)
    for statement in statements:
        store.request(lambda connection, sql=statement: connection.execute(sql)).result()
    store.close()
    return path


@pytest.mark.parametrize(
    "conditions",
    [ANOTHER_TABLE, OUT_OF_THE_BRACKET, NOT_OF_ONE_ROW, OF_VALUES],
    ids=["another table", "out of the bracket", "not of one row", "of values"],
)
def test_a_hostile_condition_is_refused_and_tells_nothing(database: Path, conditions: list[str]) -> None:
    """No rows, and one sentence in which no value stands."""
    for condition, end in zip(conditions, outcomes(database, conditions, is_condition=True), strict=True):
        assert end.keys() == {"error"}, (condition, end)
        assert SECRET not in end["error"].replace(condition, ""), condition
        assert "\n" not in end["error"], condition


def test_what_is_wrong_with_its_words_is_said(database: Path) -> None:
    """As of any SQL."""
    ends = outcomes(database, ["chp = 'x'", "chip = 'x' AND", "upper(1, 2) = chip"], is_condition=True)
    sentences = ('Referenced column "chp" not found', "syntax error", "No function matches")
    for sentence, end in zip(sentences, ends, strict=True):
        assert sentence in end["error"]


def test_useful_conditions_are_answered(database: Path) -> None:
    """Each holds for the one machine."""
    for condition, end in zip(USEFUL, outcomes(database, USEFUL, is_condition=True), strict=True):
        assert end == {"rows": 1, "is_truncated": False}, (condition, end)


def test_a_viewer_reads_nothing_else_through_a_report(collector: RunningCollector) -> None:
    """Neither in what a refusal says, nor by whether there is one."""
    metadata = [("authorization", f"Bearer {collector.secret('--role', 'viewer', '--label', SECRET)}")]
    of_audit = "CAST((SELECT string_agg(actor || detail, '; ') FROM v1.audit) AS INTEGER) = 1"
    with collector.people_channel() as channel:
        for condition in (of_audit, "EXISTS (FROM v1.audit)", "true) OR EXISTS (FROM v1.audit WHERE true"):
            request = messages.GetFleetReportRequest(where=condition)
            with pytest.raises(grpc.RpcError) as refused:
                FleetServiceStub(channel).GetFleetReport(request, metadata=metadata, timeout=200)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert refused.value.details().startswith("The condition cannot be used: ")
            assert SECRET not in refused.value.details()
