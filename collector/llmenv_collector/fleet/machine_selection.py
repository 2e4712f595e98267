"""Which machines a command is for: by name, by label, by a condition of SQL, or all.

What is given narrows: a machine must satisfy all of it.  Only machines that may deliver are selected.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
from llmenv.fleet.v1 import fleet_service_pb2

from llmenv_collector.delivery.acceptance import MAX_SHOWN
from llmenv_collector.errors import NotFoundError, StatementError, StatementLimitError, UsageError
from llmenv_collector.identity import labels
from llmenv_collector.identity.standing import State
from llmenv_collector.sql.statements import Question

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from llmenv.fleet.v1.fleet_service_pb2 import MachineSelection

    from llmenv_collector.identity.identity_file import Identity
    from llmenv_collector.sql.statements import Statements
    from llmenv_collector.storage.store import Store

SHORTEST_PREFIX = 8


@dataclass(frozen=True)
class Candidate:
    """A machine that may be told something."""

    machine_id: str
    hostname: str
    labels: dict[str, str]

    def has(self, label: str) -> bool:
        """Whether it has "key=value", or "key" with any value."""
        key, equals, value = label.partition("=")
        return self.labels.get(key) == value if equals else key in self.labels


class Selector:
    """Finds the machines of a selection as they are now."""

    def __init__(
        self, *, store: Store, identity: Identity, statements: Statements, label_copy: labels.LabelCopy
    ) -> None:
        self._store = store
        self._identity = identity
        self._statements = statements
        self._label_copy = label_copy

    async def select(self, selection: MachineSelection, *, person: str) -> list[Candidate]:
        """Sorted by hostname, never empty.  Raises UsageError or NotFoundError.

        A condition takes a turn of `person`, among those of people's SQL.
        """
        candidates = await self.candidates()
        chosen, _ = await self.among(candidates, by_ids(selection, candidates), person=person)
        if not chosen:
            raise NotFoundError("No machine is selected: `llmenv fleet machines` lists those there are.")
        return chosen

    async def candidates(self) -> list[Candidate]:
        """All that may be selected."""
        return await asyncio.to_thread(self._candidates)

    async def among(
        self, candidates: Sequence[Candidate], selection: MachineSelection, *, person: str
    ) -> tuple[list[Candidate], int | None]:
        """Those of a selection that names machines by their ids, sorted by hostname.

        Also as of when a condition was evaluated, microseconds since 1970; None where there is none.
        """
        chosen = [one for one in candidates if all(one.has(label) for label in selection.labels)]
        if selection.machines:
            chosen = [one for one in chosen if one.machine_id in selection.machines]
        as_of = None
        if selection.where:
            satisfying, as_of = await self.evaluated(selection.where, person=person)
            chosen = [one for one in chosen if one.machine_id in satisfying]
        return sorted(chosen, key=lambda one: (one.hostname, one.machine_id)), as_of

    async def satisfying(self, condition: str, *, person: str) -> Collection[str]:
        """Ids of the machines that satisfy a person's condition."""
        satisfying, _ = await self.evaluated(condition, person=person)
        return satisfying

    async def evaluated(self, condition: str, *, person: str) -> tuple[Collection[str], int | None]:
        """The same, and as of when: it is evaluated where people's SQL is."""
        await self._label_copy.refresh()
        question = Question(condition, person=person, is_condition=True)
        stream, is_truncated, as_of = b"", False, None
        try:
            async for part in self._statements.run(question):
                stream += part.arrow_ipc
                is_truncated = part.is_truncated
                as_of = as_of or part.snapshot_at
        except StatementLimitError:
            raise
        except StatementError as error:
            raise UsageError(f"The condition cannot be used: {error}") from error
        if is_truncated:
            raise StatementLimitError("The condition gives more rows than one statement may return.")
        with pa.ipc.open_stream(stream) as reader:
            return frozenset(reader.read_all().column("machine_id").to_pylist()), as_of

    def _candidates(self) -> list[Candidate]:
        """Under the hostname that a machine last said, as it is listed."""
        label = labels.of_machines(self._identity)
        with self._store.reader() as connection:
            query = "SELECT machine_id::VARCHAR, hostname FROM store.machine"
            hostnames = dict(connection.execute(query).fetchall())
        return [
            Candidate(
                one.machine_id,
                hostnames.get(one.machine_id, one.hostname),
                label.get(one.machine_id, {}),
            )
            for one in self._identity.machines()
            if one.state is State.ENROLLED
        ]


def require_clear(selection: MachineSelection) -> None:
    """Something is asked for, and not both all and some."""
    some = bool(selection.machines or selection.labels or selection.where)
    if selection.all and some:
        raise UsageError("All machines, or those of a condition: not both.")
    if not selection.all and not some:
        raise UsageError("Say which machines: by name, label or condition, or all of them.")


def by_ids(selection: MachineSelection, candidates: Sequence[Candidate]) -> MachineSelection:
    """The same selection with its machines named by their ids.  Raises UsageError or NotFoundError."""
    require_clear(selection)
    named = fleet_service_pb2.MachineSelection()
    named.CopyFrom(selection)
    named.machines[:] = sorted({find(name, candidates).machine_id for name in selection.machines})
    return named


def find(name: str, candidates: Sequence[Candidate]) -> Candidate:
    """By id, hostname or a prefix of the id.  Raises NotFoundError, or UsageError for several."""
    # An id before any hostname: a machine says its hostname itself, and may say another one's id.
    matches = [one for one in candidates if one.machine_id == name]
    matches = matches or [one for one in candidates if one.hostname == name]
    if len(name) >= SHORTEST_PREFIX:
        matches = matches or [one for one in candidates if one.machine_id.startswith(name)]
    if not matches:
        raise NotFoundError(f"No machine is called {name[:MAX_SHOWN]!r}: see `llmenv fleet machines`.")
    if len(matches) > 1:
        raise UsageError(f"{name[:MAX_SHOWN]!r} names {len(matches)} machines: give the machine's id.")
    return matches[0]
