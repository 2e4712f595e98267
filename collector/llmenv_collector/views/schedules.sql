CREATE OR REPLACE VIEW v1.schedules AS
SELECT schedule_id, name, suite, checks, targets, device, parameters_json, regardless_of_use, every_seconds,
       cron, splay_seconds, machine_ids, labels, condition, is_for_all, set_at, set_by, removed_at, removed_by
FROM store.schedule;

COMMENT ON VIEW v1.schedules IS 'One row for each wording of a schedule that the collector has or had.';
COMMENT ON COLUMN v1.schedules.schedule_id IS 'UUIDv7 of the wording: what is set anew under a name has another.';
COMMENT ON COLUMN v1.schedules.name IS 'By which people know it.';
COMMENT ON COLUMN v1.schedules.suite IS 'Suite that it starts; empty where checks are named.';
COMMENT ON COLUMN v1.schedules.checks IS 'Checks that it starts, by name.';
COMMENT ON COLUMN v1.schedules.targets IS 'Only in these of the machine''s targets; empty for all.';
COMMENT ON COLUMN v1.schedules.device IS '"mps", "cuda" or "cpu"; empty for the machine''s own.';
COMMENT ON COLUMN v1.schedules.parameters_json IS 'JSON object: check to its parameters; empty for none.';
COMMENT ON COLUMN v1.schedules.regardless_of_use IS 'Whether it starts on a machine that is in use, on battery or hot.';
COMMENT ON COLUMN v1.schedules.every_seconds IS 'From one start to the next, seconds; NULL where it has times of day.';
COMMENT ON COLUMN v1.schedules.cron IS 'Times of day in the machine''s local time; NULL where it has an interval.';
COMMENT ON COLUMN v1.schedules.splay_seconds IS 'Each start comes up to this much later, seconds.';
COMMENT ON COLUMN v1.schedules.machine_ids IS 'Only on these machines; empty where they are not named.';
COMMENT ON COLUMN v1.schedules.labels IS 'Only on machines with all of these, "key=value" or "key".';
COMMENT ON COLUMN v1.schedules.condition IS 'Only on machines whose row of v1.machines satisfies it; empty for none.';
COMMENT ON COLUMN v1.schedules.is_for_all IS 'Whether it is for every machine.';
COMMENT ON COLUMN v1.schedules.set_at IS 'Collector''s clock.';
COMMENT ON COLUMN v1.schedules.set_by IS 'Label of the token that it was set with.';
COMMENT ON COLUMN v1.schedules.removed_at IS 'Since when it, or this wording, does not count; collector''s clock; NULL while it does.';
COMMENT ON COLUMN v1.schedules.removed_by IS 'Label of the token that it was removed or set anew with.';

-- Example: Schedules that count now, with the runs that they have led to.
-- SELECT name, schedules.suite, every_seconds / 3600 AS hours, cron, count(run_id) AS runs, max(started_at) AS last
-- FROM schedules LEFT JOIN runs USING (schedule_id) WHERE removed_at IS NULL GROUP BY ALL ORDER BY name
