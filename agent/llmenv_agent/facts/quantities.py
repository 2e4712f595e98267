"""Words to quantities.  Whatever does not fit is None: these functions never raise."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MEBIBYTE = 2**20
GIBIBYTE = 2**30
_UNITS = {"MB": MEBIBYTE, "GB": GIBIBYTE, "TB": 2**40}


def whole(text: str | None, *, bits: int = 64) -> int | None:
    """A count that fits an unsigned field of so many bits, from text such as "12"."""
    if text is None or not re.fullmatch(r"\s*[0-9]{1,20}\s*", text):
        return None
    value = int(text)
    return value if value < 2**bits else None


def leading_number(text: str | None) -> float | None:
    """The number that a text such as "1.278 GHz" begins with."""
    found = re.match(r"\s*([0-9]{0,15}\.?[0-9]{1,15})", text or "")
    return float(found[1]) if found else None


def memory_bytes(text: str | None) -> int | None:
    """Bytes of a text such as "16 GB", in powers of 1,024 as macOS counts memory."""
    found = re.fullmatch(r"\s*([0-9]{1,7}(?:\.[0-9]{1,6})?) ?([MGT]B)\s*", text or "")
    return round(float(found[1]) * _UNITS[found[2]]) if found else None


def hexadecimal_data(text: str | None) -> int | None:
    """The little-endian number that ioreg prints as "<0c000000>"."""
    found = re.fullmatch(r"<([0-9a-fA-F]{8})>", text or "")
    return int.from_bytes(bytes.fromhex(found[1]), "little") if found else None


def median(values: Sequence[float]) -> float | None:
    """The middle value; None of an empty sequence."""
    import statistics  # takes longer to import than the rest of the facts, and recordings alone need it

    return statistics.median(values) if values else None
