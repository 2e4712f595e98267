"""Who acts, and from where: what the audit says of every change.

A call over the network sets it, see `gate`; a command of this program acts for whoever runs it.
"""

from __future__ import annotations

import getpass
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Actor:
    name: str
    """Such as "machine <id>", "token <id> (Ada)" or "user ada"."""
    origin: str
    """The address that a call came from, or "this computer"."""


ACTOR: ContextVar[Actor] = ContextVar("ACTOR")


def actor() -> Actor:
    """Of the call that is being served, else whoever runs this program."""
    return ACTOR.get(None) or Actor(f"user {user()}", "this computer")


def user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # an id without a name, as in a container
        return "without a name"
