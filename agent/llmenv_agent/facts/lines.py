"""Text made of `key: value` lines, as most macOS tools print it."""

from __future__ import annotations


def colon_lines(text: str) -> dict[str, str]:
    """Every `key: value` line, both sides stripped; of a repeated key the first is kept."""
    pairs: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon and value.strip():
            pairs.setdefault(key.strip(), value.strip())
    return pairs
