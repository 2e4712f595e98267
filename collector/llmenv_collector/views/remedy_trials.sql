CREATE OR REPLACE VIEW v1.remedy_trials AS
SELECT
  result_id, machine_id,
  (row_number() OVER (PARTITION BY machine_id, result_id ORDER BY sequence, position) - 1)::UINTEGER AS position,
  remedy_id, environment_variables, device, status, reason, case_names, wall_seconds
FROM store.remedy_trial;

COMMENT ON VIEW v1.remedy_trials IS 'Remedies that were tried after a result: the check again in a process of its own, with what the remedy changes.';
COMMENT ON COLUMN v1.remedy_trials.result_id IS 'Key of results, with machine_id.';
COMMENT ON COLUMN v1.remedy_trials.machine_id IS 'Issued id of the machine.';
COMMENT ON COLUMN v1.remedy_trials.position IS 'Order within the result, from 0.';
COMMENT ON COLUMN v1.remedy_trials.remedy_id IS 'Key of the catalogue of known issues.';
COMMENT ON COLUMN v1.remedy_trials.environment_variables IS 'What the remedy set, by name; empty when it set none.';
COMMENT ON COLUMN v1.remedy_trials.device IS 'Tried on: "mps", "cuda" or "cpu".';
COMMENT ON COLUMN v1.remedy_trials.status IS 'With the remedy: pass, warn, fail, skip, error, timeout, crash or unknown.';
COMMENT ON COLUMN v1.remedy_trials.reason IS 'One sentence why.';
COMMENT ON COLUMN v1.remedy_trials.case_names IS 'Cases that were run again; empty when the whole check was.';
COMMENT ON COLUMN v1.remedy_trials.wall_seconds IS 'Wall time, seconds.';

-- Time: results.started_at
-- Example: Which remedies help where.
-- SELECT remedy_trials.remedy_id, check_name, chip, count(*) AS tried,
--        count(*) FILTER (remedy_trials.status = 'pass') AS helped
-- FROM remedy_trials
-- JOIN results USING (machine_id, result_id)
-- JOIN runs USING (machine_id, run_id)
-- GROUP BY ALL ORDER BY tried DESC, remedy_id
