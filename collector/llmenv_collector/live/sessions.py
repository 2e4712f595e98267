"""Who is logged in: a browser shows a secret of its own, never the token that it was opened with.

Sessions live in memory, known by the SHA-256 of their secrets; after a restart people log in again.
A session ends with its token: when that expires, and at once when it is revoked.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv.printed_token import PREFIX, PrintedToken

from llmenv_collector import clock
from llmenv_collector.errors import ForbiddenError, UnauthenticatedError
from llmenv_collector.identity import tokens
from llmenv_collector.serving.policy import VIEWERS

if TYPE_CHECKING:
    from llmenv_collector.identity.identity_file import Identity

MOST_SESSIONS = 1_000
"""The oldest goes for one more: a session costs nobody but its owner."""


@dataclass(frozen=True)
class Session:
    """Of one browser.  The time is microseconds since 1970."""

    token_id: str
    label: str
    role: str
    expires_at: int


class Sessions:
    """Of one collector.  Any thread may use it."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._open: dict[bytes, Session] = {}

    def open(self, text: str) -> tuple[str, Session]:
        """A new secret for whoever shows a viewer's token, as printed or bare.

        Raises UnauthenticatedError or ForbiddenError.
        """
        token = tokens.role_token(self._identity, secret_of(text))
        if token.role not in VIEWERS:
            raise ForbiddenError(f"Pages are for {' or '.join(sorted(VIEWERS))}.")
        session = Session(token.token_id, token.label, token.role, token.expires_at)
        secret = secrets.token_urlsafe(32)
        while len(self._open) >= MOST_SESSIONS:
            self._open.pop(next(iter(self._open)), None)
        self._open[tokens.digest(secret)] = session
        return secret, session

    def find(self, secret: str) -> Session | None:
        """None for a secret that opens nothing any more."""
        # Whoever guesses learns nothing from the time of a look-up by a hash that he cannot choose.
        digest = tokens.digest(secret)
        session = self._open.get(digest)
        if session is None:
            return None
        if clock.now() >= session.expires_at or not tokens.is_active(self._identity, session.token_id):
            self._open.pop(digest, None)
            return None
        return session

    def close(self, secret: str) -> None:
        self._open.pop(tokens.digest(secret), None)


def secret_of(text: str) -> str:
    """The secret in a printed token; anything else is one already."""
    text = text.strip()
    if not text.startswith(PREFIX):
        return text
    try:
        return PrintedToken.parse(text).secret
    except ValueError as error:
        raise UnauthenticatedError(str(error)) from error
