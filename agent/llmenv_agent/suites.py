"""Suites: named, versioned sets of checks.

A check says in its own file which suites it belongs to, so a suite has no list
of its own.  `custom` is the suite of checks that somebody named.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING

from llmenv_agent.definitions import Definition, DefinitionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclasses.dataclass(frozen=True)
class Suite:
    """`definitions` in the order they run."""

    name: str
    definitions: tuple[Definition, ...]

    @property
    def version(self) -> str:
        """SHA-256 over the checks' names and definition hashes, first 16 hex digits."""
        lines = [f"{each.name} {each.definition_hash}\n" for each in self.definitions]
        return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def suite(name: str, definitions: Mapping[str, Definition]) -> Suite:
    """The suite `name`; raises DefinitionError where no check belongs to it."""
    chosen = tuple(each for each in definitions.values() if name in each.suites)
    if not chosen:
        known = ", ".join(sorted({each for one in definitions.values() for each in one.suites}))
        raise DefinitionError(f"There is no suite {name!r}; there are: {known or 'none'}.")
    return Suite(name, chosen)


def custom(names: Iterable[str], definitions: Mapping[str, Definition]) -> Suite:
    """The checks `names`, each once, in the order given."""
    chosen = dict.fromkeys(names)
    for name in chosen:
        if name not in definitions:
            raise DefinitionError(f"There is no check {name!r}; there are: {', '.join(sorted(definitions))}.")
    return Suite("custom", tuple(definitions[name] for name in chosen))
