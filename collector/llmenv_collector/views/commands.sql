CREATE OR REPLACE VIEW v1.commands AS
SELECT command.command_id, command.batch_id, command.machine_id, coalesce(machine.hostname, '') AS hostname,
       command.suite, command.checks, command.issued_at, command.issued_by, command.expires_at,
       command.handed_down_at, command.cancelled_at, command.cancelled_by,
       CASE
         WHEN said.final_state IS NOT NULL THEN said.final_state
         WHEN said.has_started THEN 'started'
         WHEN said.command_id IS NOT NULL THEN 'accepted'
         WHEN command.handed_down_at IS NOT NULL THEN 'issued'
         WHEN command.cancelled_at IS NOT NULL THEN 'cancelled'
         WHEN command.expires_at <= now() THEN 'expired'
         ELSE 'issued'
       END AS state,
       coalesce(said.reason, '') AS reason, coalesce(said.run_ids, []) AS run_ids, said.accepted_at,
       said.started_at, said.ended_at
FROM store.command AS command
LEFT JOIN store.machine AS machine USING (machine_id)
LEFT JOIN (
  SELECT machine_id, command_id,
         max_by(state, measured_at) FILTER (state IN ('ended', 'expired', 'refused', 'cancelled')) AS final_state,
         bool_or(state = 'started') AS has_started,
         max_by(reason, measured_at) AS reason,
         list(DISTINCT run_id ORDER BY run_id) FILTER (run_id IS NOT NULL) AS run_ids,
         min(measured_at) FILTER (state = 'accepted') AS accepted_at,
         min(measured_at) FILTER (state = 'started') AS started_at,
         max(measured_at) FILTER (state IN ('ended', 'expired', 'refused', 'cancelled')) AS ended_at
  FROM store.command_outcome GROUP BY machine_id, command_id
) AS said USING (machine_id, command_id);

COMMENT ON VIEW v1.commands IS 'One row a command: what a machine was told to run, and what became of it.';
COMMENT ON COLUMN v1.commands.command_id IS 'UUIDv7 of the command.';
COMMENT ON COLUMN v1.commands.batch_id IS 'UUIDv7 of the batch that it was issued in.';
COMMENT ON COLUMN v1.commands.machine_id IS 'Issued id of the machine that it is for.';
COMMENT ON COLUMN v1.commands.hostname IS 'As the machine last said.';
COMMENT ON COLUMN v1.commands.suite IS 'Suite to run; empty where checks are named.';
COMMENT ON COLUMN v1.commands.checks IS 'Checks to run, by name.';
COMMENT ON COLUMN v1.commands.issued_at IS 'Collector''s clock.';
COMMENT ON COLUMN v1.commands.issued_by IS 'Label of the token that it was issued with.';
COMMENT ON COLUMN v1.commands.expires_at IS 'From then on it is not begun any more, collector''s clock.';
COMMENT ON COLUMN v1.commands.handed_down_at IS 'When the machine was first told; NULL before.';
COMMENT ON COLUMN v1.commands.cancelled_at IS 'When it was taken back, collector''s clock; NULL otherwise.';
COMMENT ON COLUMN v1.commands.cancelled_by IS 'Label of the token that it was taken back with.';
COMMENT ON COLUMN v1.commands.state IS '"issued" until the machine has said something, then "accepted", "started", "ended", "expired", "refused" or "cancelled".';
COMMENT ON COLUMN v1.commands.reason IS 'One sentence where the state does not say all.';
COMMENT ON COLUMN v1.commands.run_ids IS 'The runs that it led to.';
COMMENT ON COLUMN v1.commands.accepted_at IS 'When the machine had it, machine''s clock.';
COMMENT ON COLUMN v1.commands.started_at IS 'When the machine began it, machine''s clock.';
COMMENT ON COLUMN v1.commands.ended_at IS 'When the machine was done with it, machine''s clock.';

-- Time: issued_at
-- Example: Commands that are still to be done, and by whom they were issued.
-- SELECT hostname, suite, checks, state, issued_by, expires_at
-- FROM commands WHERE state IN ('issued', 'accepted', 'started')
