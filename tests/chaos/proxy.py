"""A TCP proxy between agent and collector that behaves as badly as networks do.

Each connection is one thread a direction. What the proxy does is looked at before every chunk, so a change
takes effect at once also for connections that are open.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from dataclasses import dataclass
from typing import TypeAlias

CHUNK_BYTES = 16_384
LOOK_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True)
class Weather:
    """How the network is now. `hold` keeps bytes back; a connection that is refused is closed at once."""

    refuse: bool = False
    hold: bool = False
    delay_seconds: float = 0.0
    bytes_per_second: float = 0.0


FAIR = Weather()


Pair: TypeAlias = tuple[socket.socket, socket.socket]


class Proxy:
    """Listens on a port of loopback from creation to `close`."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: set[Pair] = set()
        self._abandoned: list[Pair] = []
        self._lock = threading.Lock()
        self.weather = FAIR
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """End every connection on both sides, without a word of farewell."""
        for pair in [*self._taken(), *self._abandoned]:
            _reset(*pair)
        self._abandoned.clear()

    def abandon(self) -> None:
        """Half-open: the agent learns that its connection is gone, the collector is left waiting."""
        for agent, collector in self._taken():
            self._abandoned.append((agent, collector))
            _reset(agent)

    def _taken(self) -> list[Pair]:
        with self._lock:
            taken, self._pairs = list(self._pairs), set()
        return taken

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._join(self._listener.accept()[0])

    def _join(self, agent: socket.socket) -> None:
        try:
            if self.weather.refuse:
                raise ConnectionRefusedError
            collector = socket.create_connection(("127.0.0.1", self._target_port), timeout=5)
        except OSError:
            _reset(agent)
            return
        collector.settimeout(None)
        pair = (agent, collector)
        with self._lock:
            self._pairs.add(pair)
        for source, sink in (pair, (collector, agent)):
            threading.Thread(target=self._carry, args=(pair, source, sink), daemon=True).start()

    def _carry(self, pair: Pair, source: socket.socket, sink: socket.socket) -> None:
        try:
            while chunk := source.recv(CHUNK_BYTES):
                self._wait(len(chunk))
                sink.sendall(chunk)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            self._break(pair)

    def _break(self, pair: Pair) -> None:
        """One side is gone: so is the other, unless it was abandoned."""
        with self._lock:
            is_whole = pair in self._pairs
            self._pairs.discard(pair)
        if is_whole:
            _reset(*pair)

    def _wait(self, size: int) -> None:
        weather = self.weather
        time.sleep(weather.delay_seconds)
        if weather.bytes_per_second:
            time.sleep(size / weather.bytes_per_second)
        while self.weather.hold:
            time.sleep(LOOK_SECONDS)


def _reset(*connections: socket.socket) -> None:
    """Close with RST, as a machine that restarted would answer."""
    for connection in connections:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.shutdown(socket.SHUT_RD)  # wakes the thread that reads it
        connection.close()
