CREATE OR REPLACE VIEW v1.conditions AS
SELECT result_id, machine_id, moment, power_source, low_power_mode, thermal_pressure, memory_pressure, available_memory_bytes,
       swap_used_bytes, load_1m, uptime_seconds, session_type, free_disk_bytes, other_gpu_processes
FROM store.condition;

COMMENT ON VIEW v1.conditions IS 'The state of the machine before and after each check: it decides what may be compared.';
COMMENT ON COLUMN v1.conditions.result_id IS 'Key of results, with machine_id.';
COMMENT ON COLUMN v1.conditions.machine_id IS 'Issued id of the machine.';
COMMENT ON COLUMN v1.conditions.moment IS '"before" or "after".';
COMMENT ON COLUMN v1.conditions.power_source IS '"ac", "battery" or empty.';
COMMENT ON COLUMN v1.conditions.low_power_mode IS 'NULL where it could not be read.';
COMMENT ON COLUMN v1.conditions.thermal_pressure IS '"nominal", "moderate", "heavy", "trapping", "sleeping" or empty.';
COMMENT ON COLUMN v1.conditions.memory_pressure IS '"normal", "warn", "critical" or empty.';
COMMENT ON COLUMN v1.conditions.available_memory_bytes IS 'To be had without swapping, bytes.';
COMMENT ON COLUMN v1.conditions.swap_used_bytes IS 'Bytes.';
COMMENT ON COLUMN v1.conditions.load_1m IS 'Load average of the last minute. [processes]';
COMMENT ON COLUMN v1.conditions.uptime_seconds IS 'Since boot, seconds.';
COMMENT ON COLUMN v1.conditions.session_type IS '"daemon", "gui", "ssh", "terminal" or "unspecified".';
COMMENT ON COLUMN v1.conditions.free_disk_bytes IS 'Bytes.';
COMMENT ON COLUMN v1.conditions.other_gpu_processes IS 'Other processes that used the GPU while the check ran, a count; NULL before it and where it cannot be told.';

-- Time: results.started_at
-- Example: Results whose timings should not be compared.
-- SELECT check_name, started_at, moment, power_source, low_power_mode, thermal_pressure
-- FROM conditions JOIN results USING (machine_id, result_id)
-- WHERE power_source = 'battery' OR low_power_mode OR thermal_pressure NOT IN ('', 'nominal')
-- ORDER BY started_at DESC, moment DESC
