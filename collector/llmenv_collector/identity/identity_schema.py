"""The tables of the identity file, and how an older file is brought forward.

What was used, revoked or forgotten stays so, and no row goes: the file itself refuses it.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA_VERSION = 4
FIRST = """
CREATE TABLE token (
  token_id TEXT PRIMARY KEY,
  role TEXT NOT NULL,              -- enrolment, viewer, analyst or admin
  label TEXT NOT NULL,
  secret_hash BLOB NOT NULL UNIQUE,-- SHA-256; the secret itself is kept nowhere
  created_at INTEGER NOT NULL,     -- all times: microseconds since 1970
  expires_at INTEGER NOT NULL,
  used_at INTEGER,                 -- enrolment only: when it was used up
  revoked_at INTEGER,
  machine_id TEXT REFERENCES machine -- that enrols again with it; NULL for a new one
) STRICT;
CREATE TABLE machine (
  machine_id TEXT PRIMARY KEY,
  hostname TEXT NOT NULL,          -- at enrolment; empty when it was admitted by its certificate
  enrolled_at INTEGER NOT NULL,
  revoked_at INTEGER
) STRICT;
CREATE TABLE certificate (
  serial TEXT PRIMARY KEY,         -- hexadecimal
  machine_id TEXT NOT NULL REFERENCES machine,
  issued_at INTEGER NOT NULL,
  not_after INTEGER NOT NULL
) STRICT;
CREATE TABLE machine_label (       -- what people say of a machine
  machine_id TEXT NOT NULL REFERENCES machine,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (machine_id, key)
) STRICT;
CREATE TABLE audit (
  happened_at INTEGER NOT NULL,
  action TEXT NOT NULL,            -- such as token.create, machine.enrol
  subject TEXT NOT NULL,           -- id of the token, machine, command or batch
  detail TEXT NOT NULL
) STRICT;
CREATE TRIGGER tokens_stay BEFORE DELETE ON token BEGIN SELECT RAISE(ABORT, 'tokens stay'); END;
CREATE TRIGGER machines_stay BEFORE DELETE ON machine BEGIN SELECT RAISE(ABORT, 'machines stay'); END;
CREATE TRIGGER audit_stays BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit stays'); END;
CREATE TRIGGER audit_stands BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit stands'); END;
CREATE TRIGGER used_stays_used BEFORE UPDATE ON token
WHEN old.used_at IS NOT NULL AND new.used_at IS NOT old.used_at
BEGIN SELECT RAISE(ABORT, 'a used token stays used'); END;
CREATE TRIGGER revoked_token_stays_revoked BEFORE UPDATE ON token
WHEN old.revoked_at IS NOT NULL AND new.revoked_at IS NOT old.revoked_at
BEGIN SELECT RAISE(ABORT, 'a revoked token stays revoked'); END;
CREATE TRIGGER revoked_machine_stays_revoked BEFORE UPDATE ON machine
WHEN old.revoked_at IS NOT NULL AND new.revoked_at IS NOT old.revoked_at
BEGIN SELECT RAISE(ABORT, 'a revoked machine stays revoked'); END;
"""
STEPS = {
    1: FIRST,
    2: """
ALTER TABLE token ADD COLUMN uses INTEGER NOT NULL DEFAULT 1;  -- how many machines may enrol with it
ALTER TABLE token ADD COLUMN used INTEGER NOT NULL DEFAULT 0;  -- how many have
ALTER TABLE token ADD COLUMN machine_labels TEXT NOT NULL DEFAULT '{}'; -- JSON, of its machines
ALTER TABLE token ADD COLUMN last_used_at INTEGER;             -- to the minute, for people
ALTER TABLE machine ADD COLUMN name TEXT NOT NULL DEFAULT '';  -- in place of the hostname that it says
ALTER TABLE machine ADD COLUMN approved_at INTEGER;            -- NULL while it waits for approval
ALTER TABLE machine ADD COLUMN retired_at INTEGER;
ALTER TABLE machine ADD COLUMN forgotten_at INTEGER;
ALTER TABLE audit ADD COLUMN actor TEXT NOT NULL DEFAULT '';   -- who did it
ALTER TABLE audit ADD COLUMN origin TEXT NOT NULL DEFAULT '';  -- from where
ALTER TABLE audit ADD COLUMN outcome TEXT NOT NULL DEFAULT 'done'; -- done or refused
UPDATE token SET used = 1 WHERE used_at IS NOT NULL;
UPDATE machine SET approved_at = enrolled_at;
CREATE TRIGGER uses_stay BEFORE UPDATE ON token WHEN new.used < old.used OR new.uses <> old.uses
BEGIN SELECT RAISE(ABORT, 'a use stays one'); END;
CREATE TRIGGER forgotten_machine_stays_forgotten BEFORE UPDATE ON machine
WHEN old.forgotten_at IS NOT NULL AND new.forgotten_at IS NOT old.forgotten_at
BEGIN SELECT RAISE(ABORT, 'a forgotten machine stays forgotten'); END;
""",
    3: """
CREATE TABLE schedule (            -- what machines run at set times; each wording is a row
  schedule_id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  schedule BLOB NOT NULL,          -- llmenv.fleet.v1.Schedule, serialised
  selection BLOB NOT NULL,         -- llmenv.fleet.v1.MachineSelection, serialised
  set_at INTEGER NOT NULL,
  set_by TEXT NOT NULL,            -- label of the token, else its id
  removed_at INTEGER,              -- also when another wording took its place
  removed_by TEXT
) STRICT;
CREATE UNIQUE INDEX schedule_in_force ON schedule (name) WHERE removed_at IS NULL;
CREATE TRIGGER schedules_stay BEFORE DELETE ON schedule BEGIN SELECT RAISE(ABORT, 'schedules stay'); END;
""",
    4: """
ALTER TABLE machine ADD COLUMN trusted_pins TEXT NOT NULL DEFAULT ''; -- of authorities, as it last said
""",
}


def bring_forward(connection: sqlite3.Connection) -> None:
    """All missing steps or none; another process may do it at the same time."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        (present,) = connection.execute("PRAGMA user_version").fetchone()
        for version in range(present + 1, SCHEMA_VERSION + 1):
            for statement in statements(STEPS[version]):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def statements(script: str) -> Iterator[str]:
    """One at a time: a script would be committed before it begins."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
