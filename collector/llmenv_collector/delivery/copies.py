"""What a copied spool brings a second time.

Renumbered records keep their ids, so one that is stored is not stored again. An
agent that woke up with an older copy of its spool also ends anew what it had
ended before: the verdict or the end that came first counts, and of the later
record only the fact that it came is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.fleet.v1 import record_pb2

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    import duckdb

    from llmenv_collector.delivery.ingest import Reading
    from llmenv_collector.delivery.watermark import Watermark

Identities = frozenset[str]


def copied(stored: Iterable[tuple[str, str]], marks: Iterable[Watermark]) -> Identities:
    """Ids of spools that were copied and of machines that have such, in the store and in what arrives.

    The copied spool itself counts too: a collector that went back to a backup
    may hear from the one that continues it first.
    """
    arriving = [(mark.machine_id, mark.previous_spool_id) for mark in marks if mark.previous_spool_id]
    return frozenset(identity for pair in (*stored, *arriving) for identity in pair)


def unseen(
    connection: duckdb.DuckDBPyConnection, readings: Sequence[Reading], identities: Identities
) -> list[Reading]:
    """Without the records that are stored, and without the second end of anything."""
    doubtful = [
        reading
        for reading in readings
        if not reading.reason
        and not identities.isdisjoint((reading.arrival.machine_id, reading.arrival.spool_id))
    ]
    if not doubtful:
        return list(readings)
    seen = stored_records(connection, [reading.record_id for reading in doubtful])
    ended = stored_ends(connection, doubtful)
    new: list[Reading] = []
    for reading in readings:
        if not reading.reason and reading.record_id not in seen:
            seen.add(reading.record_id)
            new.append(ended_once(reading, ended))
    return new


def stored_records(connection: duckdb.DuckDBPyConnection, record_ids: Sequence[str]) -> set[str]:
    query = "SELECT record_id::VARCHAR FROM store.record WHERE record_id IN (SELECT unnest(?::UUID[]))"
    return {record_id for (record_id,) in connection.execute(query, [list(record_ids)]).fetchall()}


def stored_ends(connection: duckdb.DuckDBPyConnection, readings: Iterable[Reading]) -> set[tuple[str, str]]:
    """Machine and id of those runs and results among the readings that have an end in the store."""
    ids = [ended for reading in readings if (ended := what_ends(reading))]
    query = """
        SELECT machine_id::VARCHAR, run_id::VARCHAR FROM store.run_end
        WHERE run_id IN (SELECT unnest($ids::UUID[]))
        UNION SELECT machine_id::VARCHAR, result_id::VARCHAR FROM store.result
        WHERE result_id IN (SELECT unnest($ids::UUID[]))
    """
    return {(machine_id, ended) for machine_id, ended in connection.execute(query, {"ids": ids}).fetchall()}


def what_ends(reading: Reading) -> str:
    """The run or the result that the record ends; empty for any other record."""
    record = record_pb2.Record.FromString(reading.content)
    return record.run_finished.run_id or record.check_finished.result.result_id


def ended_once(reading: Reading, ended: set[tuple[str, str]]) -> Reading:
    end = (reading.arrival.machine_id, what_ends(reading))
    if not end[1]:
        return reading
    if end not in ended:
        ended.add(end)
        return reading
    return reading._replace(is_repeated_end=True)


def repeats(readings: Sequence[Reading], new: Collection[Reading]) -> dict[str, int]:
    """By spool: stored records of a copy that left no row, counts."""
    kept = {id(reading.arrival) for reading in new}
    counts: dict[str, int] = {}
    for reading in readings:
        if not reading.reason and not reading.is_tombstone and id(reading.arrival) not in kept:
            counts[reading.arrival.spool_id] = counts.get(reading.arrival.spool_id, 0) + 1
    return counts
