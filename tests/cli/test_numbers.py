"""Numbers as people read them."""

from __future__ import annotations

import datetime as dt

import pytest
from llmenv.catalog.texts import texts
from llmenv.fleet.v1.result_pb2 import Fact
from llmenv_cli.render import numbers

ENGLISH, CHINESE = texts("en"), texts("zh")


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (124_439_808, "1", "124,439,808"),
        (0.9390647, "%", "0.9391 %"),
        (13_366.251, "1/ms", "13,366 /ms"),
        (497_759_232, "byte", "0.50 GB"),
        (4_737_000, "byte", "4.74 MB"),
        (12, "byte", "12 B"),
        (9.31, "s", "9.31 s"),
        (61.4, "s", "61.4 s"),
        (181.4, "s", "3 min 1 s"),
        (0.0015, "s", "1.5 ms"),
        (0.000161, "s", "161.0 µs"),
        (0, "s", "0 s"),
        (1.2422e13, "FLOP/s", "12.42 TFLOP/s"),
        (12, "FLOP/s", "12 FLOP/s"),
        (2.302585, "nat", "2.303 nat"),
        (1.4e-06, "1", "1.4e-06"),
        (-0.5, "1", "-0.5"),
        (58.4, "token/s", "58.4 tokens/s"),
        (7, "furlong", "7 furlong"),
        (float("nan"), "1", "nan"),
        (float("inf"), "byte", "inf"),
        (float("-inf"), "s", "-inf"),
    ],
)
def test_quantity(value: float, unit: str, shown: str) -> None:
    """Every unit that checks use, and one that none does."""
    assert numbers.quantity(value, unit, ENGLISH) == shown


def test_units_are_said_in_chinese() -> None:
    """Where the language has a word for them."""
    assert numbers.quantity(58.4, "token/s", CHINESE) == "58.4 词元/秒"


@pytest.mark.parametrize(
    ("fact", "shown"),
    [
        (Fact(name="a", flag=True), "yes"),
        (Fact(name="a", flag=False), "no"),
        (Fact(name="a", number=50_257), "50,257"),
        (Fact(name="a", number=2e9, unit="byte"), "2.00 GB"),
        (Fact(name="a", text="qnnpack"), "qnnpack"),
        (Fact(name="a"), ""),
    ],
)
def test_fact(fact: Fact, shown: str) -> None:
    """Words, numbers and yes or no."""
    assert numbers.fact(fact, ENGLISH) == shown


@pytest.mark.parametrize(
    ("byte_count", "shown"), [(64 * 2**30, "64 GiB"), (25_280_000_000, "25.28 GB"), (8 * 2**30, "8 GiB")]
)
def test_memory_is_named_as_it_is_sold(byte_count: int, shown: str) -> None:
    """A Mac's 64 GB are GiB; what a kernel leaves of them is not whole."""
    assert numbers.memory(byte_count) == shown


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_shown_as_that(value: float) -> None:
    """An agent may send anything; the report of its run is still to be had."""
    assert (numbers.duration(value), numbers.count(value)) == (str(value), str(value))


def test_moment_is_utc_to_the_minute() -> None:
    """A report is read in several time zones."""
    assert numbers.moment(dt.datetime(2026, 2, 15, 16, 20, 59, tzinfo=dt.UTC)) == "2026-02-15 16:20 UTC"
