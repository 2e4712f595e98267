CREATE OR REPLACE VIEW v1.measurements AS
SELECT result_id, machine_id, case_name, name, unit, value,
       CASE direction WHEN 1 THEN 'higher' WHEN 2 THEN 'lower' END AS better,
       CASE WHEN spread IS NULL THEN trials END AS trials, CASE WHEN spread IS NULL THEN warmups END AS warmups,
       stability, known.trials AS trial_count, known.variation, value * known.low AS median_low,
       value * known.high AS median_high, spread IS NOT NULL AS trials_removed
FROM (
  -- The same expressions as in storage/retention.py, which keeps them when the trials go.
  SELECT *, coalesce(spread, {
    trials: len(trials)::UINTEGER,
    warmups: len(warmups)::UINTEGER,
    variation: CASE WHEN len(trials) > 1 AND value <> 0 AND list_max([abs(one / value) for one in trials]) < 1e6 THEN
      round(list_stddev_samp([one / value for one in trials]) / nullif(abs(list_avg([one / value for one in trials])), 0), 4) END,
    low: CASE WHEN len(trials) > 5 AND value <> 0 AND list_max([abs(one / value) for one in trials]) < 1e6 THEN
      round(list_sort(trials)[floor((len(trials) + 1 - 1.96 * sqrt(len(trials))) / 2)::INTEGER] / value, 4) END,
    high: CASE WHEN len(trials) > 5 AND value <> 0 AND list_max([abs(one / value) for one in trials]) < 1e6 THEN
      round(list_reverse_sort(trials)[floor((len(trials) + 1 - 1.96 * sqrt(len(trials))) / 2)::INTEGER] / value, 4) END
  }) AS known
  FROM store.measurement
);

COMMENT ON VIEW v1.measurements IS 'Every number measured.';
COMMENT ON COLUMN v1.measurements.result_id IS 'Key of results, with machine_id.';
COMMENT ON COLUMN v1.measurements.machine_id IS 'Issued id of the machine.';
COMMENT ON COLUMN v1.measurements.case_name IS 'NULL when the whole check measured it.';
COMMENT ON COLUMN v1.measurements.name IS 'Such as "steps_per_second".';
COMMENT ON COLUMN v1.measurements.unit IS 'Unit of value, trials and warmups.';
COMMENT ON COLUMN v1.measurements.value IS 'The median of the trials where there are any. [unit]';
COMMENT ON COLUMN v1.measurements.better IS '"higher", "lower" or NULL.';
COMMENT ON COLUMN v1.measurements.trials IS 'Raw values in the order they were taken, warm-ups apart; NULL when they were removed. [unit]';
COMMENT ON COLUMN v1.measurements.warmups IS 'Values of the warm-up rounds; NULL when they were removed. [unit]';
COMMENT ON COLUMN v1.measurements.stability IS '"stable", "unstable" (do not compare it), "declining" (it throttles), or NULL when not judged.';
COMMENT ON COLUMN v1.measurements.trial_count IS 'How many raw values there are or were, a count.';
COMMENT ON COLUMN v1.measurements.variation IS 'Standard deviation of the raw values as a share of their mean, to four decimals; NULL for fewer than two. [ratio]';
COMMENT ON COLUMN v1.measurements.median_low IS 'Lower end of a 95 % interval of the median, an order statistic of the raw values, to 0.01 % of value; NULL for fewer than six. [unit]';
COMMENT ON COLUMN v1.measurements.median_high IS 'Upper end of it. [unit]';
COMMENT ON COLUMN v1.measurements.trials_removed IS 'Whether raw values are gone since they were older than they are kept.';

-- Time: results.started_at
-- Example: Training speed by chip, device and version of torch.
-- SELECT chip, runs.device, package.version AS torch, count(*) AS runs, median(value) AS steps_per_second
-- FROM measurements
-- JOIN results USING (machine_id, result_id)
-- JOIN runs USING (machine_id, run_id)
-- JOIN environment_packages AS package USING (environment_id)
-- WHERE check_name = 'torch_training' AND measurements.name = 'steps_per_second' AND package.name = 'torch'
-- GROUP BY ALL ORDER BY steps_per_second DESC
