CREATE OR REPLACE VIEW v1.environment_packages AS
SELECT environment_id, name, version, origin FROM store.environment_package;

COMMENT ON VIEW v1.environment_packages IS 'The packages of each environment that was ever seen.';
COMMENT ON COLUMN v1.environment_packages.environment_id IS 'Key of environments and runs.';
COMMENT ON COLUMN v1.environment_packages.name IS 'Normalised by PEP 503.';
COMMENT ON COLUMN v1.environment_packages.version IS 'As the distribution states it.';
COMMENT ON COLUMN v1.environment_packages.origin IS '"environment", "user_site" or "pythonpath".';
