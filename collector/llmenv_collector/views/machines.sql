CREATE OR REPLACE VIEW v1.machines AS
SELECT sighting.machine_id, machine.hostname, machine.chip, machine.model_identifier, machine.model_name,
       machine.gpu_cores, machine.memory_bytes, machine.os_name, machine.os_version, machine.os_build,
       machine.architecture, machine.is_apple_silicon, sighting.agent_version, sighting.enrolled_at,
       sighting.last_seen_at, coalesce(label.labels, MAP {}) AS labels, sighting.doubled_at
FROM store.machine_sighting AS sighting LEFT JOIN store.machine AS machine USING (machine_id)
LEFT JOIN (
  SELECT machine_id, map_from_entries(list((key, value) ORDER BY key)) AS labels
  FROM store.machine_label GROUP BY machine_id
) AS label USING (machine_id);

COMMENT ON VIEW v1.machines IS 'One row a machine, with its facts as last seen.';
COMMENT ON COLUMN v1.machines.machine_id IS 'Issued id, UUIDv7.';
COMMENT ON COLUMN v1.machines.hostname IS 'A label, not an identity.';
COMMENT ON COLUMN v1.machines.chip IS 'Such as "Apple M2 Ultra".';
COMMENT ON COLUMN v1.machines.model_identifier IS 'Such as "Mac14,14".';
COMMENT ON COLUMN v1.machines.model_name IS 'Such as "Mac Studio".';
COMMENT ON COLUMN v1.machines.gpu_cores IS 'A count; NULL where it could not be read.';
COMMENT ON COLUMN v1.machines.memory_bytes IS 'Physical memory, bytes.';
COMMENT ON COLUMN v1.machines.os_name IS '"macOS" or "Linux".';
COMMENT ON COLUMN v1.machines.os_version IS 'Such as "26.2".';
COMMENT ON COLUMN v1.machines.os_build IS 'Such as "25C56".';
COMMENT ON COLUMN v1.machines.architecture IS '"arm64" or "x86_64".';
COMMENT ON COLUMN v1.machines.is_apple_silicon IS 'Whether the device must be mps.';
COMMENT ON COLUMN v1.machines.agent_version IS 'Version of llmenv-agent, as last said.';
COMMENT ON COLUMN v1.machines.enrolled_at IS 'When its certificate was first issued.';
COMMENT ON COLUMN v1.machines.last_seen_at IS 'Last message of any kind, collector''s clock.';
COMMENT ON COLUMN v1.machines.doubled_at IS 'When two agents with its identity were last at work at once, as two copies of one disk are; NULL for never.';
COMMENT ON COLUMN v1.machines.labels IS 'What people say of it: `labels[''room'']` is NULL where there is none.';

-- Example: Machines, the longest silent first.
-- SELECT hostname, chip, memory_bytes / 2**30 AS memory_gib, os_version, os_build, last_seen_at
-- FROM machines ORDER BY last_seen_at
