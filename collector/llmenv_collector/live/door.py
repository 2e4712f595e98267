"""Connections: so many at most, and none that says nothing.

A browser that has connected sends its first request within a few seconds; a connection that does not
(the slow loris) is closed, and so is every one more than there is room for.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.web_protocol import RequestHandler

MOST_CONNECTIONS = 256
FIRST_REQUEST_SECONDS = 15.0


class Door:
    """Makes the protocol of each connection; asyncio calls it when one is accepted."""

    def __init__(
        self,
        server: web.Server,
        *,
        most: int = MOST_CONNECTIONS,
        first_request_seconds: float = FIRST_REQUEST_SECONDS,
    ) -> None:
        self._server = server
        self._most = most
        self._seconds = first_request_seconds
        self._silent: set[RequestHandler] = set()

    def __call__(self) -> RequestHandler:
        protocol: RequestHandler = self._server()
        loop = asyncio.get_running_loop()
        if len(self._server.connections) >= self._most:
            # It is not connected yet; there is nothing to close before.
            loop.call_later(0.1, protocol.force_close)
        self._silent.add(protocol)
        loop.call_later(self._seconds, self._close_if_silent, protocol)
        return protocol

    def hear(self, request: web.BaseRequest) -> None:
        """A whole request has come: what follows is bound by its own time."""
        self._silent.discard(request.protocol)

    def _close_if_silent(self, protocol: RequestHandler) -> None:
        if protocol in self._silent:
            self._silent.discard(protocol)
            protocol.force_close()
