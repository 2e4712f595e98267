"""Where each policy stands in a database file: what it removed, and what is older now."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb

from llmenv_collector.errors import StoreError
from llmenv_collector.retention import state
from llmenv_collector.storage import inspection, migrate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from llmenv_collector.retention.policies import Policy


@dataclass(frozen=True)
class Standing:
    policy: Policy
    applied: state.Applied
    due: state.Due


def standing_of(database: Path, policies: Sequence[Policy], *, now: int) -> list[Standing]:
    """Of a file that nobody writes to.  Raises StoreError."""
    try:
        with closing(duckdb.connect(str(database), read_only=True, config=inspection.READING)) as connection:
            if migrate.current_version(connection) < migrate.shipped()[-1].version:
                raise StoreError("The database has an older schema: run `llmenv-collector migrate` first.")
            return [
                Standing(
                    policy,
                    state.applied(connection, policy.removal.what),
                    state.due(connection, policy, now=now),
                )
                for policy in policies
            ]
    except duckdb.Error as error:
        raise StoreError(f"{database} cannot be read: {str(error).splitlines()[0]}") from error
