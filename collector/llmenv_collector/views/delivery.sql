CREATE OR REPLACE VIEW v1.delivery AS
WITH held AS (
  SELECT spool_id, count(*) AS records, min(sequence) AS lowest FROM store.record GROUP BY spool_id
  UNION ALL SELECT spool_id, count(*), min(sequence) FROM store.rejection GROUP BY spool_id
  UNION ALL SELECT spool_id, sum(last_sequence - first_sequence + 1), min(first_sequence)
  FROM store.tombstone GROUP BY spool_id
), rows_held AS (
  SELECT spool_id, sum(records)::BIGINT AS records, min(lowest)::BIGINT AS lowest FROM held GROUP BY spool_id
), continued AS (
  SELECT previous_spool_id AS spool_id, arg_max(spool_id, first_received_at) AS next_spool_id,
         max(first_received_at) AS since, max(previous_answered)::BIGINT AS answered
  FROM store.watermark WHERE previous_spool_id IS NOT NULL GROUP BY previous_spool_id
), account AS (
  SELECT spool_id, coalesce(mark.machine_id, said.machine_id) AS machine_id,
         coalesce(mark.sequence, 0)::BIGINT AS watermark, coalesce(mark.stored, 0)::BIGINT AS stored,
         coalesce(mark.rejected, 0)::BIGINT AS rejected, coalesce(mark.dropped, 0)::BIGINT AS dropped,
         coalesce(mark.repeated, 0)::BIGINT AS repeated, greatest(coalesce(continued.answered - coalesce(mark.sequence, 0)::BIGINT, 0), 0) AS lost_by_restore,
         said.minted::BIGINT AS said_minted, said.said_at,
         said.minted::BIGINT - said.stored - said.rejected - said.waiting - said.dropped AS said_wrong,
         coalesce(said.said_at <= continued.since, said.said_at IS NULL AND continued.since IS NOT NULL, FALSE)
           AS is_continued,
         rows_held.records, rows_held.lowest, mark.previous_spool_id, continued.next_spool_id,
         mark.first_received_at, mark.last_received_at
  FROM store.watermark AS mark
  FULL JOIN store.spool_ledger AS said USING (spool_id)
  LEFT JOIN continued USING (spool_id)
  LEFT JOIN rows_held USING (spool_id)
), judged AS (
  SELECT *, CASE WHEN is_continued THEN 0 ELSE greatest(coalesce(said_minted, 0) - watermark, 0) END AS waiting,
         greatest(coalesce(watermark - lowest + 1 - records - repeated, 0), 0) AS missing
  FROM account
)
SELECT spool_id, machine_id, watermark + waiting + lost_by_restore AS minted, stored, rejected, waiting, dropped,
       lost_by_restore, watermark - stored - rejected - dropped + missing + abs(coalesce(said_wrong, 0)) AS unexplained,
       missing, repeated, watermark, said_minted, said_at, previous_spool_id, next_spool_id, first_received_at,
       last_received_at
FROM judged;

COMMENT ON VIEW v1.delivery IS 'The ledger of each spool as of its machine''s last contact: minted = stored + rejected + waiting + dropped + lost_by_restore.';
COMMENT ON COLUMN v1.delivery.spool_id IS 'UUIDv7 of the spool.';
COMMENT ON COLUMN v1.delivery.machine_id IS 'Issued id of its machine.';
COMMENT ON COLUMN v1.delivery.minted IS 'Sequences that the spool answers for, a count; where another spool continues it, up to there.';
COMMENT ON COLUMN v1.delivery.stored IS 'Records stored, a count; one that a copied spool delivers again counts again.';
COMMENT ON COLUMN v1.delivery.rejected IS 'Records refused for good, a count.';
COMMENT ON COLUMN v1.delivery.waiting IS 'Minted and not durable here yet, a count.';
COMMENT ON COLUMN v1.delivery.dropped IS 'Sequences covered by tombstones, a count.';
COMMENT ON COLUMN v1.delivery.lost_by_restore IS 'Acknowledged once, then lost when the collector went back to a backup, and no more held by the machine, a count.';
COMMENT ON COLUMN v1.delivery.unexplained IS 'What no cause accounts for, a count; 0 in a healthy fleet.';
COMMENT ON COLUMN v1.delivery.missing IS 'Of unexplained: rows that should be held from the oldest on that is, a count.';
COMMENT ON COLUMN v1.delivery.repeated IS 'Of stored: brought by another copy of the spool before, a count.';
COMMENT ON COLUMN v1.delivery.watermark IS 'Highest sequence that is durable here.';
COMMENT ON COLUMN v1.delivery.said_minted IS 'Sequences ever given out, as the agent last said, a count.';
COMMENT ON COLUMN v1.delivery.said_at IS 'When the agent said so, collector''s clock.';
COMMENT ON COLUMN v1.delivery.previous_spool_id IS 'When it continues a spool that was copied.';
COMMENT ON COLUMN v1.delivery.next_spool_id IS 'When another spool continues it.';
COMMENT ON COLUMN v1.delivery.first_received_at IS 'Collector''s clock.';
COMMENT ON COLUMN v1.delivery.last_received_at IS 'Collector''s clock.';

-- Example: The ledger by machine, the most waiting records first.
-- SELECT hostname, minted, delivery.stored, rejected, waiting, dropped, lost_by_restore, unexplained, said_at
-- FROM delivery JOIN machines USING (machine_id) ORDER BY waiting DESC NULLS LAST
