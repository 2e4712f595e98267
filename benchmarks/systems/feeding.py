"""Messages to a server, over HTTP or by calls: each client sends the next once the last one is kept."""

from __future__ import annotations

import concurrent.futures
import http.client
from typing import TYPE_CHECKING, TypeVar

from systems.server import LOOPBACK, NotMeasuredError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

P = TypeVar("P")
_SECONDS = 300.0


def feed(clients: Sequence[Callable[[P], object]], queues: Sequence[Sequence[P]]) -> None:
    """A thread a client; returns when all is sent and answered."""

    def send_all(send: Callable[[P], object], queue: Sequence[P]) -> None:
        for message in queue:
            send(message)

    with concurrent.futures.ThreadPoolExecutor(len(clients)) as threads:
        list(threads.map(send_all, clients, queues))


class HttpClient:
    """One connection that is kept."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_SECONDS)

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> bytes:
        """Raises NotMeasuredError where the server does not do it."""
        try:
            self._connection.request(method, path, body, dict(headers or {}))
            response = self._connection.getresponse()
            content = response.read()
        except OSError as error:
            raise NotMeasuredError(f"{method} {path.partition('?')[0]}: {error}") from error
        if response.status // 100 != 2:
            said = content.decode(errors="replace").strip()[:200]
            raise NotMeasuredError(f"{method} {path.partition('?')[0]}: {response.status} {said}")
        return content

    def close(self) -> None:
        self._connection.close()
