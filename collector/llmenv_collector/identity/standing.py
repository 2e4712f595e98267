"""What people have decided about machines, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """What may become of a machine."""

    PENDING = "pending"
    ENROLLED = "enrolled"
    RETIRED = "retired"
    REVOKED = "revoked"
    FORGOTTEN = "forgotten"


BARRED = {
    State.FORGOTTEN: "Machine {machine_id} was forgotten, for good.",
    State.REVOKED: "Machine {machine_id} was revoked.",
    State.RETIRED: (
        "Machine {machine_id} was retired: `llmenv-collector machine approve {machine_id}` takes it back."
    ),
}
"""Why a machine in such a state may not deliver."""


@dataclass(frozen=True)
class Standing:
    """Ids of the machines that are not simply enrolled."""

    barred: frozenset[str] = frozenset()
    """Revoked or forgotten: reports leave out what they delivered."""
    pending: frozenset[str] = frozenset()
    retired: frozenset[str] = frozenset()
    """They deliver no more; what they delivered stays in reports."""


EVERYBODY_ENROLLED = Standing()
