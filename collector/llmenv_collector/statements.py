"""SQL written by people, each statement in a process of its own.

DuckDB's memory limit does not bound everything a statement can do, so the
operating system bounds the process: its memory, and its time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from llmenv_collector.errors import StatementError, StatementLimitError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from llmenv_collector.settings import Settings
    from llmenv_collector.snapshot import Snapshots

PART_BYTES = 256 << 10
AT_ONCE = 2
MAX_STATEMENT_BYTES = 1 << 20
MAX_CLOSING_BYTES = 64 << 10


@dataclass(frozen=True)
class Limits:
    """What one statement may use."""

    seconds: int
    memory_bytes: int
    rows: int

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        return cls(
            seconds=settings.sql_seconds,
            memory_bytes=settings.sql_memory_mb * 1_000_000,
            rows=settings.sql_rows,
        )


@dataclass(frozen=True)
class Part:
    """A piece of the answer: bytes of one Arrow IPC stream."""

    arrow_ipc: bytes = b""
    snapshot_at: int | None = None
    """In the first part: microseconds since 1970."""
    is_truncated: bool = False
    rows: int = 0
    """In the last part, as is_truncated."""


class Parameter(NamedTuple):
    """A value that is bound; a time in microseconds since 1970."""

    name: str
    kind: str | None
    """"text", "integer", "number", "boolean" or "time"; None for NULL."""
    value: str | int | float | bool | None


class Statements:
    """Runs at most AT_ONCE statements at a time; others wait."""

    def __init__(self, snapshots: Snapshots, limits: Limits) -> None:
        self._snapshots = snapshots
        self._limits = limits
        self._room = asyncio.Semaphore(AT_ONCE)

    async def run(
        self, sql: str, *, max_rows: int, parameters: Sequence[Parameter] = ()
    ) -> AsyncGenerator[Part]:
        """Raises StatementError; parts sent before it belong to no answer."""
        if len(sql.encode()) > MAX_STATEMENT_BYTES:
            raise StatementError(f"The statement is longer than {MAX_STATEMENT_BYTES} bytes.")
        rows = min(max_rows or self._limits.rows, self._limits.rows)
        async with self._room, self._snapshots.lease() as snapshot:
            yield Part(snapshot_at=snapshot.taken_at)
            request = {
                "snapshot": str(snapshot.path),
                "sql": sql,
                "parameters": parameters,
                "max_rows": rows,
                "memory_bytes": self._limits.memory_bytes,
                "seconds": self._limits.seconds,
            }
            async with contextlib.aclosing(self._parts(request)) as parts:
                async for part in parts:
                    yield part

    async def _parts(self, request: dict[str, Any]) -> AsyncGenerator[Part]:
        process = await start_worker(request)
        # Read beside stdout, for a worker that fills this pipe would otherwise never end.
        closing = asyncio.create_task(read_end(process.stderr))
        try:
            while chunk := await process.stdout.read(PART_BYTES):
                yield Part(arrow_ipc=chunk)
            summary = self._summary(await closing, await process.wait())
        finally:
            closing.cancel()
            if process.returncode is None:
                process.kill()
                await process.wait()
        yield Part(is_truncated=summary["is_truncated"], rows=summary["rows"])

    def _summary(self, closing: str, returncode: int) -> dict[str, Any]:
        """What the worker said last, or what its death says."""
        if returncode == -signal.SIGALRM:
            raise StatementLimitError(
                f"The statement took longer than {self._limits.seconds} s and was ended."
            )
        summary = last_json(closing)
        if summary is None or summary.get("limit") == "memory":
            size = self._limits.memory_bytes // 1_000_000
            raise StatementLimitError(f"The statement needed more than {size} MB of memory and was ended.")
        if "error" in summary:
            raise StatementError(summary["error"])
        return summary


async def start_worker(request: dict[str, Any]) -> Any:
    """The statement goes in by stdin: a command line would show it to every user of the machine."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "llmenv_collector.sql_worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    stdin: Any = process.stdin
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        stdin.write(json.dumps(request).encode())
        await stdin.drain()
        stdin.close()
    return process


async def read_end(stream: Any) -> str:
    """The last MAX_CLOSING_BYTES of it."""
    end = b""
    while chunk := await stream.read(PART_BYTES):
        end = (end + chunk)[-MAX_CLOSING_BYTES:]
    return end.decode(errors="replace")


def last_json(text: str) -> dict[str, Any] | None:
    """The object on the last line; None when the process died before it could write one."""
    lines = text.strip().splitlines()
    try:
        summary = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return summary if isinstance(summary, dict) else None
