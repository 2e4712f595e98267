"""What records leave in the store: for each kind its tables, as Arrow columns.

The columns are those of migrations/*.sql, but for the order; what a table lacks here is NULL there.  Times
are microseconds since 1970.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import pyarrow as pa

from llmenv_collector.delivery import history_tables, messages, result_tables, run_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from llmenv_collector.delivery.ingest import Reading
    from llmenv_collector.delivery.messages import Messages

OF_KIND: dict[str, Callable[[Messages], Iterator[tuple[str, pa.Table]]]] = {
    "run_started": run_tables.of_run_started,
    "check_started": run_tables.of_check_started,
    "run_finished": run_tables.of_run_finished,
    "environment_snapshot": run_tables.of_environment_snapshot,
    "check_finished": result_tables.of_check_finished,
    "case_batch": result_tables.of_case_batch,
    "remedy_tried": result_tables.of_remedy_tried,
    "command_outcome": history_tables.of_command_outcome,
    "suite_waited": history_tables.of_suite_waited,
    "schedule_change": history_tables.of_schedule_change,
    "quarantine_change": history_tables.of_quarantine_change,
    "tombstone": history_tables.of_tombstone,
    "spool_forked": history_tables.of_spool_forked,
}

SLICE_BYTES, SLICE_ROWS = 8 << 20, 100_000
"""Records are converted this much at a time: two bytes may become a row, and rows take far more."""
ID, COUNT, TIME = pa.string(), pa.uint64(), pa.timestamp("us", tz="UTC")


class TooManyRowsError(Exception):
    """A group would need more memory than a collector has to spare."""


def tables_of(readings: Sequence[Reading], *, most_rows: int) -> dict[str, pa.Table]:
    """By name, only those with rows.  Raises TooManyRowsError when there would be more than `most_rows`."""
    parts: defaultdict[str, list[pa.Table]] = defaultdict(list)
    rows = 0
    for part in slices(readings):
        for name, table in left_by(part):
            if table.num_rows:
                parts[name].append(table)
                rows += table.num_rows
        if rows > most_rows:
            raise TooManyRowsError
    return {name: pa.concat_tables(tables) for name, tables in parts.items()}


def slices(readings: Sequence[Reading]) -> Iterator[list[Reading]]:
    part: list[Reading] = []
    size = rows = 0
    for reading in readings:
        part.append(reading)
        size += len(reading.content)
        rows += reading.rows
        if size >= SLICE_BYTES or rows >= SLICE_ROWS:
            yield part
            part, size, rows = [], 0, 0
    if part:
        yield part


def left_by(readings: Sequence[Reading]) -> Iterator[tuple[str, pa.Table]]:
    yield "record", record_table([one for one in readings if one.kind != "tombstone"])
    yield "record_raw", raw_table([one for one in readings if one.is_raw])
    of_kind: defaultdict[str, list[Reading]] = defaultdict(list)
    for reading in readings:
        if not reading.is_repeated_end:
            of_kind[reading.kind].append(reading)
    for kind, alike in of_kind.items():
        if kind in OF_KIND:
            yield from OF_KIND[kind](
                messages.of_records(kind, [one.content for one in alike], keys_of(alike))
            )


def keys_of(readings: Sequence[Reading]) -> dict[str, pa.Array]:
    """What every row says of the record that it came from; each kind takes of them what its tables have."""
    return {
        "record_id": pa.array([one.record_id for one in readings], ID),
        "machine_id": pa.array([one.arrival.machine_id for one in readings], ID),
        "spool_id": pa.array([one.arrival.spool_id for one in readings], ID),
        "sequence": pa.array([one.arrival.sequence for one in readings], COUNT),
        "measured_at": pa.array([one.measured_at for one in readings], TIME),
    }


def record_table(readings: Sequence[Reading]) -> pa.Table:
    return pa.table(
        {
            **keys_of(readings),
            "kind": pa.array([one.kind or "unknown" for one in readings], pa.string()),
            "clock_offset_seconds": pa.array([one.clock_offset_seconds for one in readings], pa.float64()),
            "received_at": received_at(readings),
        }
    )


def raw_table(readings: Sequence[Reading]) -> pa.Table:
    keys = keys_of(readings)
    del keys["measured_at"]
    revisions = [one.arrival.protocol_revision for one in readings]
    return pa.table(
        {
            **keys,
            "protocol_revision": pa.array(revisions, pa.uint32()),
            "record": pa.array([one.arrival.record for one in readings], pa.binary()),
            "received_at": received_at(readings),
        }
    )


def received_at(readings: Iterable[Reading]) -> pa.Array:
    return pa.array([one.arrival.received_at for one in readings], TIME)
