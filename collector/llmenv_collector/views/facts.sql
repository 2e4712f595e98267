CREATE OR REPLACE VIEW v1.facts AS
SELECT result_id, machine_id, case_name, name, text, number, flag, unit FROM store.fact;

COMMENT ON VIEW v1.facts IS 'What was observed and is no measurement to compare.';
COMMENT ON COLUMN v1.facts.result_id IS 'Key of results, with machine_id.';
COMMENT ON COLUMN v1.facts.machine_id IS 'Issued id of the machine.';
COMMENT ON COLUMN v1.facts.case_name IS 'NULL when the whole check observed it.';
COMMENT ON COLUMN v1.facts.name IS 'Such as "weights_source".';
COMMENT ON COLUMN v1.facts.text IS 'Its value when it is words.';
COMMENT ON COLUMN v1.facts.number IS 'Its value when it is a number. [unit]';
COMMENT ON COLUMN v1.facts.flag IS 'Its value when it is yes or no.';
COMMENT ON COLUMN v1.facts.unit IS 'Of number; empty where the name says it.';

-- Time: results.started_at
-- Example: Where the weights of language models came from.
-- SELECT check_name, text AS weights_source, count(*) AS results
-- FROM facts JOIN results USING (machine_id, result_id)
-- WHERE name = 'weights_source' GROUP BY ALL ORDER BY ALL
