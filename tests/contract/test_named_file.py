"""What is read by name: files and what the shell has opened, and nothing that waits or goes on for ever."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from llmenv.named_file import refuse_pipes


def test_files_and_what_is_open_already_are_read(tmp_path: Path) -> None:
    """An empty file, /dev/null, stdin, and the pipe of `<(command)`; a folder is refused by its opening."""
    file = tmp_path / "file"
    file.touch()
    reading, writing = os.pipe()
    try:
        for path in (
            file,
            tmp_path,
            Path(os.devnull),
            Path("/dev/stdin"),
            Path("/dev/stderr"),
            Path(f"/dev/fd/{reading}"),
        ):
            refuse_pipes(path)
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("kind", ["pipe", "link", "device", "socket"])
def test_pipes_devices_and_sockets_are_refused(kind: str, tmp_path: Path) -> None:
    """Also behind a link."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        where = Path.cwd()
        os.chdir(tmp_path)  # the path of a socket has little room
        try:
            listener.bind("socket")
        finally:
            os.chdir(where)
        with pytest.raises(OSError, match="it is no file but a pipe or a device"):
            refuse_pipes(Path("/dev/zero") if kind == "device" else tmp_path / kind)


def test_what_is_not_there_is_said_as_ever(tmp_path: Path) -> None:
    """Its callers have words for it."""
    with pytest.raises(FileNotFoundError):
        refuse_pipes(tmp_path / "none")
