"""What has to be equal for a version to be compared, and what was not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmenv_collector.fleet_report.versions import companions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Contexts = Sequence[Mapping[str, str]]


def equal_but_for(contexts: Contexts, package: str) -> tuple[NDArray[np.int64], int]:
    """For each context a number, equal where all but this package is, and how many numbers there are."""
    aside = {package, *companions(package)}
    numbers: dict[frozenset[tuple[str, str]], int] = {}
    others = [frozenset(item for item in one.items() if item[0] not in aside) for one in contexts]
    counted = np.array([numbers.setdefault(one, len(numbers)) for one in others], dtype=np.int64)
    return counted, max(1, len(numbers))


def what_else(
    contexts: Contexts, candidate: NDArray[np.int64], baseline: NDArray[np.int64], package: str
) -> tuple[str, ...]:
    """What differs between contexts of both sides, other than the package and what goes with it."""
    changed: set[str] = set()
    for one in np.unique(candidate):
        for other in np.unique(baseline):
            changed |= differing(contexts[one], contexts[other])
    return tuple(sorted(changed - {package, *companions(package)}))


def differing(one: Mapping[str, str], other: Mapping[str, str]) -> set[str]:
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}
