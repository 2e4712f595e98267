"""Which backups were made of a data folder, so that the newest one can be offered when it is needed."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from llmenv_collector.backups.backup_folder import BackupFolder
from llmenv_collector.errors import BackupError
from llmenv_collector.storage.data_folder import write_whole

if TYPE_CHECKING:
    from llmenv_collector.storage.data_folder import DataFolder

KEPT = 100


def note(folder: DataFolder, backup: BackupFolder) -> None:
    paths = [*known(folder), str(backup.path.resolve())][-KEPT:]
    write_whole(folder.backups, json.dumps(paths, indent=1).encode(), mode=0o600)


def newest(folder: DataFolder) -> BackupFolder | None:
    """Of those that are still where they were made; their content is verified when one is restored."""
    found = []
    for path in known(folder):
        with contextlib.suppress(BackupError):
            found.append(BackupFolder.open(Path(path)))
    return max(found, key=lambda backup: backup.manifest.taken_at, default=None)


def known(folder: DataFolder) -> list[str]:
    """A list that cannot be read costs only the offer."""
    try:
        paths = json.loads(folder.backups.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [path for path in paths if isinstance(path, str)] if isinstance(paths, list) else []
