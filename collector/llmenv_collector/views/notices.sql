CREATE OR REPLACE VIEW v1.notices AS
SELECT notice_id, notice.kind, notice.made_at, notice.changes, notice.subject, webhook, state, attempts,
       CASE WHEN state = 'waiting' THEN next_attempt_at END AS next_attempt_at, last_attempt_at, outcome
FROM store.notice AS notice LEFT JOIN store.notice_delivery USING (notice_id);

COMMENT ON VIEW v1.notices IS 'One row for each notice and webhook that it goes to, or a row without a webhook where it goes to none.';
COMMENT ON COLUMN v1.notices.notice_id IS 'UUIDv7; the header webhook-id of each delivery.';
COMMENT ON COLUMN v1.notices.kind IS 'As in state_changes, or "report".';
COMMENT ON COLUMN v1.notices.made_at IS 'Collector''s clock.';
COMMENT ON COLUMN v1.notices.changes IS 'Changes that it tells, a count; 0 for a report.';
COMMENT ON COLUMN v1.notices.subject IS 'Name of the report; else empty.';
COMMENT ON COLUMN v1.notices.webhook IS 'Name in collector.toml; NULL where nobody is told.';
COMMENT ON COLUMN v1.notices.state IS '"waiting", "delivered", "told_before" a restore, or "given_up".';
COMMENT ON COLUMN v1.notices.attempts IS 'How often it was sent, a count.';
COMMENT ON COLUMN v1.notices.next_attempt_at IS 'When it is sent again, collector''s clock; NULL when it is not.';
COMMENT ON COLUMN v1.notices.last_attempt_at IS 'Collector''s clock; NULL before the first.';
COMMENT ON COLUMN v1.notices.outcome IS 'Of the last attempt, one phrase.';

-- Example: What was not delivered, and why.
-- SELECT made_at, kind, webhook, state, attempts, outcome FROM notices
-- WHERE state IN ('waiting', 'given_up') ORDER BY made_at
