"""What waits for the store's writer: who comes first, and who may pass whom."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmenv_collector.delivery import waiting as waiting_module
from llmenv_collector.delivery.ingest import Arrival
from llmenv_collector.delivery.room import Size
from llmenv_collector.delivery.waiting import Asked, Delivery, Request, Waiting

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.fixture(autouse=True)
def small_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A live delivery has at most two records, and a group about ten."""
    monkeypatch.setattr(waiting_module, "LIVE", Size(records=2, size=1_000))
    monkeypatch.setattr(waiting_module, "MAX_GROUP_RECORDS", 10)


def delivery(machine_id: str, records: int) -> Delivery:
    arrivals = [
        Arrival(f"spool of {machine_id}", machine_id, 1, number, b"record", 0) for number in range(records)
    ]
    return Delivery(arrivals, Future())


def request() -> Request:
    return Request(lambda _connection: None, Future())


def groups(items: Sequence[Any]) -> list[list[Any]]:
    """As the writer takes them, to the end."""
    waiting = Waiting()
    for item in items:
        waiting.put(item)
    waiting._is_closed = True
    taken = []
    while (group := waiting.take()) is not None:
        taken.append(group)
    return taken


def test_what_happens_now_passes_the_backlog_of_others() -> None:
    """And of its own machine nothing: its sequences would jump."""
    backlog, now = [delivery(f"backlog {number % 3}", 4) for number in range(12)], delivery("live", 2)
    own = delivery("backlog 2", 1)
    first, *others = groups([*backlog, now, own])
    assert first[:2] == [now, backlog[0]]
    assert [one for group in others for one in group] == [*backlog[len(first) - 1 :], own]


def test_nobody_passes_a_request() -> None:
    """What the writer does for itself sees what was delivered before it, and nothing else."""
    before, asked, after = delivery("backlog", 9), request(), delivery("live", 1)
    assert groups([before, asked, after]) == [[before], [asked], [after]]


def test_a_backlog_goes_on_however_much_happens_now() -> None:
    """It has at least half of each group."""
    backlog, live = delivery("backlog", 5), [delivery(f"live {number}", 1) for number in range(100)]
    assert backlog in groups([*live[:50], backlog, *live[50:]])[5]
    assert backlog in groups([backlog, *live])[0]


def test_who_connects_passes_the_backlog_of_others() -> None:
    """And is told of everything that it has delivered itself."""
    backlog = [delivery("backlog", 9) for _ in range(3)]
    returning = Asked(lambda _connection, keys: dict.fromkeys(keys), "spool of other", Future())
    behind = Asked(lambda _connection, keys: dict.fromkeys(keys), "spool of backlog", Future())
    taken = groups([*backlog, behind, returning])
    assert taken[0][0] is returning
    assert [one for group in taken for one in group][1:] == [*backlog, behind]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 6), st.integers(0, 9)), max_size=40))
def test_each_machine_keeps_its_order(drawn: list[tuple[int, int, int]]) -> None:
    """Nothing is lost, nothing comes twice, and of one machine nothing passes anything."""
    items = [request() if chance == 0 else delivery(str(number), size) for number, size, chance in drawn]
    taken = [item for group in groups(items) for item in group]
    assert {id(item) for item in taken} == {id(item) for item in items}
    assert len(taken) == len(items)
    for number in range(5):
        of_machine = [item for item in items if isinstance(item, Request) or str(number) in item.about]
        wanted = {id(item) for item in of_machine}
        assert [id(item) for item in taken if id(item) in wanted] == [id(item) for item in of_machine]
