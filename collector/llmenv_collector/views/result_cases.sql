CREATE OR REPLACE VIEW v1.result_cases AS
SELECT result_id, machine_id, run_id, name, parameters_json, status, reason, remedy_id, duration_seconds
FROM store.result_case;

COMMENT ON VIEW v1.result_cases IS 'One row for each case of a table-driven check.';
COMMENT ON COLUMN v1.result_cases.result_id IS 'Key of results, with machine_id.';
COMMENT ON COLUMN v1.result_cases.machine_id IS 'Issued id of the machine.';
COMMENT ON COLUMN v1.result_cases.run_id IS 'Key of runs.';
COMMENT ON COLUMN v1.result_cases.name IS 'Unique within its result.';
COMMENT ON COLUMN v1.result_cases.parameters_json IS 'JSON object of what distinguishes the row.';
COMMENT ON COLUMN v1.result_cases.status IS 'pass, warn, fail, skip, error, timeout, crash or unknown.';
COMMENT ON COLUMN v1.result_cases.reason IS 'One sentence why.';
COMMENT ON COLUMN v1.result_cases.remedy_id IS 'Key of the catalogue of known issues; may be empty.';
COMMENT ON COLUMN v1.result_cases.duration_seconds IS 'Wall time, seconds.';

-- Time: results.started_at
-- Example: Packages that are missing or do not work.
-- SELECT result_cases.name AS package, result_cases.status, result_cases.reason, count(*) AS results
-- FROM result_cases JOIN results USING (machine_id, result_id)
-- WHERE check_name = 'packages' AND result_cases.status <> 'pass'
-- GROUP BY ALL ORDER BY results DESC, package
