CREATE OR REPLACE VIEW v1.imported_measurements AS
SELECT file.source, file.import_id, file.file_name, row.line, row.machine, row.chip, row.gpu_cores,
       row.memory_bytes, row.macos, row.device, row.benchmark AS check_name,
       'import:' || file.source AS definition_hash, row.case_name, row.measurement, row.unit, row.value,
       CASE row.direction WHEN 1 THEN 'higher' WHEN 2 THEN 'lower' END AS better, row.trials, row.packages,
       row.measured_at, file.imported_at, file.withdrawn_at
FROM store.imported_measurement AS row JOIN store.imported_file AS file USING (import_id);

COMMENT ON VIEW v1.imported_measurements IS 'One row a measurement made elsewhere; every other view holds only what our checks measured.';
COMMENT ON COLUMN v1.imported_measurements.source IS 'Where it is from, as the admin named it.';
COMMENT ON COLUMN v1.imported_measurements.import_id IS 'UUIDv7 of the import, as in imports.';
COMMENT ON COLUMN v1.imported_measurements.file_name IS 'Of the file that it came in.';
COMMENT ON COLUMN v1.imported_measurements.line IS 'Of that file, the first is 1.';
COMMENT ON COLUMN v1.imported_measurements.machine IS 'As the file names it; it is not enrolled here.';
COMMENT ON COLUMN v1.imported_measurements.chip IS 'Such as "Apple M2 Ultra".';
COMMENT ON COLUMN v1.imported_measurements.gpu_cores IS 'A count; NULL when not stated.';
COMMENT ON COLUMN v1.imported_measurements.memory_bytes IS 'Physical memory, bytes; NULL when not stated.';
COMMENT ON COLUMN v1.imported_measurements.macos IS 'Version; empty when not stated.';
COMMENT ON COLUMN v1.imported_measurements.device IS '"mps" (the GPU of a Mac), "cuda" or "cpu".';
COMMENT ON COLUMN v1.imported_measurements.check_name IS 'The benchmark: it stands where a check of ours has its name.';
COMMENT ON COLUMN v1.imported_measurements.definition_hash IS '"import:" and the source: never that of a check of ours.';
COMMENT ON COLUMN v1.imported_measurements.case_name IS 'Such as a model or size; empty when the benchmark has none.';
COMMENT ON COLUMN v1.imported_measurements.measurement IS 'What was measured.';
COMMENT ON COLUMN v1.imported_measurements.unit IS 'Unit of the value.';
COMMENT ON COLUMN v1.imported_measurements.value IS 'In that unit. [unit]';
COMMENT ON COLUMN v1.imported_measurements.better IS '"higher" or "lower".';
COMMENT ON COLUMN v1.imported_measurements.trials IS 'Raw values where the file has them, else empty. [unit]';
COMMENT ON COLUMN v1.imported_measurements.packages IS 'Version by name of package, where the file states them.';
COMMENT ON COLUMN v1.imported_measurements.measured_at IS 'As the file states.';
COMMENT ON COLUMN v1.imported_measurements.imported_at IS 'Collector''s clock.';
COMMENT ON COLUMN v1.imported_measurements.withdrawn_at IS 'When another file took its place; NULL while it counts.';

-- Example: A public table by chip.
-- SELECT source, check_name, case_name, measurement, unit, chip, gpu_cores, median(value) AS median
-- FROM imported_measurements WHERE withdrawn_at IS NULL GROUP BY ALL ORDER BY ALL
