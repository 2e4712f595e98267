"""What is promised holds, or the round says what does not."""

from __future__ import annotations


class UnexplainedError(Exception):
    """A promise was broken. The text says which and where."""


def require(condition: bool, sentence: str) -> None:
    if not condition:
        raise UnexplainedError(sentence)
