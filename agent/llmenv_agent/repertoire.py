"""The repertoire: every check and suite that this agent can run, ours and the lab's own.

A lab keeps its checks in folders of its own, one file each with the same interface as ours, and lists its
suites in the configuration.  Nothing of a lab's takes a name of ours: what is stored is known by its name.
"""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

from llmenv_agent import suites
from llmenv_agent.definitions import CHECKS, Definition, DefinitionError, by_name, read_definitions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from llmenv_agent.suites import NamedSuite, Suite


@dataclasses.dataclass(frozen=True)
class Repertoire:
    """`definitions` by name in the order a suite runs them; `named` are the suites of the configuration."""

    definitions: Mapping[str, Definition]
    named: Mapping[str, NamedSuite] = dataclasses.field(default_factory=dict)

    def suite(self, name: str) -> Suite:
        """Raises DefinitionError, naming those there are, for one that there is not."""
        if name in self.named:
            return suites.listed(self.named[name], self.definitions)
        if name not in suites.declared(self.definitions):
            known = ", ".join(self.suite_names()) or "none"
            raise DefinitionError(f"There is no suite {name!r}; there are: {known}.")
        return suites.suite(name, self.definitions)

    def custom(self, names: Iterable[str]) -> Suite:
        """The checks `names`; raises DefinitionError for one that there is not."""
        return suites.custom(names, self.definitions)

    def suite_names(self) -> list[str]:
        """Those that check files name, then those of the configuration."""
        return [*suites.declared(self.definitions), *self.named]


def read_repertoire(folders: Iterable[Path] = (), named: Iterable[NamedSuite] = ()) -> Repertoire:
    """Ours, with the checks in `folders` and the suites `named`.

    Raises DefinitionError naming the file and line of a check that is none, or whose name is taken.
    """
    definitions = read_definitions(CHECKS)
    for folder in folders:
        _require_readable(folder)
        for name, definition in read_definitions(folder).items():
            _require_name(definition, taken=definitions.get(name))
            _require_suite_names(definition)
            definitions[name] = definition
    return Repertoire(by_name(definitions.values()), {each.name: each for each in named})


def _require_readable(folder: Path) -> None:
    try:
        os.listdir(folder)  # noqa: PTH208 # glob is silent about a folder that cannot be read
    except OSError as error:
        raise DefinitionError(f"The folder of checks {folder} cannot be read: {error.strerror}.") from error


def _require_name(definition: Definition, *, taken: Definition | None) -> None:
    where, name = f"{definition.path}:1", definition.name
    if taken is not None:
        raise DefinitionError(f"{where}: there is a check {name!r} already ({taken.path}); rename the file.")
    if not name.isidentifier():
        raise DefinitionError(f"{where}: the file names the check: letters, digits and _, as in my_check.py.")


def _require_suite_names(definition: Definition) -> None:
    for name in definition.suites:
        if not suites.is_name(name):
            raise DefinitionError(
                f"{definition.path}:1: SUITES has {name!r}; take letters, digits, dots, _ and -, "
                f"and not {suites.CUSTOM}, which is that of named checks."
            )
