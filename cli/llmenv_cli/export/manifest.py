"""What an export folder holds: manifest.json names each file with its checksum and what it was made from.

The manifest is written after the file that it names, both in place as a whole, so that whatever kills an
export leaves a folder that the next one goes on with.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import re
from typing import TYPE_CHECKING, Any

from llmenv_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from llmenv_cli.sql.views import View

FILE_NAME, LOCK_NAME = "manifest.json", ".export.lock"
VERSION = 1
UNFINISHED = ".part"
PIECE = re.compile(r"(?:all|undated|\d{4,5}-\d\d)(?:\.\d+-of-\d+)?")
"""How an export calls a file."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportedFile:
    """`made_from` is the fingerprint of the rows at the collector, `sha256` that of the file."""

    path: str
    view: str
    month: str
    rows: int
    size: int
    sha256: str
    made_from: str
    snapshot_at: str


@dataclasses.dataclass(kw_only=True)
class Manifest:
    """Of one folder, one format and one collector, which is known by its authority."""

    folder: Path
    output_format: str
    collector: str
    views: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    files: dict[str, ExportedFile] = dataclasses.field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path, *, output_format: str, collector: str) -> Manifest:
        """An empty one for an empty folder. Raises UsageError for one that cannot be gone on with."""
        file = folder / FILE_NAME
        made = cls(folder=folder, output_format=output_format, collector=collector)
        if not file.exists():
            if strangers := [each.name for each in folder.iterdir() if each.name != LOCK_NAME]:
                raise UsageError(
                    f"{folder} is no export and has {strangers[0]} in it: choose an empty or a new folder."
                )
            return made
        try:
            content = json.loads(file.read_text("utf-8"))
            kept = (content["version"], content["format"], content["collector"])
            made.files = {each["path"]: ExportedFile(**each) for each in content["files"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{file} is damaged: remove the folder, or choose another.") from error
        wanted = (VERSION, output_format, collector)
        for word, was, now in zip(("version", "format", "collector"), kept, wanted, strict=True):
            if was != now:
                raise UsageError(f"{folder} was exported with another {word}: choose another folder.")
        return made

    def describe(self, views: Sequence[View]) -> None:
        """What the columns mean goes with the files."""
        self.views = [dataclasses.asdict(view) for view in views]
        self.save()

    def holds(self, path: str, *, made_from: str) -> bool:
        """Whether the file is whole and made from these rows."""
        entry = self.files.get(path)
        return entry is not None and entry.made_from == made_from and self.is_whole(entry)

    def is_whole(self, entry: ExportedFile) -> bool:
        file = self.folder / entry.path
        try:
            return file.stat().st_size == entry.size and checksum(file) == entry.sha256
        except OSError:
            return False

    def add(self, entry: ExportedFile) -> None:
        """After the file is in place."""
        self.files[entry.path] = entry
        self.save()

    def remove(self, paths: Sequence[str]) -> None:
        """The files go when the manifest no longer names them."""
        for path in paths:
            del self.files[path]
        self.save()
        for path in paths:
            (self.folder / path).unlink(missing_ok=True)

    def clear(self, view: str) -> None:
        """What was killed may have left files that the manifest does not name yet, or no longer."""
        for file in (self.folder / view).glob(f"*.{self.output_format}"):
            if PIECE.fullmatch(file.stem) and f"{view}/{file.name}" not in self.files:
                file.unlink(missing_ok=True)

    def save(self) -> None:
        content = {
            "version": VERSION,
            "format": self.output_format,
            "collector": self.collector,
            "views": self.views,
            "files": [dataclasses.asdict(each) for _, each in sorted(self.files.items())],
        }
        unfinished = self.folder / (FILE_NAME + UNFINISHED)
        with unfinished.open("w", encoding="utf-8") as stream:
            json.dump(content, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(self.folder / FILE_NAME)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes the folder, and keeps a second export out of it. Raises UsageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise UsageError(f"{folder} cannot be exported to: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise UsageError(f"Another export writes to {folder}: wait for its end.") from error
    try:
        yield
    finally:
        os.close(descriptor)


def fingerprint_of(ca_pem: str) -> str:
    """A collector is known by its authority: its address may change."""
    return hashlib.sha256(ca_pem.strip().encode()).hexdigest()


def checksum(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
