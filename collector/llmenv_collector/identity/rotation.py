"""The CA is rotated without touching a machine: a new one takes over, and the former is accepted for a while.

The new CA is certified by the former as well, so whoever trusts only that one goes on.  Agents are told both
over their stream, renew under the new one by themselves, and when all have, the former is retired.

It is written so that a crash at any moment leaves the former authority, or one that `finish` completes.
"""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv_collector import clock
from llmenv_collector.errors import UsageError
from llmenv_collector.identity.authority import Authority
from llmenv_collector.identity.identity_file import audit
from llmenv_collector.identity.standing import State
from llmenv_collector.storage.data_folder import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv_collector.identity.identity_file import EnrolledMachine, Identity
    from llmenv_collector.storage.data_folder import DataFolder

NEWEST = """
SELECT machine.machine_id, machine.trusted_pins,
       (SELECT max(issued_at) FROM certificate WHERE certificate.machine_id = machine.machine_id)
FROM machine
"""


@dataclass(frozen=True)
class Lagging:
    """A machine that the end of the former authority would lock out."""

    machine: EnrolledMachine
    why: str


@contextmanager
def alone(folder: DataFolder) -> Iterator[None]:
    """A collector that serves reads what a command writes: only one of them at a time."""
    with (folder.path / "ca.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def load(folder: DataFolder) -> Authority:
    """The authority as it is now, after what a crash left half written."""
    with alone(folder):
        finish(folder)
        return Authority.load(folder)


def rotate(folder: DataFolder, identity: Identity) -> Authority:
    """A new CA signs from now on.  Raises UsageError while a rotation is under way."""
    with alone(folder):
        finish(folder)
        former = Authority.load(folder)
        if folder.ca_former.exists():
            raise UsageError(
                "The authority is being rotated already: `llmenv-collector ca status` says how far."
            )
        made = former.successor()
        # Its key first: as long as there is no certificate beside it, all of this counts for nothing.
        write_whole(folder.ca_next_key, made.key_pem, mode=0o600)
        write_whole(folder.ca_former, made.former_pem, mode=0o644)
        write_whole(folder.ca_cross, made.cross_pem, mode=0o644)
        write_whole(folder.ca_next_certificate, made.pem, mode=0o644)
        finish(folder)
    with identity.changes() as connection:
        audit(connection, "authority.rotate", made.pin, f"after {former.pin}")
    return made


def finish(folder: DataFolder) -> None:
    """Puts a new authority in place that was written whole, or removes what is not."""
    if folder.ca_next_certificate.exists():
        if folder.ca_next_key.exists():
            folder.ca_next_key.replace(folder.ca_key)
        folder.ca_next_certificate.replace(folder.ca_certificate)
    elif folder.ca_next_key.exists():
        for path in (folder.ca_cross, folder.ca_former, folder.ca_next_key):
            path.unlink(missing_ok=True)


def lagging(folder: DataFolder, identity: Identity) -> list[Lagging]:
    """Machines without a certificate of the present authority, or that were not told of it yet."""
    authority = load(folder)
    began = int(authority.began.timestamp()) * clock.MICROSECONDS
    with identity.reading() as connection:
        known = {
            machine_id: (pins.split(), issued) for machine_id, pins, issued in connection.execute(NEWEST)
        }
    found = []
    for one in identity.machines():
        if one.state not in {State.ENROLLED, State.PENDING}:
            continue
        pins, issued = known[one.machine_id]
        if authority.pin not in pins:
            found.append(Lagging(one, "has not connected since"))
        elif issued is None or issued < began:
            found.append(Lagging(one, "has a certificate of the former authority"))
    return found


def retire(folder: DataFolder, identity: Identity) -> None:
    """The former authority counts no more.  Raises UsageError outside a rotation."""
    authority = load(folder)
    if not folder.ca_former.exists():
        raise UsageError("There is no former authority: `llmenv-collector ca rotate` makes a new one.")
    with alone(folder):
        # The former last: without it nobody could retire again after a crash between the two.
        for path in (folder.ca_cross, folder.ca_former):
            path.unlink(missing_ok=True)
    with identity.changes() as connection:
        audit(connection, "authority.retire", authority.pin, "the former one counts no more")
