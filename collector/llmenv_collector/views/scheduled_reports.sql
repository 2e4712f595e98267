CREATE OR REPLACE VIEW v1.scheduled_reports AS
SELECT name, due_at, ended_at, is_made, outcome FROM store.scheduled_report;

COMMENT ON VIEW v1.scheduled_reports IS 'One row each time that a report of collector.toml was due and tried.';
COMMENT ON COLUMN v1.scheduled_reports.name IS 'Name in collector.toml.';
COMMENT ON COLUMN v1.scheduled_reports.due_at IS 'Collector''s clock; of several that were missed, the first.';
COMMENT ON COLUMN v1.scheduled_reports.ended_at IS 'Collector''s clock.';
COMMENT ON COLUMN v1.scheduled_reports.is_made IS 'Whether there is a report.';
COMMENT ON COLUMN v1.scheduled_reports.outcome IS 'Where it is, or why there is none.';

-- Example: When each report was last made, and what became of it.
-- SELECT name, max(due_at) AS due_at, arg_max(outcome, due_at) AS outcome
-- FROM scheduled_reports GROUP BY name
