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
TURNING_AWAY_SECONDS = 0.05


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
        self._silent.add(protocol)
        if len(self._server.connections) >= self._most:
            self._turn_away(protocol)
        loop.call_later(self._seconds, self._close_if_silent, protocol)
        return protocol

    def _turn_away(self, protocol: RequestHandler) -> None:
        """As soon as it is connected, which takes a TLS handshake; before there is nothing to close."""
        if protocol.transport is not None:
            protocol.force_close()
        elif protocol in self._silent:
            asyncio.get_running_loop().call_later(TURNING_AWAY_SECONDS, self._turn_away, protocol)

    def hear(self, request: web.BaseRequest) -> None:
        """A whole request has come: what follows is bound by its own time."""
        self._silent.discard(request.protocol)

    def _close_if_silent(self, protocol: RequestHandler) -> None:
        if protocol in self._silent:
            self._silent.discard(protocol)
            protocol.force_close()
