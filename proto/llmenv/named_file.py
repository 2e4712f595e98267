"""A file that somebody names is refused where reading it would wait, or go on, for ever.

To open a named pipe is to wait until somebody writes into it, and some devices never end.  What the shell has
opened already, as `<(command)` or /dev/stdin, ends with its writer, and is read.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_OPEN_ALREADY = ("/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/self/fd/")


def refuse_pipes(path: Path) -> None:
    """Raises OSError, with words for after "cannot be read: "; FileNotFoundError where there is nothing."""
    if str(path).startswith(_OPEN_ALREADY) or str(path) == os.devnull:
        return
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "it is no file but a pipe or a device", str(path))
