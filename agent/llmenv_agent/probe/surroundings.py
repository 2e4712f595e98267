"""What a check cannot see from its own process: how the agent was started and what it set for the target."""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple, Optional, Tuple


class BadCombination(NamedTuple):
    """A known issue whose conditions all hold here.

    `id` is that of its remedy too, `severity` a word of the catalogue, `title` English, and `combination`
    names what it is about: "torch 2.13.0, Apple M2".
    """

    id: str
    severity: str
    title: str
    combination: str


class Surroundings(NamedTuple):
    """Empty or None where the agent does not know it.

    `session_type` is "daemon", "gui", "ssh" or "terminal".  `env_file` is the target's, and `variables` are
    the names, never the values, that it and the configuration set.
    """

    session_type: str = ""
    env_file: str = ""
    variables: Tuple[str, ...] = ()
    swap_used_bytes: Optional[int] = None
    bad_combinations: Tuple[BadCombination, ...] = ()


def from_request(values: Mapping[str, Any]) -> Surroundings:
    """What stands in the request; keys of a newer agent are left out."""
    known = {key: value for key, value in values.items() if key in Surroundings._fields}
    known["variables"] = tuple(known.get("variables", ()))
    known["bad_combinations"] = tuple(
        BadCombination(**{field: str(row[field]) for field in BadCombination._fields})
        for row in known.get("bad_combinations", ())
    )
    return Surroundings(**known)
