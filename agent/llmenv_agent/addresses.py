"""Addresses as people write them: host:port, an IPv6 host in brackets."""

from __future__ import annotations

from llmenv_agent.errors import UsageError


def split_address(address: str) -> tuple[str, int]:
    """Host without brackets, and port. Raises UsageError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise UsageError(f"{address!r} is not an address: write it as host:port.")
    return host.strip("[]"), int(port)
