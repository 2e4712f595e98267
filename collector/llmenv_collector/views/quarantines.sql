CREATE OR REPLACE VIEW v1.quarantines AS
SELECT machine_id, environment_name, check_name, reason, until, measured_at AS since
FROM store.quarantine_change
QUALIFY row_number() OVER (
    PARTITION BY machine_id, environment_name, check_name ORDER BY measured_at DESC, sequence DESC
) = 1 AND is_quarantined;

COMMENT ON VIEW v1.quarantines IS 'Checks that are left out of suites, as each machine last said.';
COMMENT ON COLUMN v1.quarantines.machine_id IS 'Issued id of the machine.';
COMMENT ON COLUMN v1.quarantines.environment_name IS 'Name of the target in its configuration.';
COMMENT ON COLUMN v1.quarantines.check_name IS 'Such as "torch_basics".';
COMMENT ON COLUMN v1.quarantines.reason IS 'One sentence why.';
COMMENT ON COLUMN v1.quarantines.until IS 'When it is let in again at the latest; machine''s clock.';
COMMENT ON COLUMN v1.quarantines.since IS 'Machine''s clock.';

-- Example: Checks that are left out now, and on how many machines.
-- SELECT check_name, reason, count(DISTINCT machine_id) AS machines, max(until) AS until
-- FROM quarantines GROUP BY ALL ORDER BY machines DESC
