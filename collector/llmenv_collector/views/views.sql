CREATE OR REPLACE VIEW v1.views AS
SELECT view_name AS name, split_part(comment, chr(10), 1) AS meaning,
       nullif(regexp_extract(comment, '\nTime: ([a-z_.]+)', 1), '') AS time_column,
       regexp_extract(comment, '\nExample: ([^\n]*)', 1) AS question,
       regexp_extract(comment, '(?s)\nExample: [^\n]*\n(.*)$', 1) AS example
FROM duckdb_views() WHERE schema_name = 'v1' AND database_name = current_database();

COMMENT ON VIEW v1.views IS 'One row for each of these views.';
COMMENT ON COLUMN v1.views.name IS 'Its name.';
COMMENT ON COLUMN v1.views.meaning IS 'What a row of it is.';
COMMENT ON COLUMN v1.views.time_column IS 'Column that says when something was: `llmenv export` parts it by months of it. That of results for what belongs to one; NULL for a view of what is.';
COMMENT ON COLUMN v1.views.question IS 'A question that it answers.';
COMMENT ON COLUMN v1.views.example IS 'The statement that asks it.';

-- Example: Views that have something to do with measurements.
-- SELECT name, meaning FROM views WHERE name LIKE '%measurement%' ORDER BY name
