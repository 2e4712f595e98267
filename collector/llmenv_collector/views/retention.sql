CREATE OR REPLACE VIEW v1.retention AS
SELECT what, (keeps_seconds // 86400)::UINTEGER AS keeps_days, removed_until, removed, applied_at FROM store.retention;

COMMENT ON VIEW v1.retention IS 'How long what is kept, and what was removed when it was older.';
COMMENT ON COLUMN v1.retention.what IS '"trials": raw values and warm-ups of measurements; "logs": log tails of results; "refused": bytes of refused records; "notices": notices and the changes behind them.';
COMMENT ON COLUMN v1.retention.keeps_days IS 'Days from when it was received, as last applied; NULL for ever.';
COMMENT ON COLUMN v1.retention.removed_until IS 'What was received before has lost it, collector''s clock.';
COMMENT ON COLUMN v1.retention.removed IS 'Measurements, results or refused records that lost something so far, or notices and changes that went, a count.';
COMMENT ON COLUMN v1.retention.applied_at IS 'When the policy was last applied, collector''s clock.';

-- Example: What is kept for how long.
-- SELECT what, keeps_days, removed_until, removed FROM retention ORDER BY what
