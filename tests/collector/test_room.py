"""Room between the streams and the store: bounded, fair by machine, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from llmenv_collector.delivery.room import NOTHING, SHARE, Room, Size
from llmenv_collector.errors import NoRoomError

SMALL = Size(records=1, size=100)
BOUND = Size(records=64, size=6_400)


def test_a_machine_with_a_huge_backlog_does_not_starve_the_others() -> None:
    """Fifty machines with four deliveries each are through before one of 10,000 gets more than its turns."""

    async def admitted() -> list[str]:
        room, order = Room(BOUND), []

        async def deliver(machine_id: str) -> None:
            await room.enter(machine_id, SMALL)
            order.append(machine_id)
            await asyncio.sleep(0)
            room.leave(machine_id, SMALL)

        backlog = [deliver("backlog") for _ in range(10_000)]
        others = [deliver(f"machine {number}") for _ in range(4) for number in range(50)]
        await asyncio.gather(*backlog, *others)
        return order

    order = asyncio.run(admitted())
    last_of_the_others = max(index for index, machine_id in enumerate(order) if machine_id != "backlog")
    by_then = Counter(order[: last_of_the_others + 1])
    share = BOUND.records // SHARE
    assert len(by_then) == 51
    # In turn: one of the backlog for each round of the others, and its share that was in before.
    assert by_then["backlog"] <= 4 * 50 / 50 * share + share


def test_no_machine_fills_more_than_its_share() -> None:
    """The rest stays for machines that come later, which are let in at once."""

    async def filled() -> tuple[int, bool]:
        room = Room(BOUND)
        waiting = [asyncio.ensure_future(room.enter("backlog", SMALL)) for _ in range(100)]
        await asyncio.sleep(0)
        held = room.by_machine["backlog"].records
        await asyncio.wait_for(room.enter("other", SMALL), 60)
        for each in waiting:
            each.cancel()
        return held, room.filled.records == held + 1

    assert asyncio.run(filled()) == (BOUND.records // SHARE, True)


def test_bytes_count_as_well_as_records() -> None:
    """A few large deliveries fill it too, and one that is larger than the whole goes in alone."""

    async def entered() -> list[Size]:
        room, seen = Room(BOUND, patience_seconds=0.01), []
        huge = Size(records=1, size=10 * BOUND.size)
        await room.enter("huge", huge)
        seen.append(room.filled)
        with pytest.raises(NoRoomError):
            await room.enter("small", SMALL)
        room.leave("huge", huge)
        await room.enter("small", SMALL)
        return [*seen, room.filled]

    assert asyncio.run(entered()) == [Size(1, 10 * BOUND.size), SMALL]


def test_whoever_waits_too_long_is_sent_away_and_leaves_nothing_behind() -> None:
    """And so is one whose stream ends while it waits."""

    async def after() -> tuple[int, Size]:
        room = Room(Size(1, 100), patience_seconds=0.02)
        await room.enter("first", SMALL)
        with pytest.raises(NoRoomError, match="come again later"):
            await room.enter("second", SMALL)
        ended = asyncio.ensure_future(room.enter("third", SMALL))
        await asyncio.sleep(0)
        ended.cancel()
        await asyncio.gather(ended, return_exceptions=True)
        room.leave("first", SMALL)
        return room.waiting, room.filled

    assert asyncio.run(after()) == (0, NOTHING)


def test_what_happens_now_passes_a_backlog() -> None:
    """Into a share of room that no backlog fills; more than that waits as well."""

    async def entered() -> tuple[int, list[bool]]:
        room = Room(BOUND, live=SMALL)
        large = Size(records=2, size=200)
        backlogs = [asyncio.ensure_future(room.enter(str(number % 40), large)) for number in range(200)]
        await asyncio.sleep(0)
        filled = room.filled.records
        live = [
            asyncio.ensure_future(room.enter(f"live {n}", SMALL)) for n in range(BOUND.records // SHARE + 1)
        ]
        await asyncio.sleep(0)
        admitted = [each.done() for each in live]
        for each in (*backlogs, *live):
            each.cancel()
        await asyncio.gather(*backlogs, *live, return_exceptions=True)
        return filled, admitted

    filled, admitted = asyncio.run(entered())
    assert filled == BOUND.records
    assert admitted == [*[True] * (BOUND.records // SHARE), False]


@settings(max_examples=50, deadline=None)
@example(deliveries=[(0, 1, 1, False), (0, 1, 1, False), (0, 8, 1, False), (0, 1, 1, True)], live=NOTHING)
@given(
    deliveries=st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 30), st.integers(1, 3_000), st.booleans()), max_size=40
    ),
    live=st.sampled_from([NOTHING, Size(4, 400), BOUND]),
)
def test_whatever_comes_the_bounds_hold_and_everything_ends(
    deliveries: list[tuple[int, int, int, bool]], live: Size
) -> None:
    """Against the two bounds at every step; a delivery may be cancelled while it waits or as it is let in."""

    async def run() -> tuple[int, Size]:
        room, ticks = Room(BOUND, live=live, patience_seconds=2.0), itertools.count()
        kept = Size(BOUND.records // SHARE, BOUND.size // SHARE)
        most = BOUND if live == NOTHING else BOUND.plus(kept)

        async def deliver(machine: int, wanted: Size) -> None:
            await room.enter(str(machine), wanted)
            try:
                assert room.filled.within(most)
                for _ in range(next(ticks) % 3):
                    await asyncio.sleep(0)
            finally:
                room.leave(str(machine), wanted)

        tasks = []
        for machine, records, size, is_cancelled in deliveries:
            tasks.append(asyncio.ensure_future(deliver(machine, Size(records, size))))
            if is_cancelled:
                await asyncio.sleep(0)
                tasks[len(tasks) // 2].cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(one is None or isinstance(one, asyncio.CancelledError) for one in outcomes), outcomes
        return room.waiting, room.filled

    assert asyncio.run(run()) == (0, NOTHING)
