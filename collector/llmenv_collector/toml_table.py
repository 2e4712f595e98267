"""One table of an array of tables in collector.toml, such as the second [[webhook]].

Whatever is wrong with a key is one sentence with the file, the line and the table's name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmenv_collector.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


@dataclass(frozen=True)
class Table:
    """Its keys, and where they stand."""

    file: Path
    kind: str
    values: Mapping[str, Any]
    lines: Mapping[str, int]
    line: int

    @property
    def name(self) -> str:
        """What others call it by."""
        name = self.text("name")
        if NAME.fullmatch(name) is None:
            raise self.error(
                "name", f"{name!r} is no name: small letters, digits, - and _, and 40 of them at most."
            )
        return name

    def error(self, key: str, sentence: str) -> UsageError:
        return UsageError(
            f"{self.file}, line {self.lines.get(key, self.line)}, {key} of [[{self.kind}]]: {sentence}"
        )

    def require_known(self, known: Collection[str]) -> None:
        for key in self.values:
            if key not in known:
                raise self.error(key, f"there is no such key; there are {', '.join(sorted(known))}.")

    def text(self, key: str, default: str | None = None) -> str:
        value = self.values.get(key, default)
        if value is None:
            raise self.error(key, "it is missing.")
        if not isinstance(value, str):
            raise self.error(key, f"it is text, not {value!r}.")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """None where the key is absent."""
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise self.error(key, f"it is a list of texts, not {value!r}.")
        return tuple(value)

    def number(self, key: str, default: float, *, least: float, most: float) -> float:
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise self.error(key, f"it is a number from {least:g} to {most:g}, not {value!r}.")
        return float(value)

    def one_of(self, key: str, choices: Sequence[str], default: str | None = None) -> str:
        value = self.text(key, default)
        if value not in choices:
            raise self.error(key, f"it is {' or '.join(choices)}, not {value!r}.")
        return value


def tables_of(file: Path, kind: str, value: object, text: str) -> list[Table]:
    """The array of tables of this kind.  Raises UsageError where it is something else."""
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise UsageError(f"{file}: write {kind} as tables, each under a line [[{kind}]].")
    lines = text.splitlines()
    header = re.compile(rf"^\s*\[\[\s*{kind}\s*\]\]")
    begins = [number for number, line in enumerate(lines, 1) if header.match(line)]
    begins += [1] * (len(value) - len(begins))
    found = [
        Table(file, kind, one, lines_of(one, lines, begin), begin)
        for one, begin in zip(value, begins, strict=False)
    ]
    names = [one.name for one in found]
    for one in found:
        if names.count(one.name) > 1:
            raise one.error("name", f"two are called {one.name!r}.")
    return found


def lines_of(keys: Collection[str], lines: Sequence[str], begin: int) -> dict[str, int]:
    """The first line after the table's with each key; the table's own where it is written otherwise."""
    found = {}
    for key in keys:
        pattern = re.compile(rf"""^\s*["']?{re.escape(key)}["']?\s*=""")
        following = (number for number, line in enumerate(lines, 1) if number > begin and pattern.match(line))
        found[key] = next(following, begin)
    return found
