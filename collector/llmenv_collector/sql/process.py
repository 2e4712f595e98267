"""A worker for one statement, from the collector's side: its process, its frames, and what its death says.

The next worker is started while one is at work: loading DuckDB and Arrow takes longer than most statements.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from llmenv_collector.errors import NoRoomError, StatementError, StatementLimitError
from llmenv_collector.sql.arrow_frames import HEADER, MEMORY_EXIT, Kind

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

PIPE_BYTES = 1 << 20
# What a process needs to start at all: secrets in the collector's environment are not for it.
VARIABLES = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
# What C++ does where memory is refused, and what the worker itself and Linux do to one that has too much.
ENDED_FOR_MEMORY = {MEMORY_EXIT, -signal.SIGABRT, -signal.SIGKILL}
ENDED_FOR_TIME = {signal.SIGALRM, signal.SIGXCPU}


class Worker:
    """Started, and asked once."""

    def __init__(self, process: Any, pipe: int) -> None:
        self._process = process
        self._pipe = Pipe(pipe)

    @classmethod
    async def start(cls) -> Worker:
        """Raises NoRoomError where the machine has no process or file to spare."""
        try:
            return await cls._started()
        except OSError as error:
            raise NoRoomError(
                f"The collector cannot start a process for the statement: {error.strerror}; ask again later."
            ) from error

    @classmethod
    async def _started(cls) -> Worker:
        """The statement goes in by stdin: a command line would show it to every user of the machine."""
        reading, writing = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "llmenv_collector.sql.worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=writing,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
                env={name: os.environ[name] for name in VARIABLES if name in os.environ},
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        return cls(process, reading)

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None

    async def frames(self, request: Mapping[str, Any]) -> AsyncGenerator[tuple[Kind, bytes]]:
        """Up to its end.  Raises StatementError."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._process.stdin.write(json.dumps(request).encode())
            await self._process.stdin.drain()
            self._process.stdin.close()
        kind = None
        while kind is not Kind.END:
            head = await self._pipe.read(HEADER.size)
            content = None
            if head is not None:
                number, length = HEADER.unpack(head)
                kind = Kind(number)
                content = await self._pipe.read(length)
            if kind is None or content is None:
                raise death(await self._process.wait(), request)
            yield kind, content

    async def end(self) -> None:
        """Whatever it is doing."""
        self._pipe.close()
        if self._process.returncode is None:
            # Not Process.kill(), which may take the exit of a process away from who waits for it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
        await self._process.wait()


class Pipe:
    """The reading end of one, in the event loop."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # above what the system allows, it stays smaller
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    async def read(self, length: int) -> bytes | None:
        """Exactly so many bytes; None when it ends before."""
        content = bytearray(length)
        view, have = memoryview(content), 0
        while have < length:
            try:
                got = os.readv(self._descriptor, [view[have:]])
            except BlockingIOError:
                await self._readable()
                continue
            if got == 0:
                return None
            have += got
        return bytes(content)

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()

        def note() -> None:
            if not ready.done():
                ready.set_result(None)

        loop.add_reader(self._descriptor, note)
        try:
            await ready
        finally:
            loop.remove_reader(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


def death(returncode: int, request: Mapping[str, Any]) -> StatementError:
    """What the end of a process that could not say why says."""
    seconds, size = request["seconds"], request["memory_bytes"] // 1_000_000
    if -returncode in ENDED_FOR_TIME:
        return StatementLimitError(f"The statement took longer than {seconds} s and was ended.")
    if returncode in ENDED_FOR_MEMORY:
        return StatementLimitError(f"The statement needed more than {size} MB of memory and was ended.")
    return StatementLimitError(
        f"The statement ended its process ({returncode}): it is nested too deeply, or needed more than"
        f" {size} MB of memory."
    )


class Workers:
    """Keeps one ready."""

    def __init__(self) -> None:
        self._spare: asyncio.Task[Worker] | None = None

    @contextlib.asynccontextmanager
    async def one(self) -> AsyncIterator[Worker]:
        """A worker that nobody has asked; it is ended with the block."""
        worker = await self._take()
        try:
            yield worker
        finally:
            await asyncio.shield(worker.end())

    async def close(self) -> None:
        if self._spare:
            with contextlib.suppress(NoRoomError):  # then there is none
                await (await self._spare).end()

    async def _take(self) -> Worker:
        spare = self._spare
        if spare is None or (spare.done() and spare.exception()):  # there may be room by now
            spare = asyncio.create_task(Worker.start())
        self._spare = asyncio.create_task(Worker.start())
        # Whoever leaves meanwhile must not end the start of a process half way.
        worker = await asyncio.shield(spare)
        if not worker.is_alive:  # it waited too long
            await worker.end()
            worker = await Worker.start()
        return worker
