"""Identities of virtual machines: each enrols with a token of its own and keeps what it got in its folder."""

from __future__ import annotations

import concurrent.futures
import dataclasses
from typing import TYPE_CHECKING

from llmenv.printed_token import PrintedToken

from llmenv_agent.enrollment import enroll_over, first_contact, open_channel
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

    A single token is taken to be for as many machines as need one.
    Raises UsageError where there are too few tokens, EnrollmentError where one is not taken.
    """
    new = [machine for machine in machines if not (folder / machine.hostname / FILE_NAME).exists()]
    if len(tokens) < len(new) and len(tokens) != 1:
        raise UsageError(
            f"{len(new)} machines are to enrol and {len(tokens)} tokens were given: make them with "
            f"`llmenv-collector token create --count {len(new)}` and pass them by --tokens; or make and pass "
            f"one for a roll-out, with --uses {len(new)}."
        )
    if new:
        _enrol(new, tokens if len(tokens) > 1 else [*tokens] * len(new), folder)
    return [enrolled(machine, folder) for machine in machines]


def _enrol(machines: Sequence[VirtualMachine], tokens: Sequence[str], folder: Path) -> None:
    """All over one channel."""
    first, ca_pem = first_contact(tokens[0])
    parsed = _parsed(tokens)
    with open_channel(first.address, ca_pem) as channel:

        def enrol(machine: VirtualMachine, token: PrintedToken) -> None:
            facts = machine.facts(SYSTEMS[RELEASES[MACOS][0]])
            save_identity(folder / machine.hostname, enroll_over(channel, token, machine=facts))

        with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as threads:
            list(threads.map(enrol, machines, parsed))


def _parsed(tokens: Sequence[str]) -> list[PrintedToken]:
    try:
        parsed = [PrintedToken.parse(text) for text in tokens]
    except ValueError as error:
        raise UsageError(str(error)) from error
    if len({(token.address, token.pin) for token in parsed}) > 1:
        raise UsageError("The tokens are of several collectors: give those that one of them printed.")
    return parsed


def enrolled(machine: VirtualMachine, folder: Path) -> Enrolled:
    """As it was found in `folder`, that of all machines."""
    own = folder / machine.hostname
    identity = load_identity(own)
    return Enrolled(
        machine=dataclasses.replace(machine, id=identity.machine_id), identity=identity, folder=own
    )
