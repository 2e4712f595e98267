"""What the options of the collector's commands are taken for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmenv_collector.commands import options

if TYPE_CHECKING:
    import pytest


def test_a_folder_is_the_same_for_every_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process of an analyst's SQL works elsewhere, and found nothing where --data was relative."""
    unused: Any = None
    monkeypatch.chdir(tmp_path)
    assert options.to_folder(unused, unused, Path("data")).database == (tmp_path / "data" / "llmenv.duckdb")
    assert options.to_folder(unused, unused, None).path.is_absolute()
