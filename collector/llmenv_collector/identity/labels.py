"""Labels: what people say of a machine beside what it says itself, such as room=b12 or gpu-loan.

They are kept with identity, so that a restored backup of the measurements changes none. The store has a copy,
which SQL sees; `LabelCopy` makes it equal before anybody asks.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import duckdb

from llmenv_collector.errors import NotFoundError, UsageError
from llmenv_collector.identity.identity_file import audit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmenv_collector.identity.identity_file import EnrolledMachine, Identity
    from llmenv_collector.storage.store import Store

    Labels: TypeAlias = dict[str, dict[str, str]]

KEY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
MAX_VALUE = 255


@dataclass(frozen=True)
class Change:
    """A label to be set, or taken off where `value` is None."""

    key: str
    value: str | None


def parse_change(text: str) -> Change:
    """key=value, or key- to take it off.  Raises UsageError."""
    key, equals, value = text.partition("=")
    change = Change(key, value) if equals else Change(text.removesuffix("-"), None)
    is_removal = not equals and text.endswith("-")
    if not (equals or is_removal) or not KEY.fullmatch(change.key):
        raise UsageError(
            f"{text!r} is no label: write key=value, or key- to take it off;"
            " a key has letters, digits, and . _ - between them."
        )
    if equals and not (0 < len(value) <= MAX_VALUE and value.isprintable()):
        raise UsageError(f"The value of label {key!r} must have 1 to {MAX_VALUE} printable characters.")
    return change


def change_labels(identity: Identity, machine: str, changes: Sequence[Change]) -> EnrolledMachine:
    """All of them or none.  Raises NotFoundError for a machine or a label that is not there."""
    found = identity.find_machine(machine)
    with identity.changes() as connection:
        for change in changes:
            if change.value is None:
                removal = "DELETE FROM machine_label WHERE machine_id = ? AND key = ?"
                if not connection.execute(removal, (found.machine_id, change.key)).rowcount:
                    raise NotFoundError(f"{found.hostname} has no label {change.key!r}.")
            else:
                connection.execute(
                    "INSERT OR REPLACE INTO machine_label VALUES (?, ?, ?)",
                    (found.machine_id, change.key, change.value),
                )
            detail = f"{change.key}-" if change.value is None else f"{change.key}={change.value}"
            audit(connection, "machine.label", found.machine_id, detail)
    return found


def of_machines(identity: Identity) -> Labels:
    """Machine id to its labels, by key."""
    labels: Labels = {}
    with identity.reading() as connection:
        for machine_id, key, value in connection.execute(
            "SELECT machine_id, key, value FROM machine_label ORDER BY machine_id, key"
        ):
            labels.setdefault(machine_id, {})[key] = value
    return labels


def written(labels: dict[str, str]) -> str:
    """As people write them."""
    return ", ".join(f"{key}={value}" for key, value in labels.items())


class LabelCopy:
    """The copy of all labels in the store.  Lives in the event loop."""

    def __init__(self, identity: Identity, store: Store) -> None:
        self._identity = identity
        self._store = store
        self._copied: Labels | None = None

    async def refresh(self) -> None:
        """Another process may have changed labels since the last call."""
        current = await asyncio.to_thread(of_machines, self._identity)
        if current != self._copied:
            await asyncio.wrap_future(self._store.request(lambda connection: replace(connection, current)))
            self._copied = current


def replace(connection: duckdb.DuckDBPyConnection, labels: Labels) -> None:
    """These labels and no others, in one transaction."""
    rows = [(machine_id, key, value) for machine_id, own in labels.items() for key, value in own.items()]
    connection.execute("BEGIN")
    try:
        connection.execute("DELETE FROM store.machine_label")
        connection.execute(
            "INSERT INTO store.machine_label"
            " SELECT unnest(?::UUID[]), unnest(?::VARCHAR[]), unnest(?::VARCHAR[])",
            [[row[column] for row in rows] for column in range(3)],
        )
    except duckdb.Error:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
