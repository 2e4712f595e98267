CREATE OR REPLACE VIEW v1.results AS
SELECT result_id, run_id, machine_id, check_name, definition_hash, parameters_json, device, status, reason, cause,
       remedy_id, seed, error_type, error_missing, exit_code, signal_number, process_peak_bytes,
       accelerator_allocated_bytes, accelerator_driver_bytes, import_seconds, run_seconds, wall_seconds, started_at,
       measurements_withheld, log_tail, record_id, sequence
FROM store.result;

COMMENT ON VIEW v1.results IS 'One row for each check in each run.';
COMMENT ON COLUMN v1.results.result_id IS 'UUIDv7.';
COMMENT ON COLUMN v1.results.run_id IS 'Key of runs, with machine_id.';
COMMENT ON COLUMN v1.results.machine_id IS 'Issued id of the machine.';
COMMENT ON COLUMN v1.results.check_name IS 'Such as "torch_basics".';
COMMENT ON COLUMN v1.results.definition_hash IS 'Which source of the check ran.';
COMMENT ON COLUMN v1.results.parameters_json IS 'JSON object of every parameter.';
COMMENT ON COLUMN v1.results.device IS '"mps", "cuda" or "cpu".';
COMMENT ON COLUMN v1.results.status IS 'pass, warn, fail, skip, error, timeout, crash or unknown.';
COMMENT ON COLUMN v1.results.reason IS 'One sentence why.';
COMMENT ON COLUMN v1.results.cause IS 'The reason with names in place of its values: equal for equal causes.';
COMMENT ON COLUMN v1.results.remedy_id IS 'Key of the catalogue of known issues; may be empty.';
COMMENT ON COLUMN v1.results.seed IS 'Of every random number that the check drew.';
COMMENT ON COLUMN v1.results.error_type IS 'Class of the exception that ended it; may be empty.';
COMMENT ON COLUMN v1.results.error_missing IS 'Package or library that was missing; may be empty.';
COMMENT ON COLUMN v1.results.exit_code IS 'Of its process; NULL when a signal ended it.';
COMMENT ON COLUMN v1.results.signal_number IS 'That ended its process; NULL when it exited.';
COMMENT ON COLUMN v1.results.process_peak_bytes IS 'Peak memory of its process, bytes; NULL where not measured.';
COMMENT ON COLUMN v1.results.accelerator_allocated_bytes IS 'Peak in tensors, bytes; NULL where not measured.';
COMMENT ON COLUMN v1.results.accelerator_driver_bytes IS 'Peak taken from the system, bytes; NULL where not measured.';
COMMENT ON COLUMN v1.results.import_seconds IS 'Import of the packages it needs, seconds.';
COMMENT ON COLUMN v1.results.run_seconds IS 'Its own work after the imports, seconds.';
COMMENT ON COLUMN v1.results.wall_seconds IS 'Start to end of its process, seconds.';
COMMENT ON COLUMN v1.results.started_at IS 'Machine''s clock.';
COMMENT ON COLUMN v1.results.measurements_withheld IS 'Why its measurements were not kept, such as another process on the GPU; empty where they stand.';
COMMENT ON COLUMN v1.results.log_tail IS 'End of stdout and stderr together; NULL when it was removed.';
COMMENT ON COLUMN v1.results.record_id IS 'Key of records: the record that brought it.';
COMMENT ON COLUMN v1.results.sequence IS 'Number of that record in its spool: of two results of one check in one run, the higher is the newer.';

-- Time: started_at
-- Example: What goes wrong, and on how many machines.
-- SELECT check_name, status, cause, count(DISTINCT machine_id) AS machines, max(started_at) AS last_seen
-- FROM results WHERE status NOT IN ('pass', 'warn', 'skip')
-- GROUP BY ALL ORDER BY machines DESC, last_seen DESC
