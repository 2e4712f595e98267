"""What people decide about a machine: that it may deliver, what it is called, and that it is done.

Each change is one transaction with its row in the audit.  A collector that serves notices within a second,
see `identity_watch`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_collector import clock
from llmenv_collector.errors import NotFoundError, UsageError
from llmenv_collector.identity import labels
from llmenv_collector.identity.identity_file import audit
from llmenv_collector.identity.standing import State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmenv_collector.identity.identity_file import EnrolledMachine, Identity

MAX_NAME = 253


def waiting(identity: Identity, *, label: str = "") -> list[EnrolledMachine]:
    """Machines that wait for approval, or of these only those with a label "key=value" or "key".

    Raises NotFoundError where there is none.
    """
    found = [one for one in identity.machines() if one.state is State.PENDING]
    if label:
        labels_of = labels.of_machines(identity)
        found = [one for one in found if has(labels_of.get(one.machine_id, {}), label)]
    if not found:
        raise NotFoundError("No such machine waits for approval: see `llmenv-collector machine list`.")
    return found


def has(labels_of_it: Mapping[str, str], label: str) -> bool:
    key, equals, value = label.partition("=")
    return labels_of_it.get(key) == value if equals else key in labels_of_it


def approve(identity: Identity, machines: Sequence[EnrolledMachine]) -> None:
    """They may deliver from now on; also those that were retired."""
    for one in machines:
        if one.state is State.REVOKED:
            raise UsageError(f"{called(one)} was revoked for good: enrol it as a new machine.")
    now = clock.now()
    with identity.changes() as connection:
        for one in machines:
            connection.execute(
                "UPDATE machine SET approved_at = coalesce(approved_at, ?), retired_at = NULL"
                " WHERE machine_id = ?",
                (now, one.machine_id),
            )
            audit(connection, "machine.approve", one.machine_id, one.hostname)


def rename(identity: Identity, machine: str, name: str) -> EnrolledMachine:
    """What it is called in place of the hostname that it says.  Raises UsageError for a name of another."""
    found = identity.find_machine(machine)
    if not (0 < len(name) <= MAX_NAME and name.isprintable() and name == name.strip()):
        raise UsageError(f"A name has 1 to {MAX_NAME} printable characters, and no space at its ends.")
    taken = [one for one in identity.machines() if name in {one.hostname, one.machine_id}]
    if any(one.machine_id != found.machine_id and one.state is not State.REVOKED for one in taken):
        raise UsageError(f"Another machine is called {name!r}.")
    with identity.changes() as connection:
        connection.execute("UPDATE machine SET name = ? WHERE machine_id = ?", (name, found.machine_id))
        audit(connection, "machine.rename", found.machine_id, f"{found.hostname} to {name}")
    return found


def retire(identity: Identity, machine: str) -> EnrolledMachine:
    """It delivers no more; what it delivered stays part of every report."""
    found = identity.find_machine(machine)
    if found.state is State.REVOKED:
        raise UsageError(f"{called(found)} was revoked, which ends more than retiring it.")
    with identity.changes() as connection:
        connection.execute(
            "UPDATE machine SET retired_at = coalesce(retired_at, ?) WHERE machine_id = ?",
            (clock.now(), found.machine_id),
        )
        audit(connection, "machine.retire", found.machine_id, found.hostname)
    return found


def forget(identity: Identity, machine: str) -> EnrolledMachine:
    """Nothing of it stays but its id, so that its certificate brings it not back."""
    found = identity.find_machine(machine)
    now = clock.now()
    with identity.changes() as connection:
        connection.execute(
            "UPDATE machine SET hostname = '', name = '', forgotten_at = ?,"
            " revoked_at = coalesce(revoked_at, ?) WHERE machine_id = ?",
            (now, now, found.machine_id),
        )
        for table in ("certificate", "machine_label"):
            connection.execute(f"DELETE FROM {table} WHERE machine_id = ?", (found.machine_id,))  # noqa: S608 (our own names)
        audit(connection, "machine.forget", found.machine_id, "")
    return found


def names(identity: Identity) -> dict[str, str]:
    """Machine id to what people call it, where they do."""
    with identity.reading() as connection:
        return dict(connection.execute("SELECT machine_id, name FROM machine WHERE name <> ''"))


def called(machine: EnrolledMachine) -> str:
    return f"{machine.hostname} ({machine.machine_id})"
