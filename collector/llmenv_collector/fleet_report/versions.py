"""Which version is the older one, and which packages are released together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

MACOS = "macos"
"""Builds of it are compared like versions of a package."""
PYTHON = "python"
COMPANIONS = {"torch": ("torchvision", "torchaudio")}
"""Built for one version of the other, so that they can only change together."""
MASTERS = {companion: package for package, found in COMPANIONS.items() for companion in found}
BEFORE_RELEASE = {"dev": -4, "a": -3, "alpha": -3, "b": -2, "beta": -2, "c": -1, "rc": -1}
END = (0, 0, "")


def order(version: str) -> tuple[tuple[int, int, str], ...]:
    """A key to sort versions and builds of macOS by: "2.9.1" < "2.10.0rc1" < "2.10.0" < "2.10.0.post1"."""
    parts: list[tuple[int, int, str]] = []
    for number, word in re.findall(r"(\d+)|([a-z]+)", version.lower()):
        parts.append((2, int(number), "") if number else (BEFORE_RELEASE.get(word, 1), 0, word))
    return (*parts, END)


def in_order(versions: set[str]) -> list[str]:
    """The oldest first."""
    return sorted(versions, key=lambda version: (order(version), version))


def companions(package: str) -> tuple[str, ...]:
    return COMPANIONS.get(package, ())


def is_companion(package: str) -> bool:
    """Whether it is built for one version of another one."""
    return package in MASTERS


def without_companions(packages: Collection[str]) -> set[str]:
    """Less those whose master is among them: what they do is the master's."""
    return {one for one in packages if MASTERS.get(one) not in packages}
