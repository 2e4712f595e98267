CREATE OR REPLACE VIEW v1.rejections AS
SELECT spool_id, sequence, record_id, machine_id, reason, received_at, confirmed_at FROM store.rejection;

COMMENT ON VIEW v1.rejections IS 'Records that could not be accepted.';
COMMENT ON COLUMN v1.rejections.spool_id IS 'Spool that delivered it.';
COMMENT ON COLUMN v1.rejections.sequence IS 'Its number in that spool.';
COMMENT ON COLUMN v1.rejections.record_id IS 'As the agent wrote it; it may be no UUID.';
COMMENT ON COLUMN v1.rejections.machine_id IS 'Issued id of the machine that delivered it.';
COMMENT ON COLUMN v1.rejections.reason IS 'One sentence why.';
COMMENT ON COLUMN v1.rejections.received_at IS 'Collector''s clock.';
COMMENT ON COLUMN v1.rejections.confirmed_at IS 'When the agent had put it among its dead letters; NULL before.';

-- Time: received_at
-- Example: Why records were refused, and how many the agents do not know of yet.
-- SELECT reason, count(*) AS records, count(*) FILTER (WHERE confirmed_at IS NULL) AS unconfirmed
-- FROM rejections GROUP BY ALL ORDER BY records DESC
