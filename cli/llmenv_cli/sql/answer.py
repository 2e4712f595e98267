"""An answer as it arrives: nothing of it is held that was already handed on.

pyarrow is needed here and where an answer is written, and loaded late.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from typing import TYPE_CHECKING, Any

from llmenv_cli.errors import NotInstalledError, UnreachableError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Iterator

    from llmenv.fleet.v1.fleet_service_pb2 import QueryResponse

EXTRA = "pip install 'llmenv[sql]'"


class Answer:
    """One Arrow stream. `snapshot` is the time in UTC that it speaks of."""

    snapshot: dt.datetime
    is_truncated: bool
    rows: int

    def __init__(self, parts: Iterable[QueryResponse]) -> None:
        """Waits for the beginning. Raises UnreachableError when it broke off before that."""
        import pyarrow as pa

        self._stream = _Arriving(parts)
        with _whole():
            self._reader = pa.ipc.open_stream(pa.PythonFile(self._stream, mode="r"))
        self.schema: Any = self._reader.schema
        self.snapshot = self._stream.first.snapshot_at.ToDatetime()

    def batches(self) -> Iterator[Any]:
        """Its record batches; `is_truncated` and `rows` are known after the last."""
        rows = 0
        with _whole():
            for batch in self._reader:
                rows += batch.num_rows
                yield batch
        last = self._stream.drained()
        if rows != last.rows:
            raise UnreachableError(f"The collector's answer broke off after {rows:,} rows.")
        self.rows, self.is_truncated = rows, last.is_truncated

    def table(self) -> Any:
        """All of it, as a pyarrow.Table."""
        import pyarrow as pa

        return pa.Table.from_batches(list(self.batches()), schema=self.schema)


class _Arriving(io.RawIOBase):
    """The bytes of the parts, as a file; what the call raises comes out of read()."""

    first: QueryResponse

    def __init__(self, parts: Iterable[QueryResponse]) -> None:
        super().__init__()
        self._parts = iter(parts)
        self._held = b""
        self._last: QueryResponse | None = None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        while 0 <= size != len(self._held) < size or size < 0:
            part = next(self._parts, None)
            if part is None:
                break
            self._note(part)
            self._held += part.arrow_ipc
        taken = self._held if size < 0 else self._held[:size]
        self._held = self._held[len(taken) :]
        return taken

    def drained(self) -> QueryResponse:
        """The last part, which says how it ended."""
        for part in self._parts:
            self._note(part)
        if self._last is None:
            raise UnreachableError("The collector's answer broke off.")
        return self._last

    def _note(self, part: QueryResponse) -> None:
        if self._last is None:
            self.first = part
        self._last = part


def require_pyarrow() -> None:
    """Raises NotInstalledError before anything is asked."""
    if importlib.util.find_spec("pyarrow") is None:
        raise NotInstalledError(f"SQL answers come as Arrow, and pyarrow is not installed: {EXTRA}.")


@contextlib.contextmanager
def _whole() -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except pa.ArrowInvalid as error:
        raise UnreachableError(f"The collector's answer broke off: {error}.") from error
