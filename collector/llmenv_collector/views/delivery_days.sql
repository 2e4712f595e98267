CREATE OR REPLACE VIEW v1.delivery_days AS
WITH delays AS (
  SELECT machine_id, (received_at AT TIME ZONE 'UTC')::DATE AS day,
         greatest(0, epoch(received_at) - epoch(measured_at) - clock_offset_seconds) AS delay_seconds
  FROM store.record
), spread AS (
  SELECT machine_id, day, median(delay_seconds) AS median_delay_seconds, max(delay_seconds) AS highest_delay_seconds
  FROM delays GROUP BY machine_id, day
)
SELECT day.machine_id, day.day, day.stored, day.rejected, day.dropped, spread.median_delay_seconds,
       spread.highest_delay_seconds
FROM store.delivery_day AS day LEFT JOIN spread USING (machine_id, day);

COMMENT ON VIEW v1.delivery_days IS 'What arrived of each machine on each day.';
COMMENT ON COLUMN v1.delivery_days.machine_id IS 'Issued id of the machine.';
COMMENT ON COLUMN v1.delivery_days.day IS 'UTC, collector''s clock.';
COMMENT ON COLUMN v1.delivery_days.stored IS 'Records stored, a count.';
COMMENT ON COLUMN v1.delivery_days.rejected IS 'Records refused for good, a count.';
COMMENT ON COLUMN v1.delivery_days.dropped IS 'Sequences covered by tombstones that arrived, a count.';
COMMENT ON COLUMN v1.delivery_days.median_delay_seconds IS 'From the machine''s clock, its offset taken off, to the collector''s, seconds, at least 0; NULL when no row is held any more.';
COMMENT ON COLUMN v1.delivery_days.highest_delay_seconds IS 'The longest of them, seconds.';

-- Time: day
-- Example: How long records took on each of the last days.
-- SELECT day, hostname, delivery_days.stored, median_delay_seconds, highest_delay_seconds
-- FROM delivery_days JOIN machines USING (machine_id) ORDER BY day DESC, hostname
