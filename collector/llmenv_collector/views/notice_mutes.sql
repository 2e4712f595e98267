CREATE OR REPLACE VIEW v1.notice_mutes AS
SELECT mute_id, machine_ids, check_name, kind, reason, muted_at, muted_by, expires_at, withdrawn_at,
       withdrawn_by,
       CASE
         WHEN withdrawn_at IS NOT NULL THEN 'withdrawn'
         WHEN expires_at <= now() THEN 'expired'
         ELSE 'in_force'
       END AS state
FROM store.notice_mute;

COMMENT ON VIEW v1.notice_mutes IS 'One row each time that somebody muted notices; none is ever deleted.';
COMMENT ON COLUMN v1.notice_mutes.mute_id IS 'UUIDv7 of the mute.';
COMMENT ON COLUMN v1.notice_mutes.machine_ids IS 'Issued ids of the machines that it is confined to; empty for all.';
COMMENT ON COLUMN v1.notice_mutes.check_name IS 'The check that it is confined to; empty for all.';
COMMENT ON COLUMN v1.notice_mutes.kind IS 'The kind of change that it is confined to; empty for all.';
COMMENT ON COLUMN v1.notice_mutes.reason IS 'Why nobody needs to be told.';
COMMENT ON COLUMN v1.notice_mutes.muted_at IS 'Collector''s clock.';
COMMENT ON COLUMN v1.notice_mutes.muted_by IS 'Label of the token that it was muted with.';
COMMENT ON COLUMN v1.notice_mutes.expires_at IS 'From then on it counts no more, collector''s clock.';
COMMENT ON COLUMN v1.notice_mutes.withdrawn_at IS 'When it was taken back, collector''s clock; NULL otherwise.';
COMMENT ON COLUMN v1.notice_mutes.withdrawn_by IS 'Label of the token that it was taken back with.';
COMMENT ON COLUMN v1.notice_mutes.state IS '"in_force", "expired" or "withdrawn".';

-- Example: What is muted, why, and until when.
-- SELECT check_name, kind, reason, muted_by, expires_at FROM notice_mutes
-- WHERE state = 'in_force' ORDER BY expires_at
