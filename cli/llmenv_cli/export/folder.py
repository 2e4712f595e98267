"""Brings a folder up to date with the collector, a file at a time."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING

from llmenv_cli.destination import opened
from llmenv_cli.errors import UsageError
from llmenv_cli.export.manifest import UNFINISHED, ExportedFile, Manifest, checksum
from llmenv_cli.export.months import Part, Span, parameters, parts_of, rows_statement
from llmenv_cli.sql.answer import Answer
from llmenv_cli.sql.output import write_bytes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from llmenv_cli.client import FleetClient
    from llmenv_cli.sql.views import View

PIECE_ROWS = 500_000
"""Of one file; half of what an answer may have unless the collector's settings say otherwise."""
MOST_PIECES = 4_096


class CutError(UsageError):
    """An answer was cut: the month has to be taken in smaller pieces."""


class Export:
    """Counts what it did: files written and files that were up to date."""

    def __init__(self, client: FleetClient, manifest: Manifest) -> None:
        self._client = client
        self._manifest = manifest
        self.written = 0
        self.kept = 0
        self.rows = 0

    def run(self, views: Sequence[View], span: Span, *, say: Callable[[str], object]) -> None:
        """Goes on after whatever ended the last one."""
        for left in self._manifest.folder.rglob(f"*{UNFINISHED}"):
            left.unlink(missing_ok=True)
        for view in views:
            before = self.written
            self._manifest.clear(view.name)
            parts = parts_of(self._client, view, span)
            for part in parts:
                self._settle(view, part)
            self._forget_others(view, span, months={part.month for part in parts})
            told = f"{self.written - before} written" if self.written > before else "up to date"
            say(f"{view.name}: {sum(part.rows for part in parts):,} rows, {told}")

    def _settle(self, view: View, part: Part) -> None:
        """The files of a month are what the collector has, in as many pieces as it takes."""
        pieces = max(1, math.ceil(part.rows / PIECE_ROWS))
        while True:
            try:
                paths = [self._path(part, piece, pieces) for piece in range(pieces)]
                for piece, path in enumerate(paths):
                    self._settle_piece(view, part, path=path, piece=piece, pieces=pieces)
            except CutError:
                if pieces >= MOST_PIECES:
                    raise
                pieces *= 2
            else:
                self._forget(part, keep=paths)
                return

    def _settle_piece(self, view: View, part: Part, *, path: str, piece: int, pieces: int) -> None:
        if self._manifest.holds(path, made_from=part.fingerprint):
            self.kept += 1
            self.rows += self._manifest.files[path].rows
            return
        entry = self._write(view, part, path=path, piece=piece, pieces=pieces)
        self._manifest.add(entry)
        self.written += 1
        self.rows += entry.rows

    def _write(self, view: View, part: Part, *, path: str, piece: int, pieces: int) -> ExportedFile:
        file = self._manifest.folder / path
        file.parent.mkdir(exist_ok=True)
        statement = rows_statement(view, pieces=pieces)
        values = parameters(part.month, piece=piece, pieces=pieces)
        with contextlib.closing(self._client.query(statement, max_rows=0, parameters=values)) as arriving:
            answer = Answer(arriving)
            with opened(file, is_durable=True) as stream:
                write_bytes_of(answer, stream, output_format=self._manifest.output_format)
                if answer.is_truncated:
                    raise CutError(f"{view.name} of {part.month} has more rows than an answer may have.")
        return ExportedFile(
            path=path,
            view=view.name,
            month=part.month,
            rows=answer.rows,
            size=file.stat().st_size,
            sha256=checksum(file),
            made_from=part.fingerprint,
            snapshot_at=f"{answer.snapshot:%Y-%m-%dT%H:%M:%SZ}",
        )

    def _path(self, part: Part, piece: int, pieces: int) -> str:
        number = f".{piece + 1}-of-{pieces}" if pieces > 1 else ""
        return f"{part.view}/{part.month}{number}.{self._manifest.output_format}"

    def _forget(self, part: Part, *, keep: Sequence[str]) -> None:
        """Pieces of the month as it was cut before hold the same rows once more."""
        files = self._manifest.files.values()
        former = [each.path for each in files if (each.view, each.month) == (part.view, part.month)]
        if surplus := [path for path in former if path not in keep]:
            self._manifest.remove(surplus)

    def _forget_others(self, view: View, span: Span, *, months: Collection[str]) -> None:
        """Rows that got a time lie in another month's file now, those of a forgotten machine in none."""
        files = self._manifest.files.values()
        former = [each for each in files if each.view == view.name and span.covers(each.month)]
        if surplus := [each.path for each in former if each.month not in months]:
            self._manifest.remove(surplus)
