-- What is kept for a time and then removed, and what is kept of it for good.

ALTER TABLE store.measurement ADD COLUMN spread STRUCT( -- what is left of raw trials; NULL while they are there
  trials UINTEGER,                    -- how many there were
  warmups UINTEGER,
  variation DOUBLE,                   -- deviation as a share of the mean
  low DOUBLE,                         -- interval of the median, as shares of the value
  high DOUBLE
);
ALTER TABLE store.result ALTER COLUMN log_tail DROP NOT NULL; -- NULL: removed

CREATE TABLE store.retention (        -- one row a policy
  what VARCHAR NOT NULL,              -- trials, logs or refused
  keeps_seconds UBIGINT,              -- as it was last applied; NULL for ever
  removed_until TIMESTAMPTZ NOT NULL, -- what was received before is removed; collector's clock, as all times here
  removed UBIGINT NOT NULL,           -- measurements, results or refused records that lost something, so far
  applied_at TIMESTAMPTZ NOT NULL
);
