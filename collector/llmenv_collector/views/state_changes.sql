CREATE OR REPLACE VIEW v1.state_changes AS
SELECT change_id, kind, machine_id, environment_name, device, check_name, began_at, status, former_status,
       cause, remedy_id, detail_json, noticed_at, fate, muted_by, notice_id, times_changed
FROM store.state_change;

COMMENT ON VIEW v1.state_changes IS 'One row each time that a check began or ceased to end well, a machine fell silent or returned, or a regression was confirmed.';
COMMENT ON COLUMN v1.state_changes.change_id IS 'UUID, the same whenever the same change is found again.';
COMMENT ON COLUMN v1.state_changes.kind IS '"check_failing", "check_recovered", "machine_silent", "machine_returned" or "regression".';
COMMENT ON COLUMN v1.state_changes.machine_id IS 'Issued id of the machine.';
COMMENT ON COLUMN v1.state_changes.environment_name IS 'Name in the agent''s configuration; empty where it is the machine''s.';
COMMENT ON COLUMN v1.state_changes.device IS '"mps", "cuda" or "cpu"; may be empty.';
COMMENT ON COLUMN v1.state_changes.check_name IS 'Such as "torch_basics"; may be empty.';
COMMENT ON COLUMN v1.state_changes.began_at IS 'Start of the first run in the new state, or of the last run before silence, machine''s clock.';
COMMENT ON COLUMN v1.state_changes.status IS 'Word of status since then; empty where it is no check.';
COMMENT ON COLUMN v1.state_changes.former_status IS 'Word of status before; empty where nothing is known.';
COMMENT ON COLUMN v1.state_changes.cause IS 'Cause as in results; may be empty.';
COMMENT ON COLUMN v1.state_changes.remedy_id IS 'Key of the catalogue of known issues; may be empty.';
COMMENT ON COLUMN v1.state_changes.detail_json IS 'JSON object with figures of its kind.';
COMMENT ON COLUMN v1.state_changes.noticed_at IS 'When it was found, collector''s clock.';
COMMENT ON COLUMN v1.state_changes.fate IS '"waiting", "told", "overtaken" by a later change or "known" before the collector began to look.';
COMMENT ON COLUMN v1.state_changes.muted_by IS 'Mute or acknowledgement for which it waits or waited; NULL for none.';
COMMENT ON COLUMN v1.state_changes.notice_id IS 'Key of notices; NULL until it is in one.';
COMMENT ON COLUMN v1.state_changes.times_changed IS 'How often it had changed since something was told, when it was told; 0 before.';

-- Example: What changed on which machine, and whether it was told.
-- SELECT hostname, kind, check_name, began_at, fate FROM state_changes JOIN machines USING (machine_id)
-- ORDER BY noticed_at DESC
