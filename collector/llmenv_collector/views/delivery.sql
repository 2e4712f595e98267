CREATE OR REPLACE VIEW v1.delivery AS
SELECT watermark.spool_id, watermark.machine_id, watermark.sequence AS watermark, watermark.stored,
       watermark.rejected, watermark.dropped, ledger.minted, ledger.waiting, ledger.said_at AS minted_as_of,
       watermark.first_received_at, watermark.last_received_at, watermark.previous_spool_id
FROM store.watermark AS watermark LEFT JOIN store.spool_ledger AS ledger USING (spool_id);

COMMENT ON VIEW v1.delivery IS 'The ledger of each spool: watermark = stored + rejected + dropped.';
COMMENT ON COLUMN v1.delivery.spool_id IS 'UUIDv7 of the spool.';
COMMENT ON COLUMN v1.delivery.machine_id IS 'Issued id of its machine.';
COMMENT ON COLUMN v1.delivery.watermark IS 'Highest sequence that is durable here.';
COMMENT ON COLUMN v1.delivery.stored IS 'Records stored, a count; one that a forked spool delivers again counts again.';
COMMENT ON COLUMN v1.delivery.rejected IS 'Records refused for good, a count.';
COMMENT ON COLUMN v1.delivery.dropped IS 'Sequences covered by tombstones, a count.';
COMMENT ON COLUMN v1.delivery.minted IS 'Sequences ever given out, as the agent last said, a count.';
COMMENT ON COLUMN v1.delivery.waiting IS 'Never acknowledged, as the agent last said, a count.';
COMMENT ON COLUMN v1.delivery.minted_as_of IS 'When the agent said so, collector''s clock.';
COMMENT ON COLUMN v1.delivery.first_received_at IS 'Collector''s clock.';
COMMENT ON COLUMN v1.delivery.last_received_at IS 'Collector''s clock.';
COMMENT ON COLUMN v1.delivery.previous_spool_id IS 'When it continues a spool that was copied.';

-- Example: The ledger by machine, the most waiting records first.
-- SELECT hostname, minted, delivery.stored, rejected, waiting, dropped, minted_as_of
-- FROM delivery JOIN machines USING (machine_id) ORDER BY waiting DESC NULLS LAST
