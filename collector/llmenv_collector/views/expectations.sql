CREATE OR REPLACE VIEW v1.expectations AS
SELECT result_id, machine_id, name, met, expected, observed, source FROM store.expectation;

COMMENT ON VIEW v1.expectations IS 'What each check required, with what it saw.';
COMMENT ON COLUMN v1.expectations.result_id IS 'Key of results, with machine_id.';
COMMENT ON COLUMN v1.expectations.machine_id IS 'Issued id of the machine.';
COMMENT ON COLUMN v1.expectations.name IS 'Such as "loss_falls".';
COMMENT ON COLUMN v1.expectations.met IS 'Whether what was observed satisfies what was expected.';
COMMENT ON COLUMN v1.expectations.expected IS 'What had to be.';
COMMENT ON COLUMN v1.expectations.observed IS 'What was.';
COMMENT ON COLUMN v1.expectations.source IS 'Where the bound comes from; may be empty.';

-- Time: results.started_at
-- Example: What was required and not met.
-- SELECT check_name, name, expected, observed, source, count(*) AS results
-- FROM expectations JOIN results USING (machine_id, result_id)
-- WHERE NOT met GROUP BY ALL ORDER BY results DESC
