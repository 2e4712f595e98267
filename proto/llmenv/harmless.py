"""Text from agents, made harmless to show: it must not steer the terminal of whoever reads it.

A hostname or a log may hold escape sequences that colour, clear or retitle a
terminal, or write to its clipboard.
"""

from __future__ import annotations

import re

# C0 without tab and newline, delete, and C1; and what turns the direction of writing.
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
LINE_ENDS = re.compile(r"[\t\n]")
REPLACEMENT = "\ufffd"


def harmless(text: str) -> str:
    """Each control character becomes a replacement character; tabs and newlines stay."""
    return CONTROLS.sub(REPLACEMENT, text)


def harmless_line(text: str) -> str:
    """The same on one line: a newline would begin another one in whoever's name, as in a log."""
    return LINE_ENDS.sub(REPLACEMENT, harmless(text))
