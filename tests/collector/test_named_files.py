"""Files that somebody names to the collector: a named pipe is refused in one sentence, never waited for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from llmenv_collector.errors import CollectorError
from llmenv_collector.notices.webhook import read_private
from llmenv_collector.serving.lab_certificate import read
from llmenv_collector.settings import read_toml

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("reader", [read_toml, read, read_private], ids=["settings", "certificate", "secret"])
def test_a_pipe_is_refused(reader: Callable[[Path], object], tmp_path: Path) -> None:
    """Settings, a certificate of the lab's own, and the secret of a webhook."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    with pytest.raises(CollectorError) as refused:
        reader(pipe)
    assert str(refused.value) == f"{pipe} cannot be read: it is no file but a pipe or a device."
