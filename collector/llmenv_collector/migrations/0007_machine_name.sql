-- What people call machines in place of the hostname that each says: a copy of
-- the identity file, so that what comes is stored under the name.

CREATE TABLE store.machine_name (
  machine_id UUID NOT NULL,
  name VARCHAR NOT NULL
);
