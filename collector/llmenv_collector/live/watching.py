"""Server-sent events: a page is told when it is no longer what it shows, and asks for itself again.

An event carries the version of the page's content and nothing else, so whoever comes late or comes back
sees the same as who never left.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    from llmenv_collector.live.sources import Sources

POLL_SECONDS = 0.5
LONGEST_REST_SECONDS = 10.0
"""Time alone makes a machine silent."""
SEND_SECONDS = 15.0
MOST_STREAMS = 64


class Watched(Protocol):
    """What a page shows, as it was looked at."""

    @property
    def version(self) -> str: ...

    @property
    def rest_seconds(self) -> float:
        """How long the next look waits at least."""


async def stream(
    sources: Sources,
    response: web.StreamResponse,
    look: Callable[[], Awaitable[Watched]],
    is_welcome: Callable[[], Awaitable[bool]],
) -> None:
    """Until the browser leaves, the session ends or the collector stops."""
    said = ""
    while not sources.streams.draining.is_set() and await is_welcome():
        commits, looked_at = sources.store.commits, time.monotonic()
        watched = await look()
        version = watched.version
        # A comment keeps the connection alive, and fails when nobody is there.
        event = f"event: state\ndata: {version}\n\n" if version != said else ": still here\n\n"
        async with asyncio.timeout(SEND_SECONDS):
            await response.write(event.encode())
        said = version
        await rest(sources, commits, looked_at, watched.rest_seconds)


async def rest(sources: Sources, commits: int, looked_at: float, seconds: float) -> None:
    """For so long at least, and until something was committed, or long enough."""
    while not sources.streams.draining.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(sources.streams.draining.wait(), POLL_SECONDS)
        waited = time.monotonic() - looked_at
        if waited >= max(seconds, LONGEST_REST_SECONDS) or (
            sources.store.commits != commits and waited >= seconds
        ):
            return
