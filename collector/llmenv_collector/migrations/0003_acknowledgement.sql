-- Findings that somebody took note of.  Rows are never deleted: an expired or a
-- withdrawn one counts no more, and still says who let what stand, and why.

CREATE TABLE store.acknowledgement (
  acknowledgement_id UUID NOT NULL,
  check_name VARCHAR NOT NULL,
  statuses VARCHAR[] NOT NULL,        -- words of status that it holds for
  remedy_id VARCHAR,                  -- NULL: whatever the remedy
  cause VARCHAR,                      -- NULL: every cause with the remedy
  finding BLOB NOT NULL,              -- Sentence, serialised: what the newest result said then
  machine_ids UUID[] NOT NULL,        -- that it is confined to; empty for all
  reason VARCHAR NOT NULL,
  acknowledged_at TIMESTAMPTZ NOT NULL, -- all times: collector's clock
  acknowledged_by VARCHAR NOT NULL,   -- label of the token, else its id
  expires_at TIMESTAMPTZ NOT NULL,
  withdrawn_at TIMESTAMPTZ,
  withdrawn_by VARCHAR
);
