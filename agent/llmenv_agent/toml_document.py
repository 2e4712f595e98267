"""A TOML file that is checked by hand, so that whatever is wrong in it is said with its line."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from llmenv_agent.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_HEADER = re.compile(r"\s*\[+\s*([^\]]+?)\s*\]+")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def parse_duration(text: str) -> float:
    """Seconds of "30s", "10m", "24h" or "7d". Raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no duration; write it like 30s, 10m, 24h or 7d")
    return float(match[1]) * _UNIT_SECONDS[match[2]]


class Document:
    """The text of a file and where things stand in it; `where` is the path of a key, its tables first."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = text.splitlines()

    def error(self, where: tuple[str, ...], problem: str, *, nth: int = 0) -> UsageError:
        return UsageError(f"{self._path}:{self._line_of(where, nth)}: {'.'.join(where)} {problem}.")

    def allow(
        self, table: Mapping[str, Any], where: tuple[str, ...], known: set[str], *, nth: int = 0
    ) -> None:
        for key in table:
            if key not in known:
                raise self.error(
                    (*where, key), f"is not known here; known are {', '.join(sorted(known))}", nth=nth
                )

    def table(self, content: Mapping[str, Any], key: str, *, below: str = "") -> dict[str, Any]:
        value = content.get(key, {})
        if not isinstance(value, dict):
            raise self.error((below, key) if below else (key,), "must be a table")
        return value

    def text(self, table: Mapping[str, Any], where: tuple[str, ...], *, nth: int = 0) -> str:
        value = table.get(where[-1], "")
        if not isinstance(value, str):
            raise self.error(where, "must be a text in quotes", nth=nth)
        return value

    def texts(self, table: Mapping[str, Any], where: tuple[str, ...]) -> list[str]:
        value = table.get(where[-1], [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self.error(where, "must be a list of texts")
        return value

    def choice(
        self, table: Mapping[str, Any], where: tuple[str, ...], known: tuple[str, ...], *, variable: str
    ) -> str:
        if value := os.environ.get(variable):
            if value not in known:
                raise UsageError(f"{variable} is {value!r}; it must be one of {', '.join(known)}.")
            return value
        return self.one_of(table, where, known)

    def one_of(self, table: Mapping[str, Any], where: tuple[str, ...], known: tuple[str, ...]) -> str:
        value = self.text(table, where)
        if value and value not in known:
            raise self.error(where, f"is {value!r}; it must be one of {', '.join(known)}")
        return value

    def flag(self, table: Mapping[str, Any], where: tuple[str, ...], *, default: bool) -> bool:
        value = table.get(where[-1], default)
        if not isinstance(value, bool):
            raise self.error(where, "must be true or false")
        return value

    def number(
        self, table: Mapping[str, Any], where: tuple[str, ...], *, default: float, highest: float
    ) -> float:
        value = table.get(where[-1], default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= highest:
            raise self.error(where, f"must be a number above 0, at most {highest:g}")
        return float(value)

    def duration(self, table: Mapping[str, Any], where: tuple[str, ...], *, default: float) -> float:
        value = self.text(table, where)
        try:
            return parse_duration(value) if value else default
        except ValueError as error:
            raise self.error(where, f"cannot be read: {error}") from error

    def _line_of(self, where: tuple[str, ...], nth: int) -> int:
        """The line of the table or key `where`, in the nth table of its name; else the nearest known."""
        headers = self._headers()
        own = [number for number, name in headers if name[: len(where)] == where]
        if len(own) > nth:
            return own[nth]
        *table, key = where
        starts = [number for number, name in headers if name == tuple(table)] if table else [0]
        start = starts[nth] if len(starts) > nth else 0
        end = min((number for number, _ in headers if number > start), default=len(self._lines) + 1)
        keys = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[.=]")
        found = (number for number in range(start + 1, end) if keys.match(self._lines[number - 1]))
        return next(found, max(start, 1))

    def _headers(self) -> list[tuple[int, tuple[str, ...]]]:
        """Every [table] and [[table]] with its line."""
        matches = ((number, _HEADER.match(line)) for number, line in enumerate(self._lines, start=1))
        return [
            (number, tuple(part.strip().strip("\"'") for part in match[1].split(".")))
            for number, match in matches
            if match
        ]
