"""Addresses as people write them: host:port, an IPv6 host in brackets."""

from __future__ import annotations

import re

ADDRESS = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\s\[\]]+)):(\d{1,5})")


def split_address(address: str) -> tuple[str, int]:
    """Host without brackets, and port. Raises ValueError with a sentence for people."""
    parts = ADDRESS.fullmatch(address)
    if parts is None or not 0 < int(parts[3]) < 65_536:
        raise ValueError(f"{address!r} is not host:port, such as collector.lab:7443.")
    return parts[1] or parts[2], int(parts[3])
