"""The ledger of delivery: every sequence has one place, and what has none is said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.fleet.v1 import record_pb2
from llmenv.fleet.v1.fleet_service_pb2_grpc import FleetServiceStub
from llmenv.ids import new_id
from llmenv_collector.delivery.ingest import Arrival
from llmenv_collector.delivery.ledger import get_delivery
from llmenv_collector.delivery.sighting import Sighting
from llmenv_collector.errors import NotFoundError
from llmenv_collector.storage.store import Store

from .conftest import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import RunningCollector

MACHINE, DAY = new_id(), 86_400_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "llmenv.duckdb")
    opened.see(Sighting(MACHINE, seen_at=1, enrolled_at=1)).result()
    yield opened
    opened.close()


def record(**kind: Any) -> record_pb2.Record:
    kind = kind or {
        "check_started": {"run_id": new_id(), "result_id": new_id(), "check_name": "torch_basics"}
    }
    made = record_pb2.Record(record_id=new_id(), machine_id=MACHINE, **kind)
    made.measured_at.FromMicroseconds(DAY)
    return made


def deliver(
    store: Store, spool_id: str, records: list[record_pb2.Record | bytes], *, first: int = 1, at: int = DAY
) -> None:
    contents = [one if isinstance(one, bytes) else one.SerializeToString() for one in records]
    arrivals = [
        Arrival(spool_id, MACHINE, 1, sequence, content, received_at=at)
        for sequence, content in enumerate(contents, first)
    ]
    assert store.deliver(arrivals).result().jump == ""


def said(store: Store, spool_id: str, *, at: int = DAY, **totals: int) -> None:
    names = ("minted", "stored", "rejected", "waiting", "dropped")
    row = {"spool_id": spool_id, "machine_id": MACHINE, "said_at": at, **dict.fromkeys(names, 0), **totals}
    store.see(Sighting(MACHINE, seen_at=at, ledger=row)).result()


def change(store: Store, statement: str) -> None:
    store.request(lambda connection: connection.execute(statement)).result()


def ledger(store: Store, machine: str = "") -> fleet.GetDeliveryResponse:
    with store.reader() as connection:
        return get_delivery(connection, machine=machine)


def account(spool: fleet.SpoolDelivery) -> dict[str, int]:
    names = ("minted", "stored", "rejected", "waiting", "dropped", "lost_by_restore", "unexplained")
    counts = {name: int(getattr(spool, name)) for name in names}
    assert counts["minted"] + counts["unexplained"] >= sum(list(counts.values())[1:6])
    return {name: count for name, count in counts.items() if count}


def test_every_record_has_one_place(store: Store) -> None:
    """Stored, rejected, dropped and waiting add up to what the machine minted, each with a reason."""
    spool_id = new_id()
    tombstone = record(
        tombstone=record_pb2.Tombstone(
            first_sequence=4, last_sequence=6, dropped_records=3, reason="it was full"
        )
    )
    deliver(store, spool_id, [record(), record(), b"\xff\xff"])
    deliver(store, spool_id, [tombstone], first=6)
    said(store, spool_id, minted=9, stored=2, rejected=1, dropped=3, waiting=3)
    (spool,) = ledger(store).spools
    assert account(spool) == {"minted": 9, "stored": 2, "rejected": 1, "dropped": 3, "waiting": 3}
    assert list(spool.reasons) == [
        "3 dropped: it was full",
        "1 refused: The record is not a serialised llmenv.fleet.v1.Record.",
    ]


def test_what_came_after_the_machine_last_spoke_is_no_difference(store: Store) -> None:
    """Records are delivered between two heartbeats, so the machine's totals may lag behind."""
    spool_id = new_id()
    said(store, spool_id, minted=1, waiting=1)
    deliver(store, spool_id, [record(), record(), record()])
    assert account(ledger(store).spools[0]) == {"minted": 3, "stored": 3}


def test_a_machine_that_delivered_nothing_has_an_account(store: Store) -> None:
    """All that it minted waits."""
    said(store, new_id(), minted=5, waiting=5)
    assert account(ledger(store).spools[0]) == {"minted": 5, "waiting": 5}


def test_a_hole_in_the_store_is_unexplained(store: Store) -> None:
    """A row that is gone from the middle is found, however the totals stand."""
    spool_id = new_id()
    deliver(store, spool_id, [record() for _ in range(5)])
    change(store, "DELETE FROM store.record WHERE sequence = 3")
    (spool,) = ledger(store).spools
    assert account(spool) == {"minted": 5, "stored": 5, "unexplained": 1}
    assert list(spool.reasons) == ["1 unexplained: rows below the watermark are missing from the store"]


@pytest.mark.parametrize("condition", ["sequence <= 3", "true"])
def test_letting_old_rows_go_changes_nothing(store: Store, condition: str) -> None:
    """Totals are kept, by spool and by day, so retention leaves the ledger as it was."""
    spool_id = new_id()
    deliver(store, spool_id, [record() for _ in range(5)])
    before = ledger(store)
    change(store, f"DELETE FROM store.record WHERE {condition}")
    after = ledger(store)
    assert [account(spool) for spool in before.spools] == [account(spool) for spool in after.spools]
    assert [day.stored for day in before.days] == [day.stored for day in after.days] == [5]


def test_totals_of_the_machine_that_do_not_add_up_are_unexplained(store: Store) -> None:
    """A spool that loses count says so by itself."""
    spool_id = new_id()
    deliver(store, spool_id, [record()])
    said(store, spool_id, minted=4, stored=1, waiting=1)
    (spool,) = ledger(store).spools
    assert (spool.unexplained, list(spool.reasons)) == (
        2,
        ["2 unexplained: the machine's own totals do not add up"],
    )


def test_a_watermark_that_is_no_sum_is_unexplained(store: Store) -> None:
    """Something wrote past the ledger."""
    spool_id = new_id()
    deliver(store, spool_id, [record(), record()])
    change(store, "UPDATE store.watermark SET stored = 1")
    (spool,) = ledger(store).spools
    assert spool.unexplained == 1
    assert "not the sum" in spool.reasons[0]


def test_a_copy_of_a_spool_is_counted_apart(store: Store) -> None:
    """Records that both copies brought are rows once, and both accounts are whole."""
    older, newer = new_id(), new_id()
    records = [record() for _ in range(4)]
    deliver(store, older, list(records))
    forked = record(spool_forked=record_pb2.SpoolForked(previous_spool_id=older, shared_sequence=2))
    deliver(store, newer, [forked, *records[2:], record()], at=DAY + 1)
    first, second = ledger(store).spools
    assert account(first) == account(second) == {"minted": 4, "stored": 4}
    assert (first.next_spool_id, second.previous_spool_id) == (newer, older)


def test_what_a_restore_lost_is_said_with_the_spool_that_had_it(store: Store) -> None:
    """The machine held 60 to 90 only, and the restored collector had 40: nineteen are lost for good."""
    older, newer = new_id(), new_id()
    deliver(store, older, [record() for _ in range(40)])
    said(store, older, minted=90, stored=85, waiting=5)
    assert account(ledger(store).spools[0]) == {"minted": 90, "stored": 40, "waiting": 50}
    forked = record_pb2.SpoolForked(previous_spool_id=older, shared_sequence=40, lost_records=19)
    deliver(store, newer, [record(spool_forked=forked), *(record() for _ in range(31))], at=DAY + 1)
    first, second = ledger(store).spools
    assert account(first) == {"minted": 59, "stored": 40, "lost_by_restore": 19}
    assert list(first.reasons) == ["19 lost: acknowledged, then lost by a restore of the collector"]
    assert account(second) == {"minted": 32, "stored": 32}


def test_what_a_later_restore_loses_of_an_earlier_spool_is_said(store: Store) -> None:
    """The fork was at 40, and the collector went back to 30 of the former spool: nobody holds the rest."""
    older, newer = new_id(), new_id()
    deliver(store, older, [record() for _ in range(30)])
    forked = record(spool_forked=record_pb2.SpoolForked(previous_spool_id=older, shared_sequence=40))
    deliver(store, newer, [forked, record()], at=DAY + 1)
    assert account(ledger(store).spools[0]) == {"minted": 40, "stored": 30, "lost_by_restore": 10}


def test_an_older_copy_of_a_spool_ends_nothing_twice(store: Store) -> None:
    """It closes anew what its other self had closed; the verdict and the end that came first count."""
    older, newer, run_id, result_id = new_id(), new_id(), new_id(), new_id()
    begun = record(check_started={"run_id": run_id, "result_id": result_id, "check_name": "torch_basics"})

    def ends(status: int, outcome: int) -> list[record_pb2.Record]:
        result = {"result_id": result_id, "check_name": "torch_basics", "status": status}
        return [
            record(check_finished={"run_id": run_id, "result": result}),
            record(run_finished={"run_id": run_id, "outcome": outcome}),
        ]

    deliver(store, older, [begun, *ends(status=1, outcome=1)])
    forked = record(spool_forked=record_pb2.SpoolForked(previous_spool_id=older, shared_sequence=0))
    deliver(store, newer, [forked, begun, *ends(status=5, outcome=3)], at=DAY + 1)
    with store.reader() as connection:
        assert connection.execute("SELECT outcome FROM store.run_end").fetchall() == [(1,)]
        assert connection.execute("SELECT status FROM store.result").fetchall() == [("pass",)]
    assert [account(spool) for spool in ledger(store).spools] == [
        {"minted": 3, "stored": 3},
        {"minted": 4, "stored": 4},
    ]


def test_days_are_those_of_the_collector(store: Store) -> None:
    """Newest first, with how long records took."""
    spool_id = new_id()
    deliver(store, spool_id, [record(), b"\xff"], at=DAY + 5_000_000)
    deliver(store, spool_id, [record()], first=3, at=2 * DAY)
    assert [(day.day, day.stored, day.rejected, day.median_delay_seconds) for day in ledger(store).days] == [
        ("1970-01-03", 1, 0, 86_400.0),
        ("1970-01-02", 1, 1, 5.0),
    ]


def test_no_record_came_before_it_was_made(store: Store) -> None:
    """A clock was put back, or its offset is known to some milliseconds only: no time is negative."""
    early = record()
    early.clock_offset_seconds = 3_600
    deliver(store, new_id(), [early], at=DAY)
    (day,) = ledger(store).days
    assert (day.stored, day.median_delay_seconds, day.highest_delay_seconds) == (1, 0.0, 0.0)


def test_a_machine_that_nobody_knows_is_refused(store: Store) -> None:
    """One that is enrolled and silent has an empty account instead."""
    assert list(ledger(store, MACHINE).spools) == []
    with pytest.raises(NotFoundError, match="no machine 'nobody'"):
        ledger(store, "nobody")


def test_people_ask_over_tls(own_collector: RunningCollector) -> None:
    """A real stream's heartbeat brings the machine's totals into the answer."""
    machine = own_collector.enrol("studio-3")
    stream = machine.connect(new_id(), ledger={"minted": 3, "waiting": 3})
    stream.deliver([machine.check_started(), machine.check_started()], first=1)
    with own_collector.people_channel() as channel:
        metadata = [("authorization", f"Bearer {own_collector.secret('--role', 'viewer')}")]
        stub = FleetServiceStub(channel)

        def asked() -> fleet.SpoolDelivery:
            request = fleet.GetDeliveryRequest(machine="studio-3")
            return stub.GetDelivery(request, metadata=metadata).spools[0]

        wait_until(lambda: asked().stored == 2)
        assert account(asked()) == {"minted": 3, "stored": 2, "waiting": 1}
        assert (asked().hostname, asked().said.minted) == ("studio-3", 3)
    stream.close()
