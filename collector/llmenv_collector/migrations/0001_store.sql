-- Everything that agents deliver.  Ids are UUIDs; times are UTC; bytes, seconds
-- and counts as the contract says.  `record_id` names the record a row came from,
-- so that the rows of one record can be replaced when it is ingested again.
-- Run and result ids are the agents' own words: only together with `machine_id`
-- do they name something, so no machine adds to another one's run.
-- `sequence` orders rows as their spool did.  There are no keys: the single
-- writer compares sequences with the watermark inside each transaction.

CREATE TABLE store.watermark (
  spool_id UUID NOT NULL,
  machine_id UUID NOT NULL,
  sequence UBIGINT NOT NULL,          -- highest durable; = stored + rejected + dropped
  digest BLOB NOT NULL,               -- chained SHA-256 at `sequence`
  stored UBIGINT NOT NULL,
  rejected UBIGINT NOT NULL,
  dropped UBIGINT NOT NULL,
  repeated UBIGINT NOT NULL,          -- of `stored`: brought by another copy of the spool before
  previous_spool_id UUID,             -- when the spool continues a copied one
  previous_answered UBIGINT NOT NULL, -- of that one: sequences up to where this one begins
  first_received_at TIMESTAMPTZ NOT NULL,
  last_received_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE store.spool_ledger (     -- as the agent last said
  spool_id UUID NOT NULL,
  machine_id UUID NOT NULL,
  minted UBIGINT NOT NULL,
  stored UBIGINT NOT NULL,
  rejected UBIGINT NOT NULL,
  waiting UBIGINT NOT NULL,
  dropped UBIGINT NOT NULL,
  said_at TIMESTAMPTZ NOT NULL        -- collector's clock
);

CREATE TABLE store.delivery_day (     -- totals, so that they outlive the rows
  machine_id UUID NOT NULL,
  day DATE NOT NULL,                  -- UTC, collector's clock
  stored UBIGINT NOT NULL,
  rejected UBIGINT NOT NULL,
  dropped UBIGINT NOT NULL
);

CREATE TABLE store.record (           -- one row for each record stored
  record_id UUID NOT NULL,
  spool_id UUID NOT NULL,
  sequence UBIGINT NOT NULL,
  kind VARCHAR NOT NULL,
  machine_id UUID NOT NULL,
  measured_at TIMESTAMPTZ,            -- machine's clock
  clock_offset_seconds DOUBLE NOT NULL,
  received_at TIMESTAMPTZ NOT NULL    -- collector's clock
);

CREATE TABLE store.record_raw (       -- what this collector does not wholly understand
  record_id UUID NOT NULL,
  spool_id UUID NOT NULL,
  sequence UBIGINT NOT NULL,
  machine_id UUID NOT NULL,
  protocol_revision UINTEGER NOT NULL,
  record BLOB NOT NULL,
  received_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE store.rejection (
  spool_id UUID NOT NULL,
  sequence UBIGINT NOT NULL,
  record_id VARCHAR NOT NULL,         -- as the agent wrote it; it may be no UUID
  machine_id UUID NOT NULL,
  reason VARCHAR NOT NULL,
  record BLOB NOT NULL,
  received_at TIMESTAMPTZ NOT NULL,
  confirmed_at TIMESTAMPTZ            -- the agent has put it among its dead letters
);

CREATE TABLE store.tombstone (
  record_id UUID NOT NULL,
  spool_id UUID NOT NULL,
  machine_id UUID NOT NULL,
  first_sequence UBIGINT NOT NULL,
  last_sequence UBIGINT NOT NULL,
  dropped_records UBIGINT NOT NULL,
  reason VARCHAR NOT NULL
);

CREATE TABLE store.machine (          -- facts as last seen
  machine_id UUID NOT NULL,
  hostname VARCHAR NOT NULL,
  chip VARCHAR NOT NULL,
  model_identifier VARCHAR NOT NULL,
  model_name VARCHAR NOT NULL,
  gpu_cores UINTEGER,
  memory_bytes UBIGINT,
  os_name VARCHAR NOT NULL,
  os_version VARCHAR NOT NULL,
  os_build VARCHAR NOT NULL,
  architecture VARCHAR NOT NULL,
  is_apple_silicon BOOLEAN NOT NULL,
  message BLOB NOT NULL               -- Machine, serialised, whole
);

CREATE TABLE store.machine_sighting ( -- one row a machine, moved on
  machine_id UUID NOT NULL,
  enrolled_at TIMESTAMPTZ,
  last_seen_at TIMESTAMPTZ,
  agent_version VARCHAR NOT NULL,
  doubled_at TIMESTAMPTZ              -- two agents with its identity were last at work at once
);

CREATE TABLE store.environment (      -- content-addressed
  environment_id VARCHAR NOT NULL,    -- SHA-256 over interpreter and packages, 16 hex digits
  python_version VARCHAR NOT NULL,
  python_implementation VARCHAR NOT NULL,
  python_architecture VARCHAR NOT NULL
);

CREATE TABLE store.environment_package (
  environment_id VARCHAR NOT NULL,
  position UINTEGER NOT NULL,
  name VARCHAR NOT NULL,
  version VARCHAR NOT NULL,
  origin VARCHAR NOT NULL
);

CREATE TABLE store.environment_sighting ( -- where an environment was seen
  record_id UUID NOT NULL,
  machine_id UUID NOT NULL,
  environment_id VARCHAR NOT NULL,
  environment_hash VARCHAR NOT NULL,  -- as the agent states it
  name VARCHAR NOT NULL,
  kind VARCHAR NOT NULL,
  python_path VARCHAR NOT NULL,
  measured_at TIMESTAMPTZ
);

CREATE TABLE store.run (
  record_id UUID NOT NULL,
  run_id UUID NOT NULL,
  machine_id UUID NOT NULL,
  environment_id VARCHAR NOT NULL,
  environment_name VARCHAR NOT NULL,
  suite VARCHAR NOT NULL,
  suite_version VARCHAR NOT NULL,
  run_trigger VARCHAR NOT NULL,
  device VARCHAR NOT NULL,
  started_at TIMESTAMPTZ,
  agent_version VARCHAR NOT NULL,
  hostname VARCHAR NOT NULL,          -- facts of the machine at the start
  chip VARCHAR NOT NULL,
  gpu_cores UINTEGER,
  memory_bytes UBIGINT,
  os_name VARCHAR NOT NULL,
  os_version VARCHAR NOT NULL,
  os_build VARCHAR NOT NULL,
  is_apple_silicon BOOLEAN NOT NULL,
  message BLOB NOT NULL               -- Run, serialised, without its packages and results
);

CREATE TABLE store.run_end (
  record_id UUID NOT NULL,
  run_id UUID NOT NULL,
  machine_id UUID NOT NULL,
  outcome INTEGER NOT NULL,           -- llmenv.fleet.v1.RunOutcome
  ended_at TIMESTAMPTZ,
  wall_seconds DOUBLE NOT NULL,
  message BLOB NOT NULL               -- RunFinished, serialised, whole
);

CREATE TABLE store.check_start (
  record_id UUID NOT NULL,
  run_id UUID NOT NULL,
  result_id UUID NOT NULL,
  machine_id UUID NOT NULL,
  check_name VARCHAR NOT NULL,
  timeout_seconds DOUBLE NOT NULL,
  measured_at TIMESTAMPTZ
);

CREATE TABLE store.result (
  record_id UUID NOT NULL,
  sequence UBIGINT NOT NULL,
  run_id UUID NOT NULL,
  result_id UUID NOT NULL,
  machine_id UUID NOT NULL,
  check_name VARCHAR NOT NULL,
  definition_hash VARCHAR NOT NULL,
  parameters_json VARCHAR NOT NULL,
  device VARCHAR NOT NULL,
  status VARCHAR NOT NULL,            -- one of the words of status
  reason VARCHAR NOT NULL,
  cause VARCHAR NOT NULL,             -- the reason with names in place of values
  remedy_id VARCHAR NOT NULL,
  seed UINTEGER NOT NULL,             -- of every random number that the check drew
  error_type VARCHAR NOT NULL,
  error_missing VARCHAR NOT NULL,
  exit_code INTEGER,
  signal_number INTEGER,
  process_peak_bytes DOUBLE,
  accelerator_allocated_bytes DOUBLE,
  accelerator_driver_bytes DOUBLE,
  import_seconds DOUBLE NOT NULL,
  run_seconds DOUBLE NOT NULL,
  wall_seconds DOUBLE NOT NULL,
  started_at TIMESTAMPTZ,
  measurements_withheld VARCHAR NOT NULL, -- why they were left out; empty where they stand
  log_tail VARCHAR NOT NULL,
  message BLOB NOT NULL               -- Result, serialised, without cases, remedy_trials and log_tail
);

CREATE TABLE store.result_case (
  record_id UUID NOT NULL,
  sequence UBIGINT NOT NULL,
  position UINTEGER NOT NULL,
  run_id UUID NOT NULL,
  result_id UUID NOT NULL,
  machine_id UUID NOT NULL,
  name VARCHAR NOT NULL,
  parameters_json VARCHAR NOT NULL,
  status VARCHAR NOT NULL,
  reason VARCHAR NOT NULL,
  remedy_id VARCHAR NOT NULL,
  duration_seconds DOUBLE NOT NULL,
  message BLOB NOT NULL               -- Case, serialised, whole
);

CREATE TABLE store.expectation (
  record_id UUID NOT NULL,
  result_id UUID NOT NULL,
  machine_id UUID NOT NULL,
  name VARCHAR NOT NULL,
  met BOOLEAN NOT NULL,
  expected VARCHAR NOT NULL,
  observed VARCHAR NOT NULL,
  source VARCHAR NOT NULL
);

CREATE TABLE store.measurement (
  record_id UUID NOT NULL,
  result_id UUID NOT NULL,
  machine_id UUID NOT NULL,
  case_name VARCHAR,                  -- NULL when the whole check measured it
  name VARCHAR NOT NULL,
  unit VARCHAR NOT NULL,
  value DOUBLE NOT NULL,
  direction INTEGER NOT NULL,         -- llmenv.fleet.v1.Direction
  trials DOUBLE[] NOT NULL,
  warmups DOUBLE[] NOT NULL,
  stability VARCHAR                   -- stable, unstable or declining; NULL when not judged
);

CREATE TABLE store.result_variable (  -- environment of the check's process: the agent's allow-list, no secrets
  record_id UUID NOT NULL,
  result_id UUID NOT NULL,
  machine_id UUID NOT NULL,
  name VARCHAR NOT NULL,
  value VARCHAR NOT NULL
);

CREATE TABLE store.remedy_trial (     -- the check again, with what a remedy changes
  record_id UUID NOT NULL,
  sequence UBIGINT NOT NULL,
  position UINTEGER NOT NULL,         -- within its record
  run_id UUID NOT NULL,
  result_id UUID NOT NULL,
  machine_id UUID NOT NULL,
  remedy_id VARCHAR NOT NULL,
  environment_variables MAP(VARCHAR, VARCHAR) NOT NULL,
  device VARCHAR NOT NULL,
  status VARCHAR NOT NULL,
  reason VARCHAR NOT NULL,
  case_names VARCHAR[] NOT NULL,      -- empty when the whole check was run again
  wall_seconds DOUBLE NOT NULL,
  message BLOB NOT NULL               -- RemedyTrial, serialised, whole
);

CREATE TABLE store.fact (
  record_id UUID NOT NULL,
  result_id UUID NOT NULL,
  machine_id UUID NOT NULL,
  case_name VARCHAR,
  name VARCHAR NOT NULL,
  text VARCHAR,                       -- exactly one of text, number and flag
  number DOUBLE,
  flag BOOLEAN,
  unit VARCHAR NOT NULL
);

CREATE TABLE store.condition (
  record_id UUID NOT NULL,
  result_id UUID NOT NULL,
  machine_id UUID NOT NULL,
  moment VARCHAR NOT NULL,            -- before or after
  power_source VARCHAR NOT NULL,
  low_power_mode BOOLEAN,
  thermal_pressure VARCHAR NOT NULL,
  memory_pressure VARCHAR NOT NULL,
  available_memory_bytes UBIGINT,
  swap_used_bytes UBIGINT,
  load_1m DOUBLE,
  uptime_seconds DOUBLE,
  session_type VARCHAR NOT NULL,
  free_disk_bytes UBIGINT,
  other_gpu_processes UINTEGER
);

CREATE TABLE store.suite_wait (       -- a suite that was due had to wait for an idle machine
  record_id UUID NOT NULL,
  machine_id UUID NOT NULL,
  suite VARCHAR NOT NULL,
  due_at TIMESTAMPTZ,                 -- machine's clock
  waited_seconds DOUBLE NOT NULL,
  reason VARCHAR NOT NULL,
  is_given_up BOOLEAN NOT NULL,
  measured_at TIMESTAMPTZ
);

CREATE TABLE store.quarantine_change ( -- a check is left out of suites, or let in again
  record_id UUID NOT NULL,
  sequence UBIGINT NOT NULL,
  machine_id UUID NOT NULL,
  check_name VARCHAR NOT NULL,
  environment_name VARCHAR NOT NULL,
  is_quarantined BOOLEAN NOT NULL,
  reason VARCHAR NOT NULL,
  until TIMESTAMPTZ,
  measured_at TIMESTAMPTZ
);

CREATE TABLE store.command_outcome (
  record_id UUID NOT NULL,
  command_id UUID NOT NULL,
  machine_id UUID NOT NULL,
  state VARCHAR NOT NULL,
  run_id UUID,
  reason VARCHAR NOT NULL,
  measured_at TIMESTAMPTZ
);

CREATE TABLE store.command (          -- what machines are told to do
  command_id UUID NOT NULL,
  batch_id UUID NOT NULL,             -- of those issued in one go
  machine_id UUID NOT NULL,
  cancel_id UUID NOT NULL,            -- id of the command that would take this one back
  suite VARCHAR NOT NULL,             -- empty where checks are named
  checks VARCHAR[] NOT NULL,
  message BLOB NOT NULL,              -- RunChecks, serialised, whole
  issued_at TIMESTAMPTZ NOT NULL,     -- all times: collector's clock
  issued_by VARCHAR NOT NULL,         -- label of the token, else its id
  expires_at TIMESTAMPTZ NOT NULL,
  handed_down_at TIMESTAMPTZ,         -- the first time; NULL while nobody was told
  cancelled_at TIMESTAMPTZ,
  cancelled_by VARCHAR
);

CREATE TABLE store.machine_label (    -- a copy: identity.db has the original
  machine_id UUID NOT NULL,
  key VARCHAR NOT NULL,
  value VARCHAR NOT NULL
);
