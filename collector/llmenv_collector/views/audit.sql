CREATE OR REPLACE VIEW v1.audit AS
SELECT audit_no, happened_at, actor, origin, action, subject, detail, outcome FROM store.audit;

COMMENT ON VIEW v1.audit IS 'Who decided or tried what, when and from where, with its outcome. Rows are added and never changed; no secret is in them.';
COMMENT ON COLUMN v1.audit.audit_no IS 'Rises with each row, a count.';
COMMENT ON COLUMN v1.audit.happened_at IS 'Collector''s clock.';
COMMENT ON COLUMN v1.audit.actor IS 'Such as "token <id> (Ada)", "machine <id>", or "user ada" for a command on the collector''s computer.';
COMMENT ON COLUMN v1.audit.origin IS 'Address that a call came from, or "this computer".';
COMMENT ON COLUMN v1.audit.action IS 'Such as "machine.revoke", "token.create", "command.issue" or "call.refused".';
COMMENT ON COLUMN v1.audit.subject IS 'Id of the machine, token, command or batch; the RPC of a refused call.';
COMMENT ON COLUMN v1.audit.detail IS 'One sentence or a few words more; empty where there is nothing to say.';
COMMENT ON COLUMN v1.audit.outcome IS '"done" or "refused".';

-- Time: happened_at
-- Example: What was decided about machines and tokens in the last week.
-- SELECT happened_at, actor, origin, action, subject, detail FROM audit
-- WHERE happened_at > now() - INTERVAL 7 DAY AND (action LIKE 'machine.%' OR action LIKE 'token.%')
-- ORDER BY happened_at DESC
