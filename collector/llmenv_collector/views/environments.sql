CREATE OR REPLACE VIEW v1.environments AS
SELECT sighting.machine_id, sighting.name, sighting.environment_id, sighting.environment_hash, sighting.kind,
       sighting.python_path, environment.python_version, environment.python_implementation,
       environment.python_architecture, sighting.measured_at AS seen_at
FROM store.environment_sighting AS sighting
JOIN store.environment AS environment USING (environment_id)
QUALIFY row_number() OVER (
  PARTITION BY sighting.machine_id, sighting.name ORDER BY sighting.measured_at DESC, sighting.record_id DESC
) = 1;

COMMENT ON VIEW v1.environments IS 'The environments of each machine as last seen.';
COMMENT ON COLUMN v1.environments.machine_id IS 'Issued id of the machine.';
COMMENT ON COLUMN v1.environments.name IS 'Name in the agent''s configuration.';
COMMENT ON COLUMN v1.environments.environment_id IS 'Key of environment_packages: equal for equal interpreters and packages.';
COMMENT ON COLUMN v1.environments.environment_hash IS 'The same thing as the agent states it.';
COMMENT ON COLUMN v1.environments.kind IS '"venv", "conda", "uv" or "system".';
COMMENT ON COLUMN v1.environments.python_path IS 'Path of the interpreter on its machine.';
COMMENT ON COLUMN v1.environments.python_version IS 'Such as "3.11.7".';
COMMENT ON COLUMN v1.environments.python_implementation IS 'Such as "CPython".';
COMMENT ON COLUMN v1.environments.python_architecture IS '"x86_64" on Apple Silicon means Rosetta.';
COMMENT ON COLUMN v1.environments.seen_at IS 'Machine''s clock.';

-- Example: Versions of Python that are in use.
-- SELECT python_version, python_architecture, count(*) AS environments, count(DISTINCT machine_id) AS machines
-- FROM environments GROUP BY ALL ORDER BY python_version
