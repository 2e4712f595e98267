"""A token as it is asked for on the command line: of a machine that enrols, or of a person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv_collector import settings
from llmenv_collector.errors import UsageError
from llmenv_collector.identity import labels, tokens
from llmenv_collector.identity.standing import State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv_collector.identity.identity_file import Identity


@dataclass(frozen=True, kw_only=True)
class WantedToken:
    role: str | None
    machine: str | None
    """By hostname or id, one that enrols again."""
    ttl: str | None
    label: str
    uses: int
    machine_labels: tuple[str, ...]
    count: int
    """Of tokens like it."""

    def require_sound(self) -> None:
        """Raises UsageError for options that do not go together, and for what cannot be read."""
        of_machines = self.count > 1 or self.uses > 1 or self.machine_labels
        if of_machines and (self.role or self.machine):
            raise UsageError(
                "--count, --uses and --machine-label are of machines that enrol: they go with neither --role"
                " nor --for."
            )
        if self.role and self.machine:
            raise UsageError("--for is of a machine and --role of a person: give one of them.")
        self.labels()
        self.seconds()

    def labels(self) -> dict[str, str]:
        """Of every machine that enrols with it."""
        found = {}
        for change in map(labels.parse_change, self.machine_labels):
            if change.value is None:
                raise UsageError("--machine-label is written key=value.")
            found[change.key] = change.value
        return found

    def seconds(self) -> int:
        if self.ttl:
            return settings.parse_duration(self.ttl, where="--ttl")
        return tokens.ROLE_SECONDS if self.role else tokens.ENROLMENT_SECONDS

    def made(self, identity: Identity) -> Iterator[str]:
        """The secrets, each of a token of its own."""
        machine_id = continued(identity, self.machine) if self.machine else None
        for _ in range(self.count):
            yield tokens.create(
                identity,
                role=self.role or tokens.ENROLMENT,
                seconds=self.seconds(),
                label=self.label,
                machine_id=machine_id,
                uses=self.uses,
                machine_labels=self.labels(),
            )


def continued(identity: Identity, machine: str) -> str:
    """Id of the machine that a token is for."""
    found = identity.find_machine(machine)
    if found.state is State.RETIRED:
        raise UsageError(
            f"{found.hostname} ({found.machine_id}) was retired: `llmenv-collector machine approve"
            f" {found.machine_id}` takes it back first."
        )
    if found.revoked_at is not None:
        raise UsageError(
            f"{found.hostname} ({found.machine_id}) was revoked for good: enrol it as a new machine."
        )
    return found.machine_id
