-- What was decided and refused: a copy of the identity file's audit, to which rows
-- are added and nothing else.

CREATE TABLE store.audit (
  audit_no BIGINT NOT NULL,           -- of the identity file, rising
  happened_at TIMESTAMPTZ NOT NULL,   -- collector's clock
  action VARCHAR NOT NULL,
  subject VARCHAR NOT NULL,
  detail VARCHAR NOT NULL,
  actor VARCHAR NOT NULL,
  origin VARCHAR NOT NULL,
  outcome VARCHAR NOT NULL
);
