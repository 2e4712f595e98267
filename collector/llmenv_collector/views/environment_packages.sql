CREATE OR REPLACE VIEW v1.environment_packages AS
SELECT environment_id, name, version, origin FROM store.environment_package;

COMMENT ON VIEW v1.environment_packages IS 'The packages of each environment that was ever seen.';
COMMENT ON COLUMN v1.environment_packages.environment_id IS 'Key of environments and runs.';
COMMENT ON COLUMN v1.environment_packages.name IS 'Normalised by PEP 503.';
COMMENT ON COLUMN v1.environment_packages.version IS 'As the distribution states it.';
COMMENT ON COLUMN v1.environment_packages.origin IS '"environment", "user_site" or "pythonpath".';

-- Example: Which machine has which torch.
-- SELECT hostname, environments.name AS environment, package.version AS torch, seen_at
-- FROM environment_packages AS package
-- JOIN environments USING (environment_id)
-- JOIN machines USING (machine_id)
-- WHERE package.name = 'torch' ORDER BY hostname, environment
