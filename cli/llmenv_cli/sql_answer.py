"""Puts the parts of an Arrow stream together; pyarrow is needed here alone, and loaded here."""

from __future__ import annotations

import dataclasses
import datetime as dt
import importlib.util
from typing import TYPE_CHECKING, Any

from llmenv_cli.errors import NotInstalledError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from llmenv.fleet.v1.fleet_service_pb2 import QueryResponse

    from llmenv_cli.render.listing import Value

PLAIN_TYPES = (str, int, float, bool, dt.datetime, type(None))


@dataclasses.dataclass(frozen=True)
class Answer:
    """`table` is a pyarrow.Table, `snapshot` the time in UTC that it speaks of."""

    table: Any
    snapshot: dt.datetime
    is_truncated: bool

    def is_number(self, column: str) -> bool:
        """Whether a column is right-aligned for people."""
        import pyarrow.types

        kind = self.table.schema.field(column).type
        return bool(pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind))

    def rows(self) -> Iterator[dict[str, Value]]:
        """Rows with values that JSON can carry; what it cannot is text."""
        for row in self.table.to_pylist():
            yield {
                name: value if isinstance(value, PLAIN_TYPES) else str(value) for name, value in row.items()
            }


def require_pyarrow() -> None:
    """Raises NotInstalledError before anything is asked."""
    if importlib.util.find_spec("pyarrow") is None:
        raise NotInstalledError(
            "SQL answers come as Arrow, and pyarrow is not installed: pip install 'llmenv[sql]'."
        )


def take(parts: Iterable[QueryResponse]) -> Answer:
    """The whole answer. Raises UnreachableError when it broke off."""
    import pyarrow as pa

    received = list(parts)
    stream = b"".join(part.arrow_ipc for part in received)
    try:
        with pa.ipc.open_stream(pa.py_buffer(stream)) as reader:
            table = reader.read_all()
    except pa.ArrowInvalid as error:
        raise UnreachableError(f"The collector's answer broke off: {error}.") from error
    snapshot = received[0].snapshot_at.ToDatetime()
    return Answer(table=table, snapshot=snapshot, is_truncated=received[-1].is_truncated)
