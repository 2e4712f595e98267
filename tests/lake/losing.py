"""What stands between a collector and PostgreSQL, in a process of its own, and loses an answer when told to.

DuckDB connects while it holds Python's lock, so that a thread of the same process could not answer it.
"""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parents[2]
CHANGES = b'INSERT INTO "public".ducklake_snapshot_changes'
"""What a commit of the lake says about itself, shortly before it ends."""
COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
OUTSIDE = b"Z\x00\x00\x00\x05I"
"""PostgreSQL has answered, and is in no transaction."""
CHUNK_BYTES = 1 << 20
BEFORE, AFTER = "before", "after"
"""PostgreSQL never hears of the commit; it commits, and nobody hears of it."""
HELD = " held"
"""After one of both: whoever asked waits for the answer until it is killed."""


class Losing:
    """Listens on `port` for a server's socket; `lose` one answer, and wait with `lost` until it is."""

    def __init__(self, socket_path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, socket_path],
            cwd=REPOSITORY,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.port = int(self._said())

    def lose(self, moment: str) -> None:
        """The next commit of the lake that anybody makes."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{moment}\n")
        self._process.stdin.flush()
        assert self._said() == "armed"

    def lost(self) -> None:
        """Returns once it is."""
        assert self._said() == "lost"

    def close(self) -> None:
        with self._process as process:
            process.kill()

    def _said(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


class Loser:
    """The other end, in that process."""

    def __init__(self, socket_path: str) -> None:
        self._socket_path = socket_path
        self._moment = ""

    def listen(self) -> None:
        """Until stdin ends."""
        listening = socket.create_server(("127.0.0.1", 0))
        say(str(listening.getsockname()[1]))
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()
        for line in sys.stdin:
            self._moment = line.strip()
            say("armed")

    def _accept(self, listening: socket.socket) -> None:
        while True:
            client, _ = listening.accept()
            threading.Thread(target=self._lead, args=(client,), daemon=True).start()

    def _lead(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            server.connect(self._socket_path)
            asked = b""
            for source, content in spoken(client, server):
                if source is client:
                    asked += content
                    if asked.endswith(COMMIT):
                        if self._moment and CHANGES in asked:
                            self._lose(content, client, server)
                            return
                        asked = b""
                    server.sendall(content)
                else:
                    client.sendall(content)

    def _lose(self, content: bytes, client: socket.socket, server: socket.socket) -> None:
        """Both ends are closed after it."""
        moment, self._moment = self._moment, ""
        if moment.startswith(AFTER):
            server.sendall(content)
            answer = b""
            while not answer.endswith(OUTSIDE) and (more := server.recv(CHUNK_BYTES)):
                answer += more
        say("lost")
        if moment.endswith(HELD):
            client.recv(1)


def spoken(client: socket.socket, server: socket.socket) -> Iterator[tuple[socket.socket, bytes]]:
    """Who said what, until one of them has said everything."""
    while True:
        for source in select.select([client, server], [], [])[0]:
            content = source.recv(CHUNK_BYTES)
            if not content:
                return
            yield source, content


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    Loser(sys.argv[1]).listen()
