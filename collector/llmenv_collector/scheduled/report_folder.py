"""A report's files in a folder: each whole or not there, and the newest of them kept.

Only files of the report's own name and pattern are ever removed.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING

from llmenv_collector.backups.backup_folder import flush
from llmenv_collector.storage.data_folder import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from llmenv_collector.scheduled.scheduled_report import ScheduledReport

STAMP = "%Y%m%dT%H%M%SZ"
MODE = 0o644


def write(report: ScheduledReport, folder: Path, content: bytes, *, seconds: float) -> Path:
    """Named by its time, Unix seconds; the older ones beyond what is kept are removed.  Raises OSError."""
    stamp = dt.datetime.fromtimestamp(seconds, dt.UTC).strftime(STAMP)
    path = folder / f"{report.name}-{stamp}.{report.format}"
    for half in files_of(report, folder, ending=".part"):
        half.unlink(missing_ok=True)
    write_whole(path, content, mode=MODE)
    for old in files_of(report, folder)[: -report.keep]:
        old.unlink(missing_ok=True)
    flush(folder)
    return path


def files_of(report: ScheduledReport, folder: Path, *, ending: str = "") -> list[Path]:
    """Oldest first."""
    pattern = re.compile(rf"{re.escape(report.name)}-\d{{8}}T\d{{6}}Z\.(?:html|json){re.escape(ending)}")
    return sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name))
