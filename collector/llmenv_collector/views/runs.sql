CREATE OR REPLACE VIEW v1.runs AS
SELECT run.run_id, run.machine_id, run.hostname, run.chip, run.gpu_cores, run.memory_bytes, run.os_name,
       run.os_version, run.os_build, run.is_apple_silicon, run.environment_id, run.environment_name, run.suite,
       run.suite_version, run.run_trigger, run.device, run.started_at, run_end.ended_at, run_end.wall_seconds,
       CASE run_end.outcome WHEN 1 THEN 'completed' WHEN 2 THEN 'cancelled' WHEN 3 THEN 'interrupted'
            ELSE 'unknown' END AS outcome,
       run.agent_version, run.record_id, coalesce(run.schedule_name, '') AS schedule_name, run.schedule_id
FROM store.run AS run LEFT JOIN store.run_end AS run_end USING (machine_id, run_id);

COMMENT ON VIEW v1.runs IS 'One row for each execution of a suite.';
COMMENT ON COLUMN v1.runs.run_id IS 'UUIDv7.';
COMMENT ON COLUMN v1.runs.machine_id IS 'Issued id of the machine.';
COMMENT ON COLUMN v1.runs.hostname IS 'Label of the machine at the start.';
COMMENT ON COLUMN v1.runs.chip IS 'Such as "Apple M2 Ultra".';
COMMENT ON COLUMN v1.runs.gpu_cores IS 'A count.';
COMMENT ON COLUMN v1.runs.memory_bytes IS 'Physical memory, bytes.';
COMMENT ON COLUMN v1.runs.os_name IS '"macOS" or "Linux".';
COMMENT ON COLUMN v1.runs.os_version IS 'At the start of the run.';
COMMENT ON COLUMN v1.runs.os_build IS 'At the start of the run: numerics change with it.';
COMMENT ON COLUMN v1.runs.is_apple_silicon IS 'Whether the device must be mps.';
COMMENT ON COLUMN v1.runs.environment_id IS 'Key of environment_packages.';
COMMENT ON COLUMN v1.runs.environment_name IS 'Name in the agent''s configuration.';
COMMENT ON COLUMN v1.runs.suite IS 'Name of the suite.';
COMMENT ON COLUMN v1.runs.suite_version IS 'Version of its list of checks.';
COMMENT ON COLUMN v1.runs.run_trigger IS '"schedule", "command" or "local".';
COMMENT ON COLUMN v1.runs.device IS '"mps", "cuda" or "cpu".';
COMMENT ON COLUMN v1.runs.started_at IS 'Machine''s clock.';
COMMENT ON COLUMN v1.runs.ended_at IS 'Machine''s clock; NULL while it runs or when its end was never seen.';
COMMENT ON COLUMN v1.runs.wall_seconds IS 'Monotonic, seconds.';
COMMENT ON COLUMN v1.runs.outcome IS '"completed", "cancelled", "interrupted" or "unknown".';
COMMENT ON COLUMN v1.runs.agent_version IS 'Version of llmenv-agent.';
COMMENT ON COLUMN v1.runs.record_id IS 'Key of records: the record that announced it.';
COMMENT ON COLUMN v1.runs.schedule_name IS 'Schedule that started it; empty where none did, and from agents that did not say.';
COMMENT ON COLUMN v1.runs.schedule_id IS 'Key of schedules: NULL where none of the collector''s started it.';

-- Time: started_at
-- Example: Runs that did not complete, newest first.
-- SELECT hostname, environment_name, suite, started_at, outcome
-- FROM runs WHERE outcome <> 'completed' ORDER BY started_at DESC
