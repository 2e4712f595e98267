CREATE OR REPLACE VIEW v1.machine_schedules AS
SELECT said.machine_id, coalesce(machine.hostname, '') AS hostname, said.schedule_id, said.schedule_name,
       said.state, said.reason, said.said_at, coalesce(ran.runs, 0) AS runs, ran.last_run_id, ran.last_run_at
FROM (
  SELECT machine_id, schedule_id, max_by(schedule_name, (measured_at, sequence)) AS schedule_name,
         max_by(state, (measured_at, sequence)) AS state, max_by(reason, (measured_at, sequence)) AS reason,
         max(measured_at) AS said_at
  FROM store.schedule_change GROUP BY machine_id, schedule_id
) AS said
LEFT JOIN store.machine AS machine USING (machine_id)
LEFT JOIN (
  SELECT machine_id, schedule_id, count(*) AS runs, max_by(run_id, started_at) AS last_run_id,
         max(started_at) AS last_run_at
  FROM store.run WHERE schedule_id IS NOT NULL GROUP BY machine_id, schedule_id
) AS ran USING (machine_id, schedule_id);

COMMENT ON VIEW v1.machine_schedules IS 'What each machine last said of each schedule that it had from the collector.';
COMMENT ON COLUMN v1.machine_schedules.machine_id IS 'Issued id of the machine.';
COMMENT ON COLUMN v1.machine_schedules.hostname IS 'As the machine last said.';
COMMENT ON COLUMN v1.machine_schedules.schedule_id IS 'Key of schedules.';
COMMENT ON COLUMN v1.machine_schedules.schedule_name IS 'By which people know it.';
COMMENT ON COLUMN v1.machine_schedules.state IS '"in_force", "set_aside" (the machine''s own configuration has precedence), "refused" (it cannot be run there) or "removed".';
COMMENT ON COLUMN v1.machine_schedules.reason IS 'One sentence where the state does not say all.';
COMMENT ON COLUMN v1.machine_schedules.said_at IS 'When that began; machine''s clock.';
COMMENT ON COLUMN v1.machine_schedules.runs IS 'Runs that it started there, a count.';
COMMENT ON COLUMN v1.machine_schedules.last_run_id IS 'The latest of them; NULL for none.';
COMMENT ON COLUMN v1.machine_schedules.last_run_at IS 'When that started; machine''s clock.';

-- Example: Machines that do not go by a schedule of theirs, and why.
-- SELECT hostname, schedule_name, state, reason FROM machine_schedules
-- WHERE state IN ('set_aside', 'refused') ORDER BY hostname, schedule_name
