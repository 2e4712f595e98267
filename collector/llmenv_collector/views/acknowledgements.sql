CREATE OR REPLACE VIEW v1.acknowledgements AS
SELECT acknowledgement_id, check_name, statuses, remedy_id, cause, machine_ids, reason, acknowledged_at,
       acknowledged_by, expires_at, withdrawn_at, withdrawn_by,
       CASE
         WHEN withdrawn_at IS NOT NULL THEN 'withdrawn'
         WHEN expires_at <= now() THEN 'expired'
         ELSE 'in_force'
       END AS state
FROM store.acknowledgement;

COMMENT ON VIEW v1.acknowledgements IS 'One row a note that somebody took of a finding; none is ever deleted.';
COMMENT ON COLUMN v1.acknowledgements.acknowledgement_id IS 'UUIDv7 of the note.';
COMMENT ON COLUMN v1.acknowledgements.check_name IS 'The check whose finding it is.';
COMMENT ON COLUMN v1.acknowledgements.statuses IS 'Words of status that it holds for: those there were when it was taken.';
COMMENT ON COLUMN v1.acknowledgements.remedy_id IS 'Key in the catalogue of known issues; NULL for whatever the remedy is.';
COMMENT ON COLUMN v1.acknowledgements.cause IS 'Cause as in results; NULL for every cause with the remedy.';
COMMENT ON COLUMN v1.acknowledgements.machine_ids IS 'Issued ids of the machines that it is confined to; empty for all.';
COMMENT ON COLUMN v1.acknowledgements.reason IS 'Why it may stand.';
COMMENT ON COLUMN v1.acknowledgements.acknowledged_at IS 'Collector''s clock.';
COMMENT ON COLUMN v1.acknowledgements.acknowledged_by IS 'Label of the token that it was taken with.';
COMMENT ON COLUMN v1.acknowledgements.expires_at IS 'From then on it counts no more, collector''s clock.';
COMMENT ON COLUMN v1.acknowledgements.withdrawn_at IS 'When it was taken back, collector''s clock; NULL otherwise.';
COMMENT ON COLUMN v1.acknowledgements.withdrawn_by IS 'Label of the token that it was taken back with.';
COMMENT ON COLUMN v1.acknowledgements.state IS '"in_force", "expired" or "withdrawn".';

-- Example: What somebody let stand, why, and until when.
-- SELECT check_name, coalesce(cause, remedy_id) AS what, reason, acknowledged_by, expires_at
-- FROM acknowledgements WHERE state = 'in_force' ORDER BY expires_at
