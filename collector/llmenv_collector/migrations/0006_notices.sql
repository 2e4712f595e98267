-- What became different, and whom it was told.  Rows are never deleted.

CREATE TABLE store.notice_watch (     -- one row, from the first look on
  looked_until TIMESTAMPTZ NOT NULL   -- what was received before is looked at, collector's clock
);

CREATE TABLE store.state_change (
  change_id UUID NOT NULL,            -- of what changed and the evidence: found again, it has the same
  kind VARCHAR NOT NULL,              -- check_failing, check_recovered, machine_silent, machine_returned, regression
  machine_id UUID NOT NULL,
  environment_name VARCHAR NOT NULL,  -- empty where it is the machine's
  device VARCHAR NOT NULL,
  check_name VARCHAR NOT NULL,
  series VARCHAR NOT NULL,            -- JSON: parameters, case and measurement; empty where it is no measurement
  began_at TIMESTAMPTZ NOT NULL,      -- machine's clock
  sequence UBIGINT NOT NULL,          -- of the result with which it began; 0 where there is none
  status VARCHAR NOT NULL,
  former_status VARCHAR NOT NULL,
  cause VARCHAR NOT NULL,
  remedy_id VARCHAR NOT NULL,
  reason BLOB NOT NULL,               -- Sentence, serialised
  detail_json VARCHAR NOT NULL,       -- figures of its kind
  noticed_at TIMESTAMPTZ NOT NULL,    -- collector's clock
  fate VARCHAR NOT NULL,              -- waiting, told, overtaken, known
  muted_by UUID,                      -- the mute or acknowledgement for which it waits
  notice_id UUID,
  times_changed UINTEGER NOT NULL     -- since something was told before, when it was told
);

CREATE TABLE store.notice (
  notice_id UUID NOT NULL,
  kind VARCHAR NOT NULL,              -- as of its changes, or report
  group_key VARCHAR NOT NULL,         -- equal for one cause
  made_at TIMESTAMPTZ NOT NULL,       -- all times from here on: collector's clock
  changes UINTEGER NOT NULL,
  subject VARCHAR NOT NULL,           -- name of the report; else empty
  content BLOB                        -- of a report, until it is delivered
);

CREATE TABLE store.notice_delivery (  -- one row a notice and webhook
  notice_id UUID NOT NULL,
  webhook VARCHAR NOT NULL,           -- name in collector.toml
  state VARCHAR NOT NULL,             -- waiting, delivered, told_before, given_up
  attempts UINTEGER NOT NULL,
  next_attempt_at TIMESTAMPTZ NOT NULL,
  last_attempt_at TIMESTAMPTZ,
  outcome VARCHAR NOT NULL            -- of the last attempt
);

CREATE TABLE store.notice_mute (
  mute_id UUID NOT NULL,
  machine_ids UUID[] NOT NULL,        -- empty for all
  check_name VARCHAR NOT NULL,        -- empty for all
  kind VARCHAR NOT NULL,              -- empty for all
  reason VARCHAR NOT NULL,
  muted_at TIMESTAMPTZ NOT NULL,
  muted_by VARCHAR NOT NULL,          -- label of the token, else its id
  expires_at TIMESTAMPTZ NOT NULL,
  withdrawn_at TIMESTAMPTZ,
  withdrawn_by VARCHAR
);

CREATE TABLE store.scheduled_report ( -- one row a time at which a report was made
  name VARCHAR NOT NULL,              -- in collector.toml
  due_at TIMESTAMPTZ NOT NULL,
  ended_at TIMESTAMPTZ NOT NULL,
  is_made BOOLEAN NOT NULL,
  outcome VARCHAR NOT NULL            -- where it is, or why there is none
);
