CREATE OR REPLACE VIEW v1.environment_sightings AS
SELECT record_id, machine_id, name, environment_id, environment_hash, kind, python_path, measured_at AS seen_at,
       python_version, python_implementation, python_architecture
FROM store.environment_sighting JOIN store.environment USING (environment_id);

COMMENT ON VIEW v1.environment_sightings IS 'Every time that an environment of a machine was found changed: what it held, and since when.';
COMMENT ON COLUMN v1.environment_sightings.record_id IS 'Key of records.';
COMMENT ON COLUMN v1.environment_sightings.machine_id IS 'Issued id of the machine.';
COMMENT ON COLUMN v1.environment_sightings.name IS 'Name in the agent''s configuration.';
COMMENT ON COLUMN v1.environment_sightings.environment_id IS 'Key of environment_packages: equal for equal interpreters and packages.';
COMMENT ON COLUMN v1.environment_sightings.environment_hash IS 'The same thing as the agent states it.';
COMMENT ON COLUMN v1.environment_sightings.kind IS '"venv", "conda", "uv" or "system".';
COMMENT ON COLUMN v1.environment_sightings.python_path IS 'Path of the interpreter on its machine.';
COMMENT ON COLUMN v1.environment_sightings.seen_at IS 'Machine''s clock.';
COMMENT ON COLUMN v1.environment_sightings.python_version IS 'Such as "3.11.7".';
COMMENT ON COLUMN v1.environment_sightings.python_implementation IS 'Such as "CPython".';
COMMENT ON COLUMN v1.environment_sightings.python_architecture IS '"x86_64" on Apple Silicon means Rosetta.';

-- Time: seen_at
-- Example: When each machine got which torch.
-- SELECT hostname, sighting.name AS environment, package.version AS torch, min(seen_at) AS since
-- FROM environment_sightings AS sighting JOIN machines USING (machine_id)
-- JOIN environment_packages AS package USING (environment_id)
-- WHERE package.name = 'torch' GROUP BY ALL ORDER BY hostname, environment, since
