"""A parsed JSON document or property list that is asked by path and never raises."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any


@dataclasses.dataclass(frozen=True)
class Document:
    """One value of a document.  A path is made of keys; a wrong turn gives None."""

    value: Any

    def at(self, *path: str) -> Document:
        """The value below these keys."""
        value = self.value
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return Document(value)

    def items(self, *path: str) -> list[Document]:
        """The elements of the list below these keys; a lone value is a list of one."""
        value = self.at(*path).value
        if value is None:
            return []
        return [Document(element) for element in (value if isinstance(value, list) else [value])]

    def text(self, *path: str) -> str | None:
        """Text below these keys, on one line and valid as UTF-8."""
        value = self.at(*path).value
        if not isinstance(value, str):
            return None
        return " ".join(value.encode("utf-8", "replace").decode("utf-8").split())

    def whole(self, *path: str, bits: int = 64) -> int | None:
        """A count that fits an unsigned field of so many bits."""
        value = self.at(*path).value
        is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**bits
        return value if is_count else None

    def real(self, *path: str) -> float | None:
        """A finite number."""
        value = self.at(*path).value
        if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) > 1e300:
            return None
        return float(value) if math.isfinite(value) else None


def json_document(text: str) -> Document:
    """The document of a JSON text; an empty one when it is not JSON."""
    try:
        return Document(json.loads(text))
    except (ValueError, RecursionError):
        return Document(None)


def json_stream(text: str) -> list[Document]:
    """The documents of JSON text: one, a list of them, or one a line as `macmon pipe` prints."""
    whole = json_document(text).items()
    return whole or [document for line in text.splitlines() for document in json_document(line).items()]


def plist_document(text: str) -> Document:
    """The document of an XML property list; an empty one when it is none."""
    # Recordings alone need it, and it takes longer to import than the rest of this module.
    import plistlib
    from xml.parsers.expat import ExpatError

    try:
        return Document(plistlib.loads(text.encode("utf-8", "replace"), fmt=plistlib.FMT_XML))
    except (ValueError, ExpatError, AttributeError, IndexError, TypeError, LookupError, OverflowError):
        return Document(None)
