"""`ioreg`: how long nobody has touched keyboard, mouse or trackpad of a Mac."""

from __future__ import annotations

import re

COMMAND = ("ioreg", "-r", "-d", "1", "-w", "0", "-c", "IOHIDSystem")
_IDLE = re.compile(r'"HIDIdleTime"\s*=\s*(?P<nanoseconds>[0-9]{1,20})')


def parse_hid_idle(text: str) -> float | None:
    """Seconds since the last input; None where the text does not say it."""
    found = _IDLE.search(text)
    return int(found["nanoseconds"]) / 1e9 if found else None
