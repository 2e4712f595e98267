"""Where a report goes: to stdout, or to a file that is whole or not there."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, BinaryIO

from llmenv_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


def write_text(text: str, file: Path | None) -> None:
    """In UTF-8 to a file; to stdout as that is."""
    if file is None:
        sys.stdout.write(text)
    else:
        write_bytes([text.encode()], file)


def write_bytes(parts: Iterable[bytes], file: Path | None) -> None:
    """Raises UsageError for a file that cannot be written; what was there stays until all is written."""
    with opened(file) as stream:
        stream.writelines(parts)


@contextlib.contextmanager
def opened(file: Path | None, *, is_durable: bool = False) -> Iterator[BinaryIO]:
    """A stream of bytes that is in place as a file, or on stdout, when the block ends well."""
    if file is None:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    unfinished = file.with_name(f"{file.name}.part")
    try:
        with unfinished.open("wb") as stream:
            yield stream
            if is_durable:
                stream.flush()
                os.fsync(stream.fileno())
        unfinished.replace(file)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}.") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def require_no_terminal(file: Path | None, *, output_format: str) -> None:
    """Raises UsageError where bytes would be written to somebody's terminal."""
    if file is None and sys.stdout.isatty():
        raise UsageError(f"{output_format} is not for a terminal: give it a file with --output FILE.")


def require_folder(file: Path | None) -> None:
    """Raises UsageError before anything is asked where the file could not be written anyway."""
    if file is None:
        return
    if file.is_dir():
        raise UsageError(f"{file} cannot be written: it is a folder.")
    if not file.parent.is_dir():
        raise UsageError(f"{file} cannot be written: there is no folder {file.parent}.")
