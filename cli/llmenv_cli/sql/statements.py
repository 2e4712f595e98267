"""Where a statement ends in what somebody types: at a semicolon outside of quotes and comments."""

from __future__ import annotations

import re

# What may hold a semicolon that ends nothing; each may be open at the end.
SPANS = re.compile(
    r"""
    '(?:[^']|'')*(?:'|\Z)
    | "(?:[^"]|"")*(?:"|\Z)
    | --[^\n]*
    | /\*.*?(?:\*/|\Z)
    | (?P<tag>\$(?:[A-Za-z_]\w*)?\$).*?(?:(?P=tag)|\Z)
    | ;
    """,
    re.DOTALL | re.VERBOSE,
)


def split(text: str) -> tuple[list[str], str]:
    """The whole statements, each with its semicolon, and what follows the last."""
    ends = [span.end() for span in SPANS.finditer(text) if span[0] == ";"]
    starts = [0, *ends]
    whole = [text[start:end].strip() for start, end in zip(starts, ends, strict=False)]
    return [statement for statement in whole if statement != ";"], text[starts[-1] :].strip()


def is_comment(text: str) -> bool:
    """Whether nothing is asked in it."""
    return not SPANS.sub(lambda span: "" if span[0].startswith(("--", "/*")) else span[0], text).strip()
