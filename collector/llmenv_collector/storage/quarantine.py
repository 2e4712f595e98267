"""A database that cannot be opened is moved aside and kept; no collector begins an empty one by itself.

Whoever starts it reads what is wrong and which command puts a sound database in
place: the last checkpoint where only the log is damaged, else the newest backup
that is still there, else an empty one.  The agents deliver again what is missing
as far as they hold it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_collector.backups import history as backup_history
from llmenv_collector.backups.restoring import set_aside
from llmenv_collector.errors import BackupError, DamagedStoreError
from llmenv_collector.storage import inspection
from llmenv_collector.storage.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from llmenv_collector.storage.data_folder import DataFolder


def open_store(folder: DataFolder, *, reserve_bytes: int) -> Store:
    """Raises DamagedStoreError with the command that helps, StoreError for what is no damage."""
    require_database(folder)
    try:
        return Store(folder.database, reserve_bytes=reserve_bytes)
    except DamagedStoreError as error:
        aside = set_aside(folder, "damaged")
        raise DamagedStoreError(f"{error} It was moved to {aside}. {offer(folder, aside)}") from error


def require_database(folder: DataFolder) -> None:
    """Raises DamagedStoreError with the command that helps: to connect would begin an empty one."""
    if not folder.database.exists():
        raise DamagedStoreError(f"There is no database {folder.database}. {offer(folder)}")


def offer(folder: DataFolder, aside: Path | None = None) -> str:
    """One sentence with the command to run."""
    if aside is not None and is_sound_without_log(folder, aside):
        return f"Its last checkpoint is sound; go on from there: {command(folder, str(aside))}"
    newest = backup_history.newest(folder)
    if newest is not None:
        return f"The newest backup is of {newest.manifest.taken_at}: {command(folder, str(newest.path))}"
    return (
        "No backup is known here; restore one that you have, or begin with an empty database, to which agents"
        f" deliver again what they still hold: {command(folder, '--empty')}"
    )


def command(folder: DataFolder, source: str) -> str:
    return f"llmenv-collector restore {source} --data {folder.path}"


def is_sound_without_log(folder: DataFolder, aside: Path) -> bool:
    """Looked at under another name, where the log is not beside it."""
    alone = folder.database.with_name(aside.name + ".alone")
    try:
        alone.hardlink_to(aside)
        inspection.inspect(alone)
    except (OSError, BackupError):
        return False
    finally:
        alone.unlink(missing_ok=True)
    return True
