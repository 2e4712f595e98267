"""Where a measurement is from: a check of ours, or a file that was imported.

What was imported is compared as the results of a check are, under the name of its benchmark, with a
definition that names the source instead of hashing a file: so it is never one series with what our checks
measured.
"""

from __future__ import annotations

PREFIX = "import:"


def definition_of(source: str) -> str:
    """Of everything that was imported from it."""
    return PREFIX + source


def source_of(definition_hash: str) -> str:
    """Empty for a check of ours."""
    return definition_hash.removeprefix(PREFIX) if definition_hash.startswith(PREFIX) else ""
