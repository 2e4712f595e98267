"""Files of measurements made elsewhere, csv or jsonl: pure, from bytes to rows and refusals.

A row that cannot be used is refused by itself, with its line and one sentence, and the others are read on, so
that a file is put right in one go.  A file that is none of these, or lacks a column, is refused as a whole.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmenv_collector.errors import UsageError
from llmenv_collector.imports.measured_row import COLUMNS, REQUIRED, Measured, measured_row

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES = 32 << 20
MAX_ROWS = 200_000
MOST_REFUSALS = 200
"""Of a file: so many are said, the rest is counted."""


@dataclass(frozen=True)
class Refusal:
    line: int
    reason: str


@dataclass(frozen=True)
class FileRows:
    """What a file holds.  `refused` counts more than `refusals` names where they are many."""

    good: tuple[Measured, ...]
    refusals: tuple[Refusal, ...]
    refused: int


class Sieve:
    """Takes row after row: alone each may be good, and not beside the others."""

    def __init__(self, *, now: int) -> None:
        self._now = now
        self._lines: dict[object, int] = {}
        self._scales: dict[tuple[str, ...], tuple[str, int]] = {}
        self.good: list[Measured] = []
        self.refusals: list[Refusal] = []
        self.refused = 0

    def take(self, line: int, cells: dict[str, Any] | str) -> None:
        """`cells` is a sentence where the line is no row."""
        try:
            row = measured_row(line, require_cells(cells), now=self._now)
            self._require_fitting(row)
        except ValueError as error:
            self.refused += 1
            if len(self.refusals) < MOST_REFUSALS:
                self.refusals.append(Refusal(line, str(error)))
        else:
            self.good.append(row)

    def _require_fitting(self, row: Measured) -> None:
        scale = self._scales.setdefault(row.series, (row.unit, row.direction))
        if scale != (row.unit, row.direction):
            raise ValueError(
                f"{row.measurement!r} has another unit or another better side than further above."
            )
        first = self._lines.setdefault(row.identity, row.line)
        if first != row.line:
            raise ValueError(f"It is the same measurement at the same time as line {first}.")


def require_cells(cells: dict[str, Any] | str) -> dict[str, Any]:
    if isinstance(cells, str):
        raise ValueError(cells)  # noqa: TRY004 (the sentence on a line that is no row)
    return cells


def read_file(content: bytes, *, file_name: str, now: int) -> FileRows:
    """Raises UsageError for a file that is of no use as a whole.  `now` is microseconds since 1970."""
    if len(content) > MAX_BYTES:
        raise UsageError(f"A file has at most {MAX_BYTES >> 20} MiB: split it.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"The file is not UTF-8: {error.reason} at byte {error.start}.") from error
    ending = file_name.rpartition(".")[2].lower()
    if ending not in {"csv", "jsonl"}:
        raise UsageError(f"A file of measurements ends in .csv or .jsonl, not {file_name!r}.")
    sieve = Sieve(now=now)
    for count, (line, cells) in enumerate(csv_rows(text) if ending == "csv" else jsonl_rows(text), 1):
        if count > MAX_ROWS:
            raise UsageError(f"A file has at most {MAX_ROWS:,} rows: split it.")
        sieve.take(line, cells)
    if not sieve.good and not sieve.refused:
        raise UsageError("The file has no row.")
    return FileRows(tuple(sieve.good), tuple(sieve.refusals), sieve.refused)


def csv_rows(text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """By line; raises UsageError for a header that is none."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        require_columns(header)
        for cells in reader:
            if not cells:
                continue
            if len(cells) == len(header):
                yield reader.line_num, dict(zip(header, cells, strict=True))
            else:
                yield reader.line_num, f"It has {len(cells)} cells, and the header {len(header)}."
    except csv.Error as error:
        raise UsageError(f"Line {reader.line_num} is not csv: {error}.") from error


def require_columns(header: list[str]) -> None:
    unknown = [name for name in header if name not in COLUMNS]
    missing = [name for name in REQUIRED if name not in header]
    if len(set(header)) != len(header):
        raise UsageError("The header names a column twice.")
    if missing:
        raise UsageError(f"The header lacks {', '.join(missing)}.")
    if unknown:
        raise UsageError(f"The header has {unknown[0]!r}, which is no column: {', '.join(COLUMNS)} are.")


def jsonl_rows(text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for line, content in enumerate(text.split("\n"), 1):
        if content.strip():
            yield line, json_cells(content)


def json_cells(content: str) -> dict[str, Any] | str:
    """The object of one line, or what is wrong with it."""
    try:
        found = json.loads(content, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        return f"It is not JSON: {error}."
    if not isinstance(found, dict):
        return "It is no JSON object."
    unknown = [name for name in found if name not in COLUMNS]
    if unknown:
        return f"{unknown[0]!r} is no column: {', '.join(COLUMNS)} are."
    return found


def refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")
