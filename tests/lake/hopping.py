"""What stands between agents and collectors: each connection goes to another one, and is soon cut."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

CHUNK_BYTES = 1 << 16


class Hopping:
    """Listens in a thread of its own until close(); `ports` may be changed meanwhile."""

    def __init__(self, port: int, ports: Sequence[int], *, seconds: float, seed: int) -> None:
        """Connections last for `seconds` on average."""
        self.ports = list(ports)
        self.hops = 0
        """Connections that were led to a collector."""
        self._port = port
        self._seconds = seconds
        self._random = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._listening.wait(60), "it does not listen"

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._lead, "127.0.0.1", self._port))
        self._listening.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there: asyncio.StreamWriter | None = None
        try:
            answers, there = await asyncio.open_connection("127.0.0.1", self._random.choice(self.ports))
            self.hops += 1
            both: Awaitable[object] = asyncio.gather(copied(reader, there), copied(answers, writer))
            await asyncio.wait_for(both, self._random.expovariate(1 / self._seconds))
        except (OSError, TimeoutError):
            pass
        finally:
            for end in (writer, there):
                if end is not None:
                    end.transport.abort()


async def copied(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while content := await source.read(CHUNK_BYTES):
        target.write(content)
        await target.drain()
    raise ConnectionResetError
