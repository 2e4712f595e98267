CREATE OR REPLACE VIEW v1.records AS
SELECT record_id, spool_id, sequence, kind, machine_id, measured_at, clock_offset_seconds, received_at
FROM store.record;

COMMENT ON VIEW v1.records IS 'One row for each record stored.';
COMMENT ON COLUMN v1.records.record_id IS 'UUIDv7, given by the agent.';
COMMENT ON COLUMN v1.records.spool_id IS 'Spool that delivered it.';
COMMENT ON COLUMN v1.records.sequence IS 'Its number in that spool.';
COMMENT ON COLUMN v1.records.kind IS 'Such as "check_finished"; "unknown" for one kept raw.';
COMMENT ON COLUMN v1.records.machine_id IS 'Issued id of the machine.';
COMMENT ON COLUMN v1.records.measured_at IS 'Machine''s clock when it happened.';
COMMENT ON COLUMN v1.records.clock_offset_seconds IS 'Collector''s clock minus machine''s, as last estimated, seconds.';
COMMENT ON COLUMN v1.records.received_at IS 'Collector''s clock when it came.';

-- Time: received_at
-- Example: What was delivered, by kind.
-- SELECT kind, count(*) AS records, max(received_at) AS latest
-- FROM records GROUP BY ALL ORDER BY records DESC
