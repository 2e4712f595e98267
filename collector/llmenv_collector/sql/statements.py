"""SQL written by people, each statement in a process of its own.

DuckDB's memory limit does not bound everything a statement can do, so the
operating system bounds the process: its memory, and its time.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from llmenv_collector import clock
from llmenv_collector.errors import StatementError, StatementLimitError
from llmenv_collector.sql.arrow_frames import END_OF_STREAM, Form, Kind
from llmenv_collector.sql.process import Workers
from llmenv_collector.sql.turns import Turns

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from llmenv_collector.settings import Settings
    from llmenv_collector.snapshots.snapshot import Snapshot, Snapshots

MAX_STATEMENT_BYTES = 1 << 20
FETCH_FACTOR = 10
"""Whoever reads slowly gets so many times as long as the statement may take."""
SNAPSHOT_KEY = "llmenv.snapshot_at"
"""In the metadata of an answer's schema: when the snapshot was taken, UTC, ISO 8601."""


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
    """A piece of the answer."""

    kind: Kind | None = None
    arrow_ipc: bytes = b""
    """A message of Arrow, in the form that was asked for."""
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


@dataclass(frozen=True)
class Question:
    """What a person asks."""

    sql: str
    parameters: Sequence[Parameter] = ()
    max_rows: int = 0
    """0 for as many as there may be."""
    person: str = ""
    """Whose turn it takes."""
    arrow_parameters: bytes = b""
    """Values as an Arrow IPC stream with one row, read where the statement runs."""
    is_condition: bool = False
    """On a row of v1.machines: the answer is the ids of the machines that satisfy it."""


@dataclass(frozen=True)
class Description:
    """What a statement would give."""

    schema: bytes
    """A message of Arrow IPC."""
    parameters: tuple[str, ...]
    """Names of its parameters; "1" is the first "?"."""
    snapshot_at: int


class Statements:
    """A few run at a time; others wait for their turn."""

    def __init__(self, snapshots: Snapshots, limits: Limits) -> None:
        self._snapshots = snapshots
        self._limits = limits
        self._turns = Turns(patience_seconds=limits.seconds)
        self._workers = Workers()

    async def run(self, question: Question) -> AsyncGenerator[Part]:
        """An Arrow IPC stream.  Raises StatementError; parts sent before it belong to no answer."""
        async with contextlib.aclosing(self.answer(question, form=Form.STREAM)) as parts:
            async for part in parts:
                if part.kind is Kind.END:
                    yield Part(arrow_ipc=END_OF_STREAM)
                yield part

    async def answer(self, question: Question, *, form: Form) -> AsyncGenerator[Part]:
        """Messages of Arrow in this form: the schema, then rows."""
        async with self._prepared(question) as snapshot:
            yield Part(snapshot_at=snapshot.taken_at)
            request = self._request(question, snapshot, form=form)
            async with contextlib.aclosing(self._frames(request)) as frames:
                async for kind, content in frames:
                    if kind is Kind.END:
                        yield Part(kind, **self._closing(content))
                    else:
                        yield Part(kind, content)

    async def describe(self, question: Question) -> Description:
        """Raises StatementError for one that cannot be asked."""
        async with self._prepared(question) as snapshot:
            request = self._request(question, snapshot, form=Form.STREAM, describes=True)
            async with contextlib.aclosing(self._frames(request)) as frames:
                found = {kind: content async for kind, content in frames}
            self._closing(found[Kind.END])
            parameters = tuple(json.loads(found[Kind.END])["parameters"])
            return Description(found[Kind.SCHEMA], parameters, snapshot.taken_at)

    @property
    def seconds(self) -> int:
        """That one may take."""
        return self._limits.seconds

    async def close(self) -> None:
        await self._workers.close()

    @contextlib.asynccontextmanager
    async def _prepared(self, question: Question) -> AsyncGenerator[Snapshot]:
        if len(question.sql.encode()) > MAX_STATEMENT_BYTES:
            raise StatementError(f"The statement is longer than {MAX_STATEMENT_BYTES:,} bytes.")
        async with self._turns.turn(question.person), self._snapshots.lease() as snapshot:
            yield snapshot

    def _request(
        self, question: Question, snapshot: Snapshot, *, form: Form, describes: bool = False
    ) -> dict[str, Any]:
        taken_at = dt.datetime.fromtimestamp(snapshot.taken_at / clock.MICROSECONDS, dt.UTC)
        return {
            "snapshot": str(snapshot.path),
            "lake": snapshot.lake,
            "sql": question.sql,
            "parameters": list(question.parameters),
            "arrow_parameters": base64.b64encode(question.arrow_parameters).decode(),
            "max_rows": min(question.max_rows or self._limits.rows, self._limits.rows),
            "memory_bytes": self._limits.memory_bytes,
            "seconds": self._limits.seconds,
            "form": form,
            "describes": describes,
            "is_condition": question.is_condition,
            "metadata": {SNAPSHOT_KEY: taken_at.isoformat()},
        }

    async def _frames(self, request: dict[str, Any]) -> AsyncGenerator[tuple[Kind, bytes]]:
        most = FETCH_FACTOR * self._limits.seconds
        try:
            async with (
                asyncio.timeout(most),
                self._workers.one() as worker,
                contextlib.aclosing(worker.frames(request)) as frames,
            ):
                async for frame in frames:
                    yield frame
        except TimeoutError:
            raise StatementLimitError(f"The answer was not taken within {most} s and was ended.") from None

    def _closing(self, content: bytes) -> dict[str, Any]:
        """What the worker said last: rows and is_truncated."""
        closing = json.loads(content)
        if closing.get("limit") == "memory":
            size = self._limits.memory_bytes // 1_000_000
            raise StatementLimitError(f"The statement needed more than {size} MB of memory and was ended.")
        if "error" in closing:
            raise StatementError(closing["error"])
        return {name: closing[name] for name in ("rows", "is_truncated")}
