"""What is there for a file alone, and is refused where the store is a lake."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_collector import settings
from llmenv_collector.errors import UsageError

if TYPE_CHECKING:
    from llmenv_collector.storage.data_folder import DataFolder

SENTENCE = (
    "The store is a lake: `backup`, `restore`, `migrate`, `retention` and `compact` are for a file;"
    " docs/ducklake.md says how a lake is backed up and what it does by itself."
)


def require_a_file(folder: DataFolder) -> None:
    """By the settings, also while nobody serves. Raises UsageError."""
    if settings.load(folder.configuration, flags={}).store != "file":
        raise UsageError(SENTENCE)
