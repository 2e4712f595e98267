"""Where huggingface_hub keeps models and its token: the rules of its constants.py, without importing it."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import List, Tuple

TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def token_variables_set() -> List[str]:
    """Names of the variables that hold a token; an empty one holds none."""
    return [name for name in TOKEN_VARIABLES if os.environ.get(name, "").strip()]


def token_file() -> Path:
    """Where a login leaves the token, whether there is one or not."""
    named = os.environ.get("HF_TOKEN_PATH")
    return _expanded(named) if named else _home() / "token"


def hub_cache() -> Path:
    """The folder of downloaded models, whether it exists or not."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return _expanded(named) if named else _home() / "hub"


def nearest_existing(folder: Path) -> Path:
    """`folder` itself, or the first above it that this user can see."""
    # Path.exists raises for a folder that may not be looked into, until Python 3.12.
    return next(each for each in (folder, *folder.absolute().parents) if os.path.exists(each))  # noqa: PTH110


def size_of(folder: Path, *, within_seconds: float) -> Tuple[int, bool]:
    """Bytes of the files below `folder`, links not followed, and whether all were seen in that time."""
    deadline = time.monotonic() + within_seconds
    total = 0
    for parent, _, names in os.walk(folder):
        total += sum(_bytes_of(Path(parent, name)) for name in names)
        if time.monotonic() > deadline:
            return total, False
    return total, True


def _bytes_of(path: Path) -> int:
    try:
        status = path.lstat()
    except OSError:  # removed meanwhile: somebody else may be downloading
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _home() -> Path:
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return _expanded(os.environ.get("HF_HOME") or f"{caches}/huggingface")


def _expanded(text: str) -> Path:
    return Path(os.path.expandvars(text)).expanduser()
