-- How far each spool is durable, moved on by the very transaction of PostgreSQL that makes a commit of the
-- lake visible.  DuckLake writes a row about each commit into ducklake_snapshot_changes; the trigger reads the
-- claim in it, moves the watermarks from where the writer found them, and refuses the commit if they, or the
-- turn of a machine, are no longer there.  The message of each commit is its mark: whoever has lost
-- PostgreSQL's answer waits for its lock, and then looks for it.

CREATE SCHEMA IF NOT EXISTS llmenv;

CREATE TABLE IF NOT EXISTS llmenv.watermark (
  spool_id uuid PRIMARY KEY,
  claim_id uuid NOT NULL,             -- of the group that moved it last
  machine_id uuid NOT NULL,
  sequence numeric(20) NOT NULL,      -- the columns of store.watermark; bytes in hexadecimal, times in microseconds since 1970
  digest text NOT NULL,
  stored numeric(20) NOT NULL,
  rejected numeric(20) NOT NULL,
  dropped numeric(20) NOT NULL,
  repeated numeric(20) NOT NULL,
  previous_spool_id uuid,
  previous_answered numeric(20) NOT NULL,
  first_received_at bigint NOT NULL,
  last_received_at bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS watermark_copied ON llmenv.watermark (machine_id)
  WHERE previous_spool_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS watermark_claim ON llmenv.watermark (claim_id);

CREATE TABLE IF NOT EXISTS llmenv.machine_turn ( -- two copies of a spool are of one machine
  machine_id uuid PRIMARY KEY,
  turn bigint NOT NULL                -- groups with something of it, a count
);

CREATE OR REPLACE FUNCTION llmenv.advance() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  claim jsonb;
  moved bigint;
  more bigint;
BEGIN
  IF NEW.author IN ('llmenv delivery', 'llmenv change') THEN
    PERFORM pg_advisory_xact_lock(hashtextextended(NEW.commit_message, 0));
  END IF;
  IF NEW.author IS DISTINCT FROM 'llmenv delivery' THEN
    RETURN NEW;
  END IF;
  claim := NEW.commit_extra_info::jsonb;

  INSERT INTO llmenv.machine_turn
  SELECT machine_id, 1 FROM jsonb_to_recordset(claim->'machines') AS one(machine_id uuid, turn bigint)
  WHERE one.turn = 0 ORDER BY machine_id ON CONFLICT DO NOTHING;
  GET DIAGNOSTICS moved = ROW_COUNT;
  UPDATE llmenv.machine_turn AS mark SET turn = mark.turn + 1
  FROM jsonb_to_recordset(claim->'machines') AS one(machine_id uuid, turn bigint)
  WHERE mark.machine_id = one.machine_id AND mark.turn = one.turn AND one.turn > 0;
  GET DIAGNOSTICS more = ROW_COUNT;
  IF moved + more <> jsonb_array_length(claim->'machines') THEN
    RAISE EXCEPTION 'llmenv: another collector took the turn of a machine in this group';
  END IF;

  INSERT INTO llmenv.watermark
  SELECT spool_id, (claim->>'claim_id')::uuid, machine_id, sequence, digest, stored, rejected, dropped,
         repeated, previous_spool_id, previous_answered, first_received_at, last_received_at
  FROM jsonb_to_recordset(claim->'spools') AS one(
    spool_id uuid, machine_id uuid, before numeric, sequence numeric, digest text, stored numeric,
    rejected numeric, dropped numeric, repeated numeric, previous_spool_id uuid, previous_answered numeric,
    first_received_at bigint, last_received_at bigint)
  WHERE before = 0 ORDER BY spool_id ON CONFLICT DO NOTHING;
  GET DIAGNOSTICS moved = ROW_COUNT;
  UPDATE llmenv.watermark AS mark
  SET claim_id = (claim->>'claim_id')::uuid, sequence = one.sequence, digest = one.digest,
      stored = one.stored, rejected = one.rejected, dropped = one.dropped, repeated = one.repeated,
      previous_spool_id = one.previous_spool_id, previous_answered = one.previous_answered,
      last_received_at = one.last_received_at
  FROM jsonb_to_recordset(claim->'spools') AS one(
    spool_id uuid, before numeric, sequence numeric, digest text, stored numeric, rejected numeric,
    dropped numeric, repeated numeric, previous_spool_id uuid, previous_answered numeric,
    last_received_at bigint)
  WHERE mark.spool_id = one.spool_id AND mark.sequence = one.before AND one.before > 0;
  GET DIAGNOSTICS more = ROW_COUNT;
  IF moved + more <> jsonb_array_length(claim->'spools') THEN
    RAISE EXCEPTION 'llmenv: another collector moved a watermark of this group';
  END IF;

  NEW.commit_extra_info := NULL;      -- it has been acted on, and a lake keeps every commit for a while
  RETURN NEW;
END
$$;
-- The trigger itself is laid by fence.py: DuckLake's tables are there only after the first attachment.
