-- What machines run at set times by the collector's word, what each makes of
-- it, and which runs it led to.

ALTER TABLE store.run ADD COLUMN schedule_name VARCHAR;  -- empty where none started it, NULL before this step
ALTER TABLE store.run ADD COLUMN schedule_id UUID;       -- NULL for one of the machine's own configuration
ALTER TABLE store.suite_wait ADD COLUMN schedule_name VARCHAR; -- as in store.run

CREATE TABLE store.schedule_change (  -- a machine goes by a schedule, or does no longer
  record_id UUID NOT NULL,
  sequence UBIGINT NOT NULL,
  machine_id UUID NOT NULL,
  schedule_id UUID NOT NULL,
  schedule_name VARCHAR NOT NULL,
  state VARCHAR NOT NULL,             -- llmenv.fleet.v1.ScheduleChange.State, in lower case
  reason VARCHAR NOT NULL,
  measured_at TIMESTAMPTZ
);

CREATE TABLE store.schedule (         -- a copy for SQL: the schedules themselves are kept with identity
  schedule_id UUID NOT NULL,
  name VARCHAR NOT NULL,
  suite VARCHAR NOT NULL,             -- empty where checks are named
  checks VARCHAR[] NOT NULL,
  targets VARCHAR[] NOT NULL,
  device VARCHAR NOT NULL,
  parameters_json VARCHAR NOT NULL,
  regardless_of_use BOOLEAN NOT NULL,
  every_seconds DOUBLE,               -- NULL where times of day are given
  cron VARCHAR,                       -- NULL where an interval is given
  splay_seconds DOUBLE NOT NULL,
  machine_ids UUID[] NOT NULL,        -- whom it is for: all of what is given narrows
  labels VARCHAR[] NOT NULL,
  condition VARCHAR NOT NULL,
  is_for_all BOOLEAN NOT NULL,
  set_at TIMESTAMPTZ NOT NULL,        -- collector's clock, as removed_at
  set_by VARCHAR NOT NULL,            -- label of the token, else its id
  removed_at TIMESTAMPTZ,             -- also when another wording took its place
  removed_by VARCHAR
);
