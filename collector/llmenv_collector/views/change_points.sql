CREATE OR REPLACE VIEW v1.change_points AS
SELECT machine_id, environment_name, device, check_name, parameters_json, case_name, measurement, unit,
       CASE direction WHEN 1 THEN 'higher' WHEN 2 THEN 'lower' END AS better, definition_hash, changed_at,
       is_suspected, points, median_before, median_after, ratio_low, ratio_high, p_value, from_result_id,
       to_result_id
FROM store.change_point;

COMMENT ON VIEW v1.change_points IS 'When a measurement of a machine changed, worked out after results arrive.';
COMMENT ON COLUMN v1.change_points.machine_id IS 'Issued id of the machine.';
COMMENT ON COLUMN v1.change_points.environment_name IS 'Name in the agent''s configuration.';
COMMENT ON COLUMN v1.change_points.device IS '"mps", "cuda" or "cpu".';
COMMENT ON COLUMN v1.change_points.check_name IS 'Such as "torch_training".';
COMMENT ON COLUMN v1.change_points.parameters_json IS 'JSON object of every parameter.';
COMMENT ON COLUMN v1.change_points.case_name IS 'Empty when the whole check measured it.';
COMMENT ON COLUMN v1.change_points.measurement IS 'Such as "steps_per_second".';
COMMENT ON COLUMN v1.change_points.unit IS 'Unit of the medians.';
COMMENT ON COLUMN v1.change_points.better IS '"higher", "lower" or NULL.';
COMMENT ON COLUMN v1.change_points.definition_hash IS 'Which source of the check ran after the change.';
COMMENT ON COLUMN v1.change_points.changed_at IS 'Start of the first run after the change, machine''s clock.';
COMMENT ON COLUMN v1.change_points.is_suspected IS 'Whether fewer results followed than a confirmed change needs.';
COMMENT ON COLUMN v1.change_points.points IS 'Results since then, up to the next change, a count.';
COMMENT ON COLUMN v1.change_points.median_before IS 'Of the results since the change before it. [unit]';
COMMENT ON COLUMN v1.change_points.median_after IS 'Of the results up to the next change. [unit]';
COMMENT ON COLUMN v1.change_points.ratio_low IS 'Lower end of the 95 % interval of median_after / median_before. [ratio]';
COMMENT ON COLUMN v1.change_points.ratio_high IS 'Its upper end. [ratio]';
COMMENT ON COLUMN v1.change_points.p_value IS 'Of no change at all, before other series are accounted for. [probability]';
COMMENT ON COLUMN v1.change_points.from_result_id IS 'A result before the change: what changed lies between both.';
COMMENT ON COLUMN v1.change_points.to_result_id IS 'A result after it.';

-- Time: changed_at
-- Example: What became slower by more than 5 %, the newest first.
-- SELECT hostname, check_name, measurement, median_after / median_before AS ratio, changed_at
-- FROM change_points JOIN machines USING (machine_id)
-- WHERE better = 'higher' AND median_after < 0.95 * median_before AND NOT is_suspected
-- ORDER BY changed_at DESC
