CREATE OR REPLACE VIEW v1.result_variables AS
SELECT result_id, machine_id, name, value FROM store.result_variable;

COMMENT ON VIEW v1.result_variables IS 'Environment variables that can change what a check observes, as its process had them; never secrets.';
COMMENT ON COLUMN v1.result_variables.result_id IS 'Key of results, with machine_id.';
COMMENT ON COLUMN v1.result_variables.machine_id IS 'Issued id of the machine.';
COMMENT ON COLUMN v1.result_variables.name IS 'Such as "PYTORCH_ENABLE_MPS_FALLBACK".';
COMMENT ON COLUMN v1.result_variables.value IS 'As it was set.';

-- Time: results.started_at
-- Example: Which variables are set differently on different machines.
-- SELECT name, value, count(DISTINCT machine_id) AS machines, count(*) AS results
-- FROM result_variables
-- WHERE name IN (SELECT name FROM result_variables GROUP BY name HAVING count(DISTINCT value) > 1)
-- GROUP BY ALL ORDER BY name, machines DESC, value
