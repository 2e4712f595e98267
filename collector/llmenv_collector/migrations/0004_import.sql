-- Measurements made elsewhere.  They lie apart from what agents deliver: their
-- machines are not enrolled, and nothing of them was checked by us.

CREATE TABLE store.imported_file (    -- rows are never deleted
  import_id UUID NOT NULL,
  source VARCHAR NOT NULL,
  file_name VARCHAR NOT NULL,         -- without folders
  content_hash VARCHAR NOT NULL,      -- SHA-256 of the file, hex
  good_rows UBIGINT NOT NULL,
  refused_rows UBIGINT NOT NULL,
  imported_at TIMESTAMPTZ NOT NULL,   -- all times: collector's clock
  imported_by VARCHAR NOT NULL,       -- label of the token, else its id
  withdrawn_at TIMESTAMPTZ,           -- when another file took its place
  withdrawn_by VARCHAR
);

CREATE TABLE store.imported_measurement (
  import_id UUID NOT NULL,
  line UBIGINT NOT NULL,              -- of the file, the first is 1
  machine VARCHAR NOT NULL,
  chip VARCHAR NOT NULL,
  gpu_cores UINTEGER,
  memory_bytes UBIGINT,
  macos VARCHAR NOT NULL,             -- version; empty when not stated
  device VARCHAR NOT NULL,
  benchmark VARCHAR NOT NULL,
  case_name VARCHAR NOT NULL,         -- empty when the benchmark has none
  measurement VARCHAR NOT NULL,
  unit VARCHAR NOT NULL,
  value DOUBLE NOT NULL,
  direction INTEGER NOT NULL,         -- llmenv.fleet.v1.Direction
  trials DOUBLE[] NOT NULL,
  packages MAP(VARCHAR, VARCHAR) NOT NULL,
  measured_at TIMESTAMPTZ NOT NULL
);
