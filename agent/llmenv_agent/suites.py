"""Suites: named, versioned sets of checks.

A check says in its own file which suites it belongs to, so our suites have no
list of their own; a lab lists those of its own in the configuration.  `custom`
is the suite of checks that somebody named.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from llmenv_agent.definitions import Definition, DefinitionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# What each of ours is for; the times are bounds on a lab Mac.
PURPOSES = {
    "quick": "fit to train on? under a minute",
    "full": "all but benchmarks, under 15 minutes",
    "bench": "how fast, under 15 minutes",
    "soak": "sustained load, as long as it is told",
}
CUSTOM = "custom"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NamedSuite:
    """A suite as the configuration lists it: names of checks, and parameters by check."""

    name: str
    checks: tuple[str, ...]
    parameters: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Suite:
    """`definitions` in the order they run; `parameters` by check are what the suite itself sets."""

    name: str
    definitions: tuple[Definition, ...]
    parameters: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    @property
    def version(self) -> str:
        """SHA-256 over names and definition hashes of its checks and its parameters, first 16 hex digits."""
        lines = [f"{each.name} {each.definition_hash}\n" for each in self.definitions]
        if self.parameters:
            lines.append(json.dumps(self.parameters, sort_keys=True))
        return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]

    @property
    def typical_seconds(self) -> float | None:
        """The sum of what its checks take; None where no check says it."""
        known = [each.typical_seconds for each in self.definitions if each.typical_seconds is not None]
        return sum(known) if known else None

    @property
    def untimed(self) -> int:
        """Checks that do not say how long they take, a count."""
        return sum(each.typical_seconds is None for each in self.definitions)


def suite(name: str, definitions: Mapping[str, Definition]) -> Suite:
    """The suite `name` by what its checks say; raises DefinitionError where no check belongs to it."""
    chosen = tuple(each for each in definitions.values() if name in each.suites)
    if not chosen:
        known = ", ".join(declared(definitions)) or "none"
        raise DefinitionError(f"There is no suite {name!r}; there are: {known}.")
    return Suite(name, chosen)


def custom(names: Iterable[str], definitions: Mapping[str, Definition]) -> Suite:
    """The checks `names`, each once, in the order given."""
    return Suite(CUSTOM, _chosen(names, definitions))


def listed(named: NamedSuite, definitions: Mapping[str, Definition]) -> Suite:
    """A suite of the configuration, with its parameters; raises DefinitionError for an unknown check."""
    return Suite(named.name, _chosen(named.checks, definitions), named.parameters)


def is_name(text: str) -> bool:
    """Whether a suite may be called so; `custom` is none that anybody defines."""
    return _NAME.fullmatch(text) is not None and text != CUSTOM


def declared(definitions: Mapping[str, Definition]) -> list[str]:
    """Names of the suites that check files name: ours in their order, then others."""
    names = {each for definition in definitions.values() for each in definition.suites}
    return [name for name in PURPOSES if name in names] + sorted(names - PURPOSES.keys())


def merged(*layers: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Parameters by check; later layers win, each parameter for itself."""
    result: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for check, values in layer.items():
            result[check] = {**result.get(check, {}), **values}
    return result


def _chosen(names: Iterable[str], definitions: Mapping[str, Definition]) -> tuple[Definition, ...]:
    chosen = dict.fromkeys(names)
    for name in chosen:
        if name not in definitions:
            raise DefinitionError(f"There is no check {name!r}; there are: {', '.join(sorted(definitions))}.")
    return tuple(definitions[name] for name in chosen)
