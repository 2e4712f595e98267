CREATE OR REPLACE VIEW v1.measurements AS
SELECT result_id, machine_id, case_name, name, unit, value,
       CASE direction WHEN 1 THEN 'higher' WHEN 2 THEN 'lower' END AS better, trials, warmups, stability
FROM store.measurement;

COMMENT ON VIEW v1.measurements IS 'Every number measured.';
COMMENT ON COLUMN v1.measurements.result_id IS 'Key of results, with machine_id.';
COMMENT ON COLUMN v1.measurements.machine_id IS 'Issued id of the machine.';
COMMENT ON COLUMN v1.measurements.case_name IS 'NULL when the whole check measured it.';
COMMENT ON COLUMN v1.measurements.name IS 'Such as "steps_per_second".';
COMMENT ON COLUMN v1.measurements.unit IS 'Unit of value, trials and warmups.';
COMMENT ON COLUMN v1.measurements.value IS 'The median of the trials where there are any. [unit]';
COMMENT ON COLUMN v1.measurements.better IS '"higher", "lower" or NULL.';
COMMENT ON COLUMN v1.measurements.trials IS 'Raw values in the order they were taken; warm-ups apart. [unit]';
COMMENT ON COLUMN v1.measurements.warmups IS 'Values of the warm-up rounds. [unit]';
COMMENT ON COLUMN v1.measurements.stability IS '"stable", "unstable" (do not compare it), "declining" (it throttles), or NULL when not judged.';

-- Time: results.started_at
-- Example: Training speed by chip, device and version of torch.
-- SELECT chip, runs.device, package.version AS torch, count(*) AS runs, median(value) AS steps_per_second
-- FROM measurements
-- JOIN results USING (machine_id, result_id)
-- JOIN runs USING (machine_id, run_id)
-- JOIN environment_packages AS package USING (environment_id)
-- WHERE check_name = 'torch_training' AND measurements.name = 'steps_per_second' AND package.name = 'torch'
-- GROUP BY ALL ORDER BY steps_per_second DESC
