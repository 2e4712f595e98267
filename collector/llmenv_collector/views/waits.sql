CREATE OR REPLACE VIEW v1.waits AS
SELECT machine_id, suite, due_at, waited_seconds, reason, is_given_up, measured_at,
       coalesce(schedule_name, '') AS schedule_name
FROM store.suite_wait;

COMMENT ON VIEW v1.waits IS 'Suites that had to wait for an idle machine, by the policy of its configuration.';
COMMENT ON COLUMN v1.waits.machine_id IS 'Issued id of the machine.';
COMMENT ON COLUMN v1.waits.suite IS 'Such as "quick".';
COMMENT ON COLUMN v1.waits.due_at IS 'When it was due, or had to stop for the first time; machine''s clock.';
COMMENT ON COLUMN v1.waits.waited_seconds IS 'Awake, seconds.';
COMMENT ON COLUMN v1.waits.reason IS 'The first cause, one sentence.';
COMMENT ON COLUMN v1.waits.is_given_up IS 'Whether it was given up for its next time; else it went on.';
COMMENT ON COLUMN v1.waits.schedule_name IS 'Schedule that it was due by; empty where a command or a run that had begun waited.';
COMMENT ON COLUMN v1.waits.measured_at IS 'When the wait ended; machine''s clock.';

-- Time: measured_at
-- Example: Machines whose suites were given up, and why.
-- SELECT machine_id, suite, reason, count(*) AS given_up, max(measured_at) AS last_time
-- FROM waits WHERE is_given_up GROUP BY ALL ORDER BY given_up DESC
