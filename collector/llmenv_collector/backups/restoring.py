"""The way back to an older database, or to a new machine: what is in place is set aside, never overwritten.

Only the database goes back.  Who may deliver and ask stays as it is now, so that no
used token and no revoked machine returns; the identity of a backup is taken only
into a folder that has none.
"""

from __future__ import annotations

import datetime as dt
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv_collector.backups.backup_folder import IDENTITY, flush
from llmenv_collector.errors import BackupError, UsageError
from llmenv_collector.storage import inspection, migrate
from llmenv_collector.storage.data_folder import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from llmenv_collector.backups.backup_folder import BackupFolder
    from llmenv_collector.storage.data_folder import DataFolder
    from llmenv_collector.storage.inspection import Contents


@dataclass(frozen=True)
class Restored:
    """What is in place now."""

    contents: Contents
    set_aside: Path | None
    """Where the former database is; None when there was none."""
    behind: int | None
    """Sequences that the former one had beyond it; None when that cannot be read."""


def restore(folder: DataFolder, source: Path | None) -> Restored:
    """Puts a database file in place, or an empty database.  The folder's lock must be held."""
    part = folder.database.with_name(folder.database.name + ".part")
    part.unlink(missing_ok=True)
    try:
        if source is None:
            make_empty(part)
        else:
            shutil.copyfile(source, part)
        contents = inspection.inspect(part)
        require_known(contents)
        flush(part)
        behind = missing_from(contents, folder.database)
        former = set_aside(folder, "before-restore")
        part.replace(folder.database)
        flush(folder.path)
    except OSError as error:
        raise BackupError(f"{error.filename or source} cannot be used: {error.strerror}.") from error
    finally:
        part.unlink(missing_ok=True)
    return Restored(contents, former, behind)


def restore_identity(folder: DataFolder, backup: BackupFolder) -> None:
    """Raises UsageError for a folder that has an identity: an older one would forget revocations."""
    if folder.is_initialised():
        raise UsageError(
            f"{folder.path} has an identity, and it is kept: an older one would bring back used tokens and"
            " revoked machines. Leave --with-identity out."
        )
    if not backup.manifest.has_identity:
        raise BackupError(f"{backup.path} has no identity: it was made without --with-identity.")
    folder.create()
    # The identity file comes last: it makes the folder count as initialised.
    authority = (folder.ca_certificate, folder.ca_key, folder.ca_former, folder.ca_cross)
    for target in (folder.configuration, *authority, folder.identity):
        kept = backup.path / IDENTITY / target.name
        if kept.exists():
            write_whole(target, kept.read_bytes(), mode=0o600)


def set_aside(folder: DataFolder, why: str) -> Path | None:
    """Moves the database and its log to names of their own; the former's, or None when there is none.

    The database goes first: without its log it would open, and lack what the log holds.
    """
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%S%fZ")
    aside = folder.database.with_name(f"{folder.database.name}.{why}-{stamp}")
    found = folder.database.exists()
    if found:
        folder.database.rename(aside)
    log = migrate.log_of(folder.database)
    if log.exists():
        log.rename(migrate.log_of(aside))
    flush(folder.path)
    return aside if found else None


def make_empty(path: Path) -> None:
    connection = migrate.connect(path)
    try:
        migrate.migrate(connection)
    finally:
        connection.close()


def require_known(contents: Contents) -> None:
    newest = migrate.shipped()[-1].version
    if contents.schema > newest:
        raise BackupError(
            f"Its schema is {contents.schema} and this collector knows {newest}: upgrade llmenv first."
        )


def missing_from(contents: Contents, former: Path) -> int | None:
    if not former.exists():
        return None
    try:
        return inspection.inspect(former).ahead_of(contents)
    except BackupError:
        return None
