"""Tokens: one lets a machine enrol, or several that wait for approval; a role token lets a person ask.

People copy a token as `llmenv.printed_token` writes it; here is its secret, of which
the collector keeps only the SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv.ids import new_id

from llmenv_collector import clock
from llmenv_collector.errors import NotFoundError, UnauthenticatedError, UsageError
from llmenv_collector.identity.identity_file import add_certificate, audit, standing_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from llmenv_collector.identity.authority import MachineCertificate
    from llmenv_collector.identity.identity_file import Identity

ENROLMENT = "enrolment"
ROLES = ("viewer", "analyst", "admin")
ENROLMENT_SECONDS = 15 * 60
ROLE_SECONDS = 90 * 86_400
MOST_ENROLMENT_SECONDS = 30 * 86_400
MOST_ROLE_SECONDS = 366 * 86_400
MOST_USES = 10_000


@dataclass(frozen=True)
class Token:
    """A token as it is kept.  Times are microseconds since 1970."""

    token_id: str
    role: str
    label: str
    created_at: int
    expires_at: int
    used_at: int | None
    revoked_at: int | None
    machine_id: str | None = None
    """The machine that enrols again with it; None for a new one."""
    uses: int = 1
    """How many machines may enrol with it; those of a token for several wait for approval."""
    used: int = 0
    machine_labels: str = "{}"
    """JSON, of the machines that enrol with it."""
    last_used_at: int | None = None

    def written(self) -> str:
        """As the audit names it."""
        return f"token {self.token_id} ({self.label})" if self.label else f"token {self.token_id}"

    @property
    def enrols_pending(self) -> bool:
        return self.uses > 1

    def state(self, now: int) -> str:
        """One word: active, used, revoked or expired."""
        if self.revoked_at is not None:
            return "revoked"
        if self.used_at is not None:
            return "used"
        return "active" if now < self.expires_at else "expired"


COLUMNS = (
    "token_id, role, label, created_at, expires_at, used_at, revoked_at, machine_id,"
    " uses, used, machine_labels, last_used_at"
)


def create(
    identity: Identity,
    *,
    role: str,
    seconds: int,
    label: str,
    machine_id: str | None = None,
    uses: int = 1,
    machine_labels: Mapping[str, str] | None = None,
) -> str:
    """A new secret.  It is returned this once.  With `machine_id` that machine enrols again."""
    require_lifetime(role, seconds)
    secret = secrets.token_urlsafe(32)
    token_id, now = new_id(), clock.now()
    expires_at = now + seconds * clock.MICROSECONDS
    labels = json.dumps(dict(machine_labels or {}), sort_keys=True)
    with identity.changes() as connection:
        connection.execute(
            "INSERT INTO token (token_id, role, label, secret_hash, created_at, expires_at, machine_id, uses,"
            " machine_labels) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (token_id, role, label, digest(secret), now, expires_at, machine_id, uses, labels),
        )
        several = f" for {uses} machines" if uses > 1 else ""
        audit(connection, "token.create", token_id, f"{role}{several}, {label}" if label else role + several)
    return secret


def require_lifetime(role: str, seconds: int) -> None:
    """Raises UsageError for a token that would be good for too long."""
    most = MOST_ENROLMENT_SECONDS if role == ENROLMENT else MOST_ROLE_SECONDS
    if seconds > most:
        kind = "enrols" if role == ENROLMENT else "is for a person"
        raise UsageError(f"A token that {kind} is good for {most // 86_400} days at most.")


def role_token(identity: Identity, secret: str) -> Token:
    """The valid role token of a person.  Raises UnauthenticatedError."""
    with identity.reading() as connection:
        found = find(connection, secret)
    if found.role == ENROLMENT:
        raise UnauthenticatedError("This token is for enrolling a machine; people need one made with --role.")
    require_active(found)
    return found


def is_active(identity: Identity, token_id: str) -> bool:
    """Whether it may still be used: neither used, revoked nor expired."""
    query = f"SELECT {COLUMNS} FROM token WHERE token_id = ?"  # noqa: S608 (a constant)
    with identity.reading() as connection:
        row = connection.execute(query, (token_id,)).fetchone()
    return row is not None and Token(*row).state(clock.now()) == "active"


def revoked(identity: Identity) -> frozenset[str]:
    """Their ids."""
    with identity.reading() as connection:
        rows = connection.execute("SELECT token_id FROM token WHERE revoked_at IS NOT NULL")
        return frozenset(token_id for (token_id,) in rows)


def enrolment_token(identity: Identity, secret: str) -> Token:
    """The valid token of a machine that enrols, unused.  Raises UnauthenticatedError."""
    with identity.reading() as connection:
        return find_enrolment(connection, secret)


def redeem(
    identity: Identity, secret: str, *, machine_id: str, hostname: str, certificate: MachineCertificate
) -> int:
    """Uses an enrolment token and enters the machine, both or neither.

    Returns the time of enrolment, microseconds since 1970.  Raises ForbiddenError when the token is
    for a machine that was revoked meanwhile.
    """
    now = clock.now()
    with identity.changes() as connection:
        found = find_enrolment(connection, secret)
        used = found.used + 1
        connection.execute(
            "UPDATE token SET used = ?, last_used_at = ?, used_at = ? WHERE token_id = ?",
            (used, now, now if used >= found.uses else None, found.token_id),
        )
        if standing_of(connection, machine_id) is None:
            connection.execute(
                "INSERT INTO machine (machine_id, hostname, enrolled_at, approved_at) VALUES (?, ?, ?, ?)",
                (machine_id, hostname, now, None if found.enrols_pending else now),
            )
        connection.executemany(
            "INSERT OR REPLACE INTO machine_label VALUES (?, ?, ?)",
            [(machine_id, key, value) for key, value in json.loads(found.machine_labels).items()],
        )
        add_certificate(connection, machine_id, certificate)
        action = "machine.enrol_again" if found.machine_id else "machine.enrol"
        audit(connection, action, machine_id, f"{hostname}, by token {found.token_id}")
    return now


def find_enrolment(connection: sqlite3.Connection, secret: str) -> Token:
    found = find(connection, secret)
    if found.role != ENROLMENT:
        raise UnauthenticatedError("This token is for people; machines enrol with one made without --role.")
    require_active(found)
    return found


def listing(identity: Identity) -> list[Token]:
    """Oldest first."""
    with identity.reading() as connection:
        return [Token(*row) for row in connection.execute(f"SELECT {COLUMNS} FROM token ORDER BY created_at")]  # noqa: S608 (a constant)


def revoke(identity: Identity, token_id: str) -> None:
    with identity.changes() as connection:
        changed = connection.execute(
            "UPDATE token SET revoked_at = ? WHERE token_id = ? AND revoked_at IS NULL",
            (clock.now(), token_id),
        ).rowcount
        if not changed:
            raise NotFoundError(f"No token {token_id!r} can be revoked: see `llmenv-collector token list`.")
        audit(connection, "token.revoke", token_id, "")


def find(connection: sqlite3.Connection, secret: str) -> Token:
    query = f"SELECT {COLUMNS} FROM token WHERE secret_hash = ?"  # noqa: S608 (a constant)
    row = connection.execute(query, (digest(secret),)).fetchone()
    if row is None:
        raise UnauthenticatedError("The token is not known to this collector.")
    return Token(*row)


def require_active(token: Token) -> None:
    state = token.state(clock.now())
    if state != "active":
        ending = {"used": "was already used", "revoked": "was revoked", "expired": "has expired"}[state]
        raise UnauthenticatedError(
            f"The token {ending}: make a new one with `llmenv-collector token create`."
        )


def digest(secret: str) -> bytes:
    """The secrets are 256 random bits, so a plain hash is enough.  What cannot be encoded has one too."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()
