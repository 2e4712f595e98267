CREATE OR REPLACE VIEW v1.imports AS
SELECT import_id, source, file_name, content_hash, good_rows, refused_rows, imported_at, imported_by,
       withdrawn_at, withdrawn_by
FROM store.imported_file;

COMMENT ON VIEW v1.imports IS 'One row a file of measurements made elsewhere; none is ever deleted.';
COMMENT ON COLUMN v1.imports.import_id IS 'UUIDv7 of the import.';
COMMENT ON COLUMN v1.imports.source IS 'Where the measurements are from, as the admin named it.';
COMMENT ON COLUMN v1.imports.file_name IS 'Without folders.';
COMMENT ON COLUMN v1.imports.content_hash IS 'SHA-256 of the file, hex.';
COMMENT ON COLUMN v1.imports.good_rows IS 'Rows that were imported, a count.';
COMMENT ON COLUMN v1.imports.refused_rows IS 'Rows that were left out, a count.';
COMMENT ON COLUMN v1.imports.imported_at IS 'Collector''s clock.';
COMMENT ON COLUMN v1.imports.imported_by IS 'Label of the token that it was imported with.';
COMMENT ON COLUMN v1.imports.withdrawn_at IS 'When another file took its place, collector''s clock; NULL while it counts.';
COMMENT ON COLUMN v1.imports.withdrawn_by IS 'Label of the token of who replaced it.';

-- Example: What was imported, from where and by whom.
-- SELECT source, file_name, good_rows, imported_at, imported_by FROM imports
-- WHERE withdrawn_at IS NULL ORDER BY imported_at DESC
