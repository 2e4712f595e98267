"""Sentences that can be said in another language: an English template and its values as text."""

from __future__ import annotations

import string
from typing import Any, Dict, List, Mapping

# Of one value: a sentence is to be read, and what is longer belongs into a fact or the log.
MOST_CHARACTERS = 1000


def sentence(template: str, values: Mapping[str, Any]) -> Dict[str, Any]:
    """Fill `template` ("{loss:.3f} of {first}") and keep it apart from its formatted values.

    Format specifications are applied here and stripped from the template, so
    that a translation needs none.  Raises ValueError for a name that has no
    value or stands with two different formats.
    """
    pieces: List[str] = []
    formatted: Dict[str, str] = {}
    for literal, name, specification, _ in string.Formatter().parse(template):
        pieces.append(literal.replace("{", "{{").replace("}", "}}"))
        if name is None:
            continue
        text = _format(template, name, specification or "", values)
        if formatted.setdefault(name, text) != text:
            raise ValueError(f"{{{name}}} stands with two formats in {template!r}")
        pieces.append("{" + name + "}")
    stripped = "".join(pieces)
    return {"text": stripped.format(**formatted), "template": stripped, "values": formatted}


def _format(template: str, name: str, specification: str, values: Mapping[str, Any]) -> str:
    if name not in values:
        raise ValueError(f"{{{name}}} has no value in {template!r}")
    text = format(values[name], specification)
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"


def shortened(text: str, *, limit: int) -> str:
    """The first line of `text` with content, at most `limit` characters."""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return first if len(first) <= limit else first[: limit - 1] + "…"
