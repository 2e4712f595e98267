"""Identifiers of the contract."""

from __future__ import annotations

import time
import uuid

from llmenv.ids import new_id


def test_is_version_7_of_the_rfc_variant() -> None:
    """RFC 9562 fixes version and variant bits; the standard library reads them."""
    value = uuid.UUID(new_id())
    assert (value.version, value.variant) == (7, uuid.RFC_4122)


def test_carries_the_time_it_was_made() -> None:
    """The first 48 bits are Unix milliseconds."""
    before = time.time_ns() // 1_000_000
    milliseconds = uuid.UUID(new_id()).int >> 80
    assert before <= milliseconds <= time.time_ns() // 1_000_000


def test_sorts_by_time() -> None:
    """Ids made in different milliseconds sort in the order they were made."""
    ids = []
    for _ in range(5):
        ids.append(new_id())
        time.sleep(0.002)
    assert ids == sorted(ids)


def test_does_not_repeat() -> None:
    """74 random bits a millisecond."""
    assert len({new_id() for _ in range(10_000)}) == 10_000
