"""Statements that must not get what they ask for, by kind; each has its own line, the longest are computed.

A new way around the limits becomes a line here.
"""

from __future__ import annotations

FILE = """
SELECT * FROM read_text('/etc/passwd')
SELECT * FROM read_blob('/etc/shadow')
SELECT * FROM read_csv('/proc/self/environ')
SELECT * FROM read_csv_auto('/etc/hosts')
SELECT * FROM read_json('/etc/hostname')
SELECT * FROM read_json_auto('/etc/hostname')
SELECT * FROM read_json_objects('/etc/hostname')
SELECT * FROM read_ndjson('/etc/hostname')
SELECT * FROM read_ndjson_objects('/etc/hostname')
SELECT * FROM read_parquet('/tmp/*.parquet')
SELECT * FROM parquet_scan('/tmp/x.parquet')
SELECT * FROM parquet_metadata('/tmp/x.parquet')
SELECT * FROM parquet_schema('/tmp/x.parquet')
SELECT * FROM parquet_kv_metadata('/tmp/x.parquet')
SELECT * FROM parquet_file_metadata('/tmp/x.parquet')
SELECT * FROM parquet_bloom_probe('/tmp/x.parquet', 'a', 1)
SELECT * FROM read_duckdb('/tmp/other.duckdb')
SELECT * FROM sniff_csv('/etc/passwd')
SELECT * FROM glob('/*')
SELECT * FROM glob('../*')
SELECT * FROM '/etc/passwd'
SELECT * FROM '/etc/passwd.csv'
SELECT * FROM 'identity.sqlite'
SELECT * FROM "../ca.key"
FROM '/proc/self/maps'
SELECT (SELECT content FROM read_text('/etc/passwd'))
WITH x AS (SELECT * FROM read_text('/etc/passwd')) SELECT * FROM x
SELECT * FROM range(1) JOIN read_text('/etc/passwd') ON true
SELECT * FROM range(1), LATERAL (SELECT * FROM read_text('/etc/passwd'))
SELECT * FROM READ_TEXT('/etc/passwd')
SELECT * FROM "read_text"('/etc/passwd')
SELECT * FROM main.read_text('/etc/passwd')
SELECT * FROM system.main.read_text('/etc/passwd')
SELECT 1 WHERE EXISTS (FROM read_text('/etc/passwd'))
SELECT 1 UNION ALL SELECT size FROM read_text('/etc/passwd')
SELECT * FROM runs WHERE hostname IN (SELECT content FROM read_text('/etc/passwd'))
PIVOT (SELECT * FROM read_text('/etc/passwd')) ON filename IN ('x')
DESCRIBE SELECT * FROM read_text('/etc/passwd')
SUMMARIZE SELECT * FROM read_text('/etc/passwd')
SELECT getenv('HOME')
"""

NETWORK = """
SELECT * FROM 'http://127.0.0.1:1/x.csv'
SELECT * FROM 'https://127.0.0.1:1/x.parquet'
SELECT * FROM read_csv('http://127.0.0.1:1/x.csv')
SELECT * FROM read_parquet('s3://bucket/x.parquet')
SELECT * FROM read_text('hf://datasets/x/y')
SELECT * FROM read_parquet('gcs://bucket/x.parquet')
SELECT * FROM read_text('az://container/x')
SELECT * FROM postgres_scan('host=127.0.0.1', 'public', 't')
SELECT * FROM mysql_query('db', 'SELECT 1')
SELECT * FROM sqlite_scan('/tmp/x.db', 't')
SELECT * FROM iceberg_scan('s3://bucket/x')
SELECT * FROM delta_scan('s3://bucket/x')
ATTACH 'postgres:host=127.0.0.1' AS p (TYPE postgres)
ATTACH 'http://127.0.0.1:1/x.duckdb' AS remote
CREATE SECRET s (TYPE s3, KEY_ID 'x', SECRET 'y')
"""

EXTENSION = """
INSTALL httpfs
FORCE INSTALL httpfs
INSTALL httpfs FROM 'http://127.0.0.1:1'
INSTALL '/tmp/x.duckdb_extension'
LOAD httpfs
LOAD '/tmp/x.duckdb_extension'
UPDATE EXTENSIONS
SELECT * FROM duckdb_extensions()
SELECT * FROM duckdb_extension_repositories()
SELECT st_point(1, 2)
SELECT * FROM arrow_scan(1, 2, 3)
SELECT * FROM arrow_scan_dumb(1, 2, 3)
SELECT * FROM pandas_scan(1)
SELECT * FROM python_arrow_scan(1, 2, 3)
SELECT * FROM python_map_function(1)
SELECT * FROM seq_scan('runs')
"""

SETTINGS = """
SET memory_limit = '1TB'
SET GLOBAL memory_limit = '1TB'
SET threads = 64
SET enable_external_access = true
SET lock_configuration = false
SET autoload_known_extensions = true
SET temp_directory = '/tmp'
SET max_expression_depth = 1000000
SET schema = 'store'
SET search_path = 'store'
SET VARIABLE x = 1
RESET memory_limit
RESET ALL
PRAGMA enable_profiling
PRAGMA enable_logging
CALL enable_logging('QueryLog')
SELECT * FROM enable_logging('QueryLog')
CALL enable_logging(storage := 'file', storage_path := '/tmp/logs')
SELECT * FROM enable_profiling()
SELECT write_log('x')
PRAGMA memory_limit = '1TB'
PRAGMA disable_checkpoint_on_shutdown
USE store
USE memory
CALL checkpoint()
SELECT * FROM force_checkpoint()
"""

WRITES = """
INSERT INTO store.record SELECT * FROM store.record
WITH x AS (INSERT INTO store.tombstone DEFAULT VALUES RETURNING *) SELECT * FROM x
WITH x AS (DELETE FROM store.record RETURNING *) SELECT * FROM x
WITH x AS (UPDATE store.machine SET hostname = 'x' RETURNING *) SELECT count(*) FROM x
SELECT * FROM (INSERT INTO store.tombstone DEFAULT VALUES RETURNING *)
UPDATE store.machine SET hostname = 'x'
DELETE FROM store.record
TRUNCATE store.record
MERGE INTO store.machine USING store.machine AS m ON true WHEN MATCHED THEN DELETE
DROP VIEW v1.runs
DROP SCHEMA store CASCADE
DROP TABLE IF EXISTS store.record
CREATE TABLE t AS SELECT 1
CREATE TEMP TABLE t AS SELECT 1
CREATE VIEW v AS SELECT 1
CREATE OR REPLACE VIEW v1.runs AS SELECT 1
CREATE MACRO m(a) AS a + 1
CREATE SCHEMA s
CREATE SEQUENCE s
CREATE TYPE t AS ENUM ('a')
CREATE INDEX i ON store.record (sequence)
ALTER TABLE store.record ADD COLUMN x INTEGER
ALTER VIEW v1.runs RENAME TO other
COMMENT ON VIEW v1.runs IS 'mine'
COPY (SELECT 1) TO '/tmp/llmenv-stolen.csv'
COPY runs TO '/tmp/llmenv-stolen.parquet'
COPY store.record FROM '/tmp/x.csv'
COPY FROM DATABASE llmenv TO other
EXPORT DATABASE '/tmp/llmenv-stolen'
IMPORT DATABASE '/tmp/llmenv-stolen'
ATTACH '/tmp/llmenv-other.db'
ATTACH ':memory:' AS m
DETACH llmenv
CHECKPOINT
VACUUM
ANALYZE
BEGIN
COMMIT
ROLLBACK
PREPARE p AS SELECT 1
EXECUTE p
DEALLOCATE p
EXPLAIN ANALYZE SELECT 1
SELECT nextval('s')
SELECT 1; SELECT 2
SELECT 1; DROP VIEW v1.runs
SELECT 1 /* ; */; INSERT INTO store.tombstone DEFAULT VALUES
PIVOT runs ON suite
"""

LEAK = """
SELECT * FROM store.result
SELECT * FROM "store"."result" AS r
SELECT * FROM "STORE"."RESULT"
SELECT * FROM llmenv.store.result
SELECT 1 WHERE EXISTS (SELECT * FROM store.machine)
WITH v1 AS (SELECT * FROM store.machine) SELECT * FROM v1
FROM (DESCRIBE store.result)
FROM (SUMMARIZE store.result)
TABLE store.result
SELECT (SELECT max(sequence) FROM store.record)
SELECT * FROM other.v1.runs
SELECT * FROM query('FROM store.result')
SELECT * FROM query_table('store.result')
SELECT * FROM query_table(['runs', 'store.result'])
FROM json_execute_serialized_sql(json_serialize_sql('FROM store.result'))
PRAGMA json_execute_serialized_sql('{}')
SELECT * FROM duckdb_databases()
SELECT * FROM duckdb_databases
SELECT path FROM main.duckdb_databases
SELECT path FROM system.main.duckdb_databases
SELECT * FROM pragma_database_list
PRAGMA database_list
SELECT * FROM pragma_database_list()
SELECT * FROM duckdb_settings()
SELECT * FROM duckdb_settings
SELECT current_setting('temp_directory')
SELECT current_setting('extension_directory')
SELECT current_setting('home_directory')
SELECT getvariable('x')
SELECT * FROM duckdb_secrets()
SELECT * FROM which_secret('s3://x', 's3')
SELECT * FROM duckdb_temporary_files()
SELECT * FROM duckdb_logs()
SELECT * FROM duckdb_logs
SELECT * FROM duckdb_log_contexts()
SELECT * FROM duckdb_memory()
SELECT * FROM duckdb_prepared_statements()
SELECT * FROM duckdb_external_file_cache()
SELECT * FROM pragma_storage_info('store.result')
SELECT * FROM pragma_database_size()
SELECT * FROM pragma_metadata_info()
SELECT * FROM pragma_user_agent()
SELECT * FROM duckdb_table_sample('store.result')
SELECT * FROM histogram_values(store.record, kind)
SELECT * FROM histogram_values('store.record', kind)
SELECT * FROM main.histogram(store.record, kind)
SELECT * FROM histogram_values('duckdb_databases', path)
SELECT * FROM histogram(duckdb_settings, value)
SELECT (SELECT max(bin) FROM histogram_values(duckdb_databases, path))
SELECT * FROM summary((FROM duckdb_tables))
SELECT * FROM pragma_table_info('store.record')
SELECT * FROM pg_settings
SELECT json_serialize_plan('SELECT key FROM store.machine_label WHERE key > ''m''', optimize := true)
SELECT setting FROM pg_catalog.pg_settings
SELECT setting FROM "PG_CATALOG"."PG_SETTINGS"
SELECT * FROM pg_prepared_statements
SELECT * FROM sqlite_master
SELECT * FROM connection
SELECT * FROM request
SELECT nonsense FROM runs
SELECT * FROM duckdb_columns() AS c, duckdb_databases() AS d
"""

BROKEN = """
SELECT (
SELECT 'a
SELECT "a
SELECT $$a
SELECT $1 + $2
SELECT ?
SELECT * FROM
;
;;;
--
/* never ended
\\copy runs to '/tmp/x'
.open /tmp/x
EXEC xp_cmdshell 'id'
SELECT error('raised')
SELECT 1 / 'a'
SELECT CAST('a' AS INTEGER)
SELECT '\\ud83d'::INTEGER
SELECT U&'\\d83d'
SELECT chr(-1)
SELECT chr(1114112)
"""

MEMORY = """
SELECT range(1000000000)
SELECT list(a.range || b.range) FROM range(100000) a, range(100000) b
SELECT repeat('x', 900000000) || repeat('y', 900000000)
SELECT * FROM range(30000000) a ORDER BY hash(range)
SELECT count(DISTINCT hash(range)) FROM range(100000000)
SELECT string_agg(repeat('x', 10000)) FROM range(100000)
"""

TIME = """
WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT 1 FROM r) SELECT count(*) FROM r
SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE (a.range ^ b.range) % 7 = sin(a.range)
SELECT sum(sin(a.range + b.range)) FROM range(1000000) a, range(1000000) b
SELECT count(*) FROM range(100000000) WHERE regexp_matches(repeat('a', 5000) || range, '(a|aa)+$')
"""

DEEP = [
    "SELECT " + "(" * 20_000 + "1" + ")" * 20_000,
    "SELECT " + "-" * 3 + "+" * 20_000 + "1x",
    "SELECT " + "+".join(["1"] * 20_000),
    "SELECT " + "NOT " * 20_000 + "true",
    "SELECT " + "[" * 5_000 + "1" + "]" * 5_000,
    "SELECT " + "abs(" * 5_000 + "1" + ")" * 5_000,
    "SELECT * FROM " + "(SELECT * FROM " * 5_000 + "range(1)" + ")" * 5_000,
    "SELECT " + "CASE WHEN true THEN " * 5_000 + "1" + " END" * 5_000,
    "SELECT 1" + " UNION ALL SELECT 1" * 20_000 + " UNION",
    "WITH "
    + ", ".join(f"c{n} AS (SELECT * FROM c{n - 1})" for n in range(1, 2_000))
    + " SELECT * FROM c1999",
    "SELECT '" + "[" * 200_000 + "'::JSON->'$." + "a." * 10_000 + "b'",
    "SELECT CAST(1 AS " + "STRUCT(a " * 3_000 + "INTEGER" + ")" * 3_000 + ")",
]

LONG = [
    "SELECT '" + "x" * (1 << 20) + "'",
    "SELECT " + "x" * 900_000,
    'SELECT "' + "x" * 900_000 + '"',
    "SELECT * FROM " + "v" * 900_000,
    "SELECT " + ", ".join(f"no{number}" for number in range(50_000)),
    "SELECT 1 AS " + "é" * 600_000,
    "SELECT repeat('x', 4000000)",
    "SELECT repeat('x', 5000000000)",
]


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


# What a statement of each kind ends with: an error, or the end of its process by a limit.
REFUSED: dict[str, list[str]] = {
    "file": lines(FILE),
    "network": lines(NETWORK),
    "extension": lines(EXTENSION),
    "settings": lines(SETTINGS),
    "writes": lines(WRITES),
    "leak": lines(LEAK),
    "broken": lines(BROKEN),
    "deep": DEEP,
    "long": LONG,
}
ENDED: dict[str, list[str]] = {"memory": lines(MEMORY), "time": lines(TIME)}
