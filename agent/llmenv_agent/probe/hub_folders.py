"""Where huggingface_hub keeps models and its token: the rules of its constants.py, without importing it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import List, Tuple

TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def token_variables_set() -> List[str]:
    """Names of the variables that hold a token; an empty one holds none."""
    return [name for name in TOKEN_VARIABLES if os.environ.get(name, "").strip()]


def token_file() -> Path:
    named = os.environ.get("HF_TOKEN_PATH")
    return _expanded(named) if named else _home() / "token"


def hub_cache() -> Path:
    """The folder of downloaded models, whether it exists or not."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return _expanded(named) if named else _home() / "hub"


def nearest_existing(folder: Path) -> Path:
    """`folder` itself, or the first above it that exists."""
    return next(each for each in (folder, *folder.absolute().parents) if each.exists())


def size_of(folder: Path, *, within_seconds: float) -> Tuple[int, bool]:
    """Bytes of the files below `folder`, links not followed, and whether all were seen in that time."""
    deadline = time.monotonic() + within_seconds
    total = 0
    for parent, _, names in os.walk(folder):
        paths = [Path(parent, name) for name in names]
        total += sum(path.stat().st_size for path in paths if path.is_file() and not path.is_symlink())
        if time.monotonic() > deadline:
            return total, False
    return total, True


def _home() -> Path:
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return _expanded(os.environ.get("HF_HOME") or f"{caches}/huggingface")


def _expanded(text: str) -> Path:
    return Path(os.path.expandvars(text)).expanduser()
