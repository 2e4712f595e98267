"""Opens the lake that the settings name, as a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_collector.lake.place import Place
from llmenv_collector.storage.disk_space import MEGABYTE
from llmenv_collector.storage.store import Store

if TYPE_CHECKING:
    from llmenv_collector.settings import Settings
    from llmenv_collector.storage.data_folder import DataFolder


def open_lake(folder: DataFolder, settings: Settings, *, read_only: bool = False) -> Store:
    """Raises UsageError for what is not set or installed, StoreError where the lake cannot be opened."""
    place = Place.of(settings)
    # What is not set is said before what is not installed.
    from llmenv_collector.lake.database import LakeDatabase, ReadOnlyLake

    kind = ReadOnlyLake if read_only else LakeDatabase
    lake = kind(place, path=folder.database)
    return Store(folder.database, reserve_bytes=settings.min_free_mb * MEGABYTE, lake=lake)
