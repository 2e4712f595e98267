"""Columns for many records at once are what each of them says, field by field."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import pytest
from llmenv.fleet.v1 import record_pb2, result_pb2, run_pb2
from llmenv.ids import new_id
from llmenv_collector.delivery import ingest, tables
from llmenv_collector.delivery.ingest import Arrival
from llmenv_collector.delivery.messages import RECORD
from llmenv_collector.delivery.tables import OF_KIND, TooManyRowsError, slices, tables_of

from ..fuzz import random_messages  # noqa: TID252 (the folders of tests are no package)
from .rows_by_hand import rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmenv_collector.delivery.ingest import Reading

MACHINE, SPOOL = new_id(), new_id()
MESSAGES = {
    "run": run_pb2.Run,
    "run_end": record_pb2.RunFinished,
    "result": result_pb2.Result,
    "result_case": result_pb2.Case,
    "remedy_trial": result_pb2.RemedyTrial,
}


@pytest.fixture(autouse=True)
def no_negative_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one value that differs: a stored message has none, where its columns do."""
    monkeypatch.setattr(random_messages, "FLOATS", random_messages.FLOATS[:1] + random_messages.FLOATS[2:])


def read(records: Sequence[record_pb2.Record], *, revision: int = 1) -> list[Reading]:
    arrivals = [
        Arrival(SPOOL, MACHINE, revision, record.tombstone.last_sequence or at, record.SerializeToString(), 7)
        for at, record in enumerate(records, 1)
    ]
    return [ingest.read(arrival) for arrival in arrivals]


def random_record(kind: str, chance: random.Random) -> record_pb2.Record:
    """Acceptable: every id and every time is one."""
    record = record_pb2.Record(record_id=new_id(), machine_id=MACHINE, clock_offset_seconds=chance.random())
    record.measured_at.FromMicroseconds(chance.randrange(2**50))
    message = random_messages.message(RECORD.fields_by_name[kind].message_type, chance)
    getattr(record, kind).CopyFrom(message)
    mend(getattr(record, kind))
    if kind == "tombstone":
        record.tombstone.first_sequence = record.tombstone.last_sequence = 1
    return record


def mend(message: Any) -> None:
    """Ids and times become such as are accepted."""
    for field in message.DESCRIPTOR.fields:
        if field.message_type and field.message_type.full_name == "google.protobuf.Timestamp":
            getattr(message, field.name).FromMicroseconds(1_790_000_000_123_456)
        elif field.name.endswith("_id") and field.name not in {"remedy_id", "environment_id", "token_id"}:
            setattr(message, field.name, new_id())
        elif field.name in {"run", "result", "trial"} and field.message_type:
            getattr(message, field.name).SetInParent()
            mend(getattr(message, field.name))


def by_columns(readings: Sequence[Reading]) -> dict[str, list[dict[str, Any]]]:
    return {name: table.to_pylist() for name, table in tables_of(readings, most_rows=10**6).items()}


def by_hand(readings: Sequence[Reading]) -> dict[str, list[dict[str, Any]]]:
    tables: dict[str, list[dict[str, Any]]] = {}
    for reading in readings:
        for name, row in rows_of(reading.arrival, is_whole=not reading.is_raw):
            tables.setdefault(name, []).append(row)
    return tables


def comparable(table: str, rows: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Without what stands in for nothing, in one order, NaN equal to itself."""
    shown = [tuple(sorted((name, plain(table, name, value)) for name, value in row.items())) for row in rows]
    unique = dict.fromkeys(shown) if table in {"environment", "environment_package"} else shown
    return sorted(unique, key=repr)


def assert_alike(readings: Sequence[Reading]) -> None:
    columns, rows = by_columns(readings), by_hand(readings)
    assert columns.keys() == rows.keys()
    for table, expected in rows.items():
        found = [dict.fromkeys(expected[0]) | row for row in columns[table]]
        assert comparable(table, found) == comparable(table, expected), table


def plain(table: str, name: str, value: Any) -> Any:
    if name == "message" and table in MESSAGES:
        return MESSAGES[table].FromString(value).SerializeToString(deterministic=True)
    if name.endswith("_at") or name == "until":
        return None if value is None else value if isinstance(value, int) else micro(value)
    if name == "environment_variables":
        return tuple(sorted(value))
    if isinstance(value, list):
        return tuple(map(plain_number, value))
    return plain_number(value)


def micro(value: Any) -> int:
    return round(value.timestamp() * 1_000_000)


def plain_number(value: Any) -> Any:
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


@pytest.mark.parametrize("kind", sorted(OF_KIND))
def test_columns_are_what_each_record_says_field_by_field(kind: str) -> None:
    """Messages made up at random from the contract, with absent parts, unknown numbers and odd texts."""
    chance = random.Random(f"tables {kind}")
    readings = read([random_record(kind, chance) for _ in range(150)])
    assert {reading.reason for reading in readings} == {""}
    assert_alike(readings)


def test_kinds_and_revisions_mixed_are_told_apart() -> None:
    """One group holds what many machines sent: each row keeps the record that it came from."""
    chance = random.Random(5)
    kinds = sorted(set(OF_KIND) - {"tombstone"})
    records = [random_record(chance.choice(kinds), chance) for _ in range(60)]
    assert_alike([*read(records[:30]), *read(records[30:], revision=2)])


def test_a_field_that_comes_twice_counts_as_protobuf_counts_it() -> None:
    """The last one holds, also where bytes on the wire say both."""
    record = random_record("check_started", random.Random(1))
    twice = (
        record.SerializeToString()
        + record_pb2.Record(check_started={"check_name": "the_last_one"}).SerializeToString()
    )
    reading = ingest.read(Arrival(SPOOL, MACHINE, 1, 1, twice, 7))
    assert [row["check_name"] for row in by_columns([reading])["check_start"]] == ["the_last_one"]


def test_too_many_rows_are_seen_before_all_of_them_are_made() -> None:
    """The group is halved then, so memory is bounded whatever agents send."""
    readings = read([random_record("check_started", random.Random(2)) for _ in range(5)])
    with pytest.raises(TooManyRowsError):
        tables_of(readings, most_rows=9)
    assert len(tables_of(readings, most_rows=10)) == 2


def finished(**result: Any) -> record_pb2.Record:
    held = record_pb2.CheckFinished(run_id=new_id(), result=result_pb2.Result(result_id=new_id(), **result))
    return record_pb2.Record(record_id=new_id(), machine_id=MACHINE, check_finished=held)


@pytest.mark.parametrize("what", ["bytes", "rows"])
def test_a_slice_ends_with_the_record_that_fills_it(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left out and nothing comes twice, in the order that came."""
    monkeypatch.setattr(tables, "SLICE_BYTES", 30_000 if what == "bytes" else 1 << 30)
    monkeypatch.setattr(tables, "SLICE_ROWS", 30)
    held = {"log_tail": "x" * 10_000} if what == "bytes" else {"facts": [result_pb2.Fact()] * 10}
    readings = read([finished(**held) for _ in range(7)])
    assert [len(part) for part in slices(readings)] == [3, 3, 1]
    assert [reading for part in slices(readings) for reading in part] == readings


def test_what_is_counted_before_is_what_becomes_rows() -> None:
    """Of each kind that repeats something, but for what every record leaves once."""
    case = result_pb2.Case(name="a", measurements=[result_pb2.Measurement()] * 2, facts=[result_pb2.Fact()])
    everything = finished(
        measurements=[result_pb2.Measurement()],
        facts=[result_pb2.Fact()] * 3,
        expectations=[result_pb2.Expectation()] * 2,
        environment_variables={"A": "1"},
        remedy_trials=[result_pb2.RemedyTrial()],
        cases=[case, case],
    )
    (reading,) = read([everything])
    left = tables_of([reading], most_rows=1_000)
    assert reading.rows == sum(len(table) for name, table in left.items() if name not in {"record", "result"})
