"""Shows the place in a statement that an error names."""

from __future__ import annotations

import re

from llmenv.harmless import harmless

PLACE = re.compile(r"\(line (?P<line>\d+), column (?P<column>\d+)\)\.?$")


def pointed(statement: str, message: str, *, width: int) -> str | None:
    """The line and below it a mark, no wider than that; None where the message names no place."""
    from rich.cells import cell_len

    place = PLACE.search(message)
    if place is None:
        return None
    lines = statement.split("\n")
    number, column = int(place["line"]), int(place["column"])
    if number > len(lines):
        return None
    line = harmless(lines[number - 1].replace("\t", " "))
    start = max(0, column - width // 2) if len(line) > width else 0
    shown = line[start : start + width]
    return f"{shown}\n{' ' * cell_len(line[start : column - 1])}^"
