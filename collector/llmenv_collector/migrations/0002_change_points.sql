-- When measurements changed, worked out after ingest from what is stored, so it
-- can be thrown away: whatever is missing is worked out again.
-- A history is what one check measured on one machine, environment and device
-- with the same parameters.

CREATE TABLE store.change_history (   -- how far each history was analysed
  machine_id UUID NOT NULL,
  environment_name VARCHAR NOT NULL,
  device VARCHAR NOT NULL,
  check_name VARCHAR NOT NULL,
  parameters_json VARCHAR NOT NULL,
  results UBIGINT NOT NULL,           -- of any verdict, when it was analysed
  received_until TIMESTAMPTZ NOT NULL, -- the last of them, collector's clock
  series UINTEGER NOT NULL,           -- measurements that were long enough to be judged
  analysed_at TIMESTAMPTZ NOT NULL    -- collector's clock
);

CREATE TABLE store.change_point (
  machine_id UUID NOT NULL,
  environment_name VARCHAR NOT NULL,
  device VARCHAR NOT NULL,
  check_name VARCHAR NOT NULL,
  parameters_json VARCHAR NOT NULL,
  case_name VARCHAR NOT NULL,
  measurement VARCHAR NOT NULL,
  unit VARCHAR NOT NULL,
  direction INTEGER NOT NULL,         -- llmenv.fleet.v1.Direction
  definition_hash VARCHAR NOT NULL,   -- after the change
  changed_at TIMESTAMPTZ NOT NULL,    -- start of the first run after it, machine's clock
  is_suspected BOOLEAN NOT NULL,      -- too young to be confirmed
  points UINTEGER NOT NULL,           -- results since then, up to the next change
  median_before DOUBLE NOT NULL,
  median_after DOUBLE NOT NULL,
  ratio_low DOUBLE NOT NULL,          -- interval of after / before, 95 %
  ratio_high DOUBLE NOT NULL,
  p_value DOUBLE NOT NULL,
  from_result_id UUID NOT NULL,       -- the change lies between these two
  to_result_id UUID NOT NULL
);
