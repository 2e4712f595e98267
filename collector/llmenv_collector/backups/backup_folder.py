"""One backup: a folder with the database, a manifest, and, where it was asked for, the identity apart.

It appears whole or not at all: everything is written into FOLDER.part, flushed,
read back, and renamed.  The manifest has the length and the SHA-256 of each file
and how far each spool was durable, so that a restore can say what agents will
deliver again.  The identity (machines, tokens, CA, settings) has a folder of its own that
only its owner can read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from llmenv_collector.errors import BackupError, UsageError
from llmenv_collector.storage import inspection
from llmenv_collector.storage.data_folder import write_whole
from llmenv_collector.storage.inspection import Contents

if TYPE_CHECKING:
    from pathlib import Path

    from llmenv_collector.storage.data_folder import DataFolder

FORMAT = 1
MANIFEST, DATABASE, IDENTITY = "manifest.json", "llmenv.duckdb", "identity"


@dataclass(frozen=True)
class StoredFile:
    """What a file has to be when it is read back."""

    size: int
    """Bytes."""
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What is in a backup."""

    format: int
    taken_at: str
    """UTC, ISO 8601: everything committed by then is in it."""
    llmenv_version: str
    duckdb_version: str
    contents: Contents
    files: dict[str, StoredFile]
    """By path within the folder."""

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Raises BackupError for a folder that is no whole backup."""
        try:
            found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            if found["format"] > FORMAT:
                raise BackupError(f"{folder} was written by a newer llmenv-collector: upgrade this one.")
            found["contents"] = Contents(**found["contents"])
            found["files"] = {name: StoredFile(**file) for name, file in found["files"].items()}
            return cls(**found)
        except FileNotFoundError as error:
            raise BackupError(f"{folder} is not a backup: it has no {MANIFEST}.") from error
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise BackupError(f"The {MANIFEST} of {folder} cannot be read.") from error

    @property
    def has_identity(self) -> bool:
        return any(name.startswith(f"{IDENTITY}/") for name in self.files)


@dataclass(frozen=True)
class BackupFolder:
    """A backup that is there."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path) -> BackupFolder:
        return cls(path, Manifest.read(path))

    @property
    def database(self) -> Path:
        return self.path / DATABASE

    def verify(self) -> None:
        """Every byte is as it was written, and the database opens.  Raises BackupError."""
        for name, file in self.manifest.files.items():
            if not (self.path / name).is_file() or stored_file(self.path / name) != file:
                raise BackupError(f"{self.path / name} is not as it was written: use another backup.")
        inspection.inspect(self.database)


def write(
    destination: Path,
    *,
    database: Path,
    may_share: bool,
    taken_at: str,
    llmenv_version: str,
    identity_of: DataFolder | None = None,
) -> BackupFolder:
    """A new backup of a database file that nobody writes.  `may_share`: it never changes, so
    that another name for it does where the file system can.

    Raises UsageError when something is there already, BackupError when what was written does not read back.
    """
    if destination.exists():
        raise UsageError(f"{destination} exists already: a backup never overwrites anything.")
    part = destination.with_name(destination.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True, mode=0o700)
        place(database, part / DATABASE, may_share=may_share)
        if identity_of is not None:
            write_identity(part / IDENTITY, identity_of)
        manifest = Manifest(
            format=FORMAT,
            taken_at=taken_at,
            llmenv_version=llmenv_version,
            duckdb_version=inspection.engine_version(),
            contents=inspection.inspect(part / DATABASE),
            files={str(file.relative_to(part)): stored_file(file) for file in files_of(part)},
        )
        write_whole(part / MANIFEST, json.dumps(asdict(manifest), indent=1).encode(), mode=0o600)
        part.rename(destination)
        flush(destination.parent)
    except OSError as error:
        raise BackupError(f"{error.filename or destination} cannot be written: {error.strerror}.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return BackupFolder(destination, manifest)


def place(source: Path, target: Path, *, may_share: bool) -> None:
    """Under another name where the file may be shared and both are on one file system, else a copy."""
    if may_share:
        with contextlib.suppress(OSError):
            os.link(source, target)
    if not target.exists():
        shutil.copyfile(source, target)
    target.chmod(0o600)
    flush(target)


def write_identity(target: Path, folder: DataFolder) -> None:
    """Copied by SQLite itself, so that a token made in this moment is in it wholly or not at all."""
    target.mkdir(mode=0o700)
    authority = (folder.ca_key, folder.ca_certificate, folder.ca_former, folder.ca_cross)
    for source in (*authority, folder.configuration):
        if source.exists():
            write_whole(target / source.name, source.read_bytes(), mode=0o600)
    copy = target / folder.identity.name
    os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with (
        closing(sqlite3.connect(f"file:{folder.identity}?mode=ro", uri=True)) as original,
        closing(sqlite3.connect(copy)) as connection,
    ):
        original.backup(connection)
        connection.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it


def files_of(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def stored_file(path: Path) -> StoredFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return StoredFile(size=path.stat().st_size, sha256=digest)


def flush(path: Path) -> None:
    """To the disk: a file's content, or a folder's list of names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
