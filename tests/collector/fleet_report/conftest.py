"""A store of its own for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from llmenv_collector.store import Store

from .built_fleet import BuiltFleet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[BuiltFleet]:
    store = Store(tmp_path / "llmenv.duckdb")
    yield BuiltFleet(store)
    store.close()
