"""Identities of virtual machines: each enrols with a token of its own and keeps what it got in its folder."""

from __future__ import annotations

import concurrent.futures
import dataclasses
from typing import TYPE_CHECKING

from llmenv_agent.enrollment import enroll
from llmenv_agent.errors import UsageError
from llmenv_agent.identity import FILE_NAME, load_identity, save_identity
from llmenv_agent.simulation.packages import MACOS, RELEASES, SYSTEMS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from llmenv_agent.identity import Identity
    from llmenv_agent.simulation.machines import VirtualMachine

_AT_ONCE = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Enrolled:
    """A virtual machine under the id that the collector issued, with its folder."""

    machine: VirtualMachine
    identity: Identity
    folder: Path


def enrol_machines(machines: Sequence[VirtualMachine], tokens: Sequence[str], folder: Path) -> list[Enrolled]:
    """In the order given. Whoever has an identity in `folder` keeps it and takes no token.

    Raises UsageError where there are too few tokens, EnrollmentError where one is not taken.
    """
    new = [machine for machine in machines if not (folder / machine.hostname / FILE_NAME).exists()]
    if len(tokens) < len(new):
        raise UsageError(
            f"{len(new)} machines are to enrol and {len(tokens)} tokens were given: make them with "
            f"`llmenv-collector token create --count {len(new)}` and pass them by --tokens."
        )
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as threads:
        folders = [folder / machine.hostname for machine in new]
        list(threads.map(_enrol, new, tokens, folders))
    return [enrolled(machine, folder) for machine in machines]


def _enrol(machine: VirtualMachine, token: str, folder: Path) -> None:
    facts = machine.facts(SYSTEMS[RELEASES[MACOS][0]])
    save_identity(folder, enroll(token, machine=facts))


def enrolled(machine: VirtualMachine, folder: Path) -> Enrolled:
    """As it was found in `folder`, that of all machines."""
    own = folder / machine.hostname
    identity = load_identity(own)
    return Enrolled(
        machine=dataclasses.replace(machine, id=identity.machine_id), identity=identity, folder=own
    )
