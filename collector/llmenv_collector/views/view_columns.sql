CREATE OR REPLACE VIEW v1.view_columns AS
SELECT table_name AS view, column_index::UINTEGER AS position, column_name AS name, data_type AS type,
       CASE WHEN comment LIKE '%[%]' THEN regexp_extract(comment, '\[([^\]]+)\]$', 1)
            WHEN data_type LIKE 'TIMESTAMP%' OR data_type = 'DATE' THEN 'UTC'
            WHEN column_name LIKE '%\_bytes' ESCAPE '\' THEN 'bytes'
            WHEN column_name LIKE '%\_seconds' ESCAPE '\' THEN 'seconds'
            WHEN regexp_matches(comment, '\b[Aa] count\b') THEN 'count' ELSE '' END AS unit,
       rtrim(regexp_replace(comment, '\[[^\]]+\]$', '')) AS meaning
FROM duckdb_columns() WHERE schema_name = 'v1' AND database_name = current_database();

COMMENT ON VIEW v1.view_columns IS 'One row for each column of these views.';
COMMENT ON COLUMN v1.view_columns.view IS 'Key of views.';
COMMENT ON COLUMN v1.view_columns.position IS 'Its place in the view, from 1.';
COMMENT ON COLUMN v1.view_columns.name IS 'Its name.';
COMMENT ON COLUMN v1.view_columns.type IS 'Its type in DuckDB.';
COMMENT ON COLUMN v1.view_columns.unit IS 'Of its values; "unit" where a column of that name says it; empty for what has none.';
COMMENT ON COLUMN v1.view_columns.meaning IS 'What it says.';

-- Example: Everything that is a size in bytes.
-- SELECT view, name, meaning FROM view_columns WHERE unit = 'bytes' ORDER BY view, position
