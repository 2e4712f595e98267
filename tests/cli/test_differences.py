"""Differences are said in the direction that they have, and never as a bare ratio."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmenv.catalog.texts import texts
from llmenv.fleet.v1.fleet_report_pb2 import Estimate, Series
from llmenv_cli.render.fleet.difference import difference, estimated

TIME, RATE = Series(unit="s"), Series(unit="token/s")
MEMORY, SIZE = (
    Series(unit="byte", measurement="peak_memory"),
    Series(unit="byte", measurement="adapter_bytes"),
)
LOSS = Series(unit="nat")
ENGLISH, CHINESE = texts("en"), texts("zh")


@pytest.mark.parametrize(
    ("series", "ratio", "english", "chinese"),
    [
        (TIME, 1.11, "11 % slower", "慢 11%"),
        (TIME, 0.89, "11 % faster", "快 11%"),
        (RATE, 1.11, "11 % faster", "快 11%"),
        (RATE, 0.89, "11 % slower", "慢 11%"),
        (MEMORY, 1.3, "30 % more memory", "内存多 30%"),
        (MEMORY, 0.4, "60 % less memory", "内存少 60%"),
        (SIZE, 1.034, "3.4 % larger", "大 3.4%"),
        (LOSS, 0.97, "3 % lower", "低 3%"),
        (TIME, 2.5, "2.5 times slower", "耗时为 2.5 倍"),
        (TIME, 0.125, "8 times faster", "速度为 8 倍"),
        (RATE, 4.43, "4.43 times faster", "速度为 4.43 倍"),
        (RATE, 0.25, "4 times slower", "耗时为 4 倍"),
        (LOSS, 3.0, "3 times higher", "数值为 3 倍"),
        (TIME, 1.0, "no difference", "没有差异"),
        (TIME, math.nan, "not known", "未知"),
        (TIME, math.inf, "not known", "未知"),
        (TIME, -1.0, "not known", "未知"),
    ],
)
def test_words_of_a_ratio(series: Series, ratio: float, english: str, chinese: str) -> None:
    """A longer time is slower, a higher rate is faster, and bytes are memory or size."""
    assert (difference(ratio, series, ENGLISH), difference(ratio, series, CHINESE)) == (english, chinese)


@pytest.mark.parametrize(
    ("series", "ends", "said"),
    [
        (RATE, (0.89, 0.87, 0.91), "11 % slower (9 to 13 %)"),
        (TIME, (1.11, 1.09, 1.13), "11 % slower (9 to 13 %)"),
        (RATE, (4.43, 4.32, 4.51), "4.43 times faster (4.32 to 4.51)"),
        (TIME, (0.125, 0.12, 0.14), "8 times faster (7.14 to 8.33)"),
        (TIME, (0.99, 0.97, 1.02), "1 % faster (3 % faster to 2 % slower)"),
        (RATE, (1.95, 1.88, 2.1), "95 % faster (88 % faster to 2.1 times faster)"),
        (RATE, (0.89, math.nan, math.nan), "11 % slower"),
    ],
)
def test_words_of_an_interval(series: Series, ends: tuple[float, float, float], said: str) -> None:
    """Numbers alone where both ends are of one kind, else whole phrases."""
    value, low, high = ends
    assert estimated(Estimate(value=value, low=low, high=high), series, ENGLISH) == said


@given(st.floats(min_value=0, max_value=1e6), st.sampled_from([TIME, RATE, MEMORY, SIZE, LOSS]))
def test_there_are_words_for_every_ratio(ratio: float, series: Series) -> None:
    """Both languages, whatever was measured."""
    estimate = Estimate(value=ratio, low=ratio * 0.9, high=ratio * 1.1)
    for language in (ENGLISH, CHINESE):
        assert estimated(estimate, series, language)
