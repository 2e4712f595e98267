"""Ranges of versions as the catalogue writes them: ">=2.7,<2.14".

Only the release numbers count, since the catalogue speaks of releases: "2.13.0+cpu"
is 2.13.0 and "2.8.0a0" is 2.8.0.  Missing numbers are zero: "26" is 26.0.0.
"""

from __future__ import annotations

import itertools
import operator
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

Release = tuple[int, ...]

_COMPARISONS: dict[str, Callable[[Release, Release], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
_CLAUSE = re.compile(r"\s*(>=|<=|==|>|<)\s*(\d+(?:\.\d+)*)\s*\Z")


def release(version: str) -> Release:
    """The leading numbers of a version; ValueError when it starts with none."""
    numbers = re.match(r"\d+(?:\.\d+)*", version)
    if numbers is None:
        raise ValueError(f"not a version: {version!r}")
    return tuple(int(part) for part in numbers[0].split("."))


def is_release(version: str) -> bool:
    """Whether a version starts with release numbers; "" and "unknown" do not."""
    return version[:1].isdecimal()


def contains(version_range: str, version: str) -> bool:
    """Whether every clause of the range holds for the version; ValueError when either is malformed."""
    return all(_holds(clause, version) for clause in version_range.split(","))


def _holds(clause: str, version: str) -> bool:
    parts = _CLAUSE.match(clause)
    if parts is None:
        raise ValueError(f"not a clause of a version range: {clause!r}")
    left, right = _same_length(release(version), release(parts[2]))
    return _COMPARISONS[parts[1]](left, right)


def _same_length(left: Release, right: Release) -> tuple[Release, Release]:
    pairs = list(itertools.zip_longest(left, right, fillvalue=0))
    return tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)
