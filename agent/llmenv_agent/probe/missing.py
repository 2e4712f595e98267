"""Recognises, in what a loader says, the dynamic library that it could not find.

Linux: "libx.so.1: cannot open shared object file: ..."; macOS: "Library not
loaded: @rpath/libx.dylib" (dyld) and "dlopen(libx.dylib, 0x0006): tried: ...".
"""

from __future__ import annotations

import re

_PATTERNS = (
    re.compile(r"([^\s:'\"]+): cannot open shared object file"),
    re.compile(r"Library not loaded: ([^\s'\"]+)"),
    re.compile(r"dlopen\(([^,)]+), 0x[0-9A-Fa-f]+\): (?:tried:|image not found)"),
)


def library(text: str) -> str:
    """File name of the library that `text` says is missing; empty where it says none."""
    for pattern in _PATTERNS:
        match = pattern.search(text)
        if match:
            return match.group(1).rpartition("/")[2]
    return ""
