"""A timed series: when it is warm, how it is taken, and what is said of constructed ones."""

from __future__ import annotations

import itertools
import random
import statistics
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmenv_agent.probe import timing
from llmenv_agent.probe.context import Probe
from llmenv_agent.probe.timing import Timer
from llmenv_agent.probe.trials import Series, is_unstable, settled, trend

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = st.floats(min_value=1e-3, max_value=1e3)


def noisy(count: int, *, deviation: float, seed: int = 0) -> list[float]:
    generator = random.Random(seed)
    return [1 + generator.gauss(0, deviation) for _ in range(count)]


class Clock:
    """Stands in for the clock and for a device: work is done only while somebody waits for it."""

    def __init__(self, *seconds: float) -> None:
        self.now = 0.0
        self.calls = 0
        self._seconds = seconds
        self._given = 0.0

    def work(self) -> None:
        self._given += self._seconds[min(self.calls, len(self._seconds) - 1)]
        self.calls += 1

    def synchronize(self) -> None:
        self.now += self._given
        self._given = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a Timer whose clock and device are the one given."""

    def make(clock: Clock, **parameters: float) -> Timer:
        monkeypatch.setattr(timing.time, "perf_counter", lambda: clock.now)
        monkeypatch.setattr(timing.time, "sleep", clock.sleep)
        defaults = {"trials": 10, "trial_seconds": 0.1, "cooldown_seconds": 2.0}
        request = {"device": "cpu", "parameters": {**defaults, **parameters}}
        return Timer(Probe(tmp_path / "check.py", request, tmp_path / "result.json"), clock.synchronize)

    return make


def test_steady_series_is_stable() -> None:
    """Two percent of noise in ten trials are neither unstable nor declining."""
    assert Series(tuple(noisy(10, deviation=0.02))).stability == "stable"


def test_fewer_than_ten_trials_are_not_judged() -> None:
    """Nine equal trials say nothing."""
    assert Series((1.0,) * 9).stability is None


@pytest.mark.parametrize(
    ("seconds", "loops"),
    [
        ([1.0, 1.3] * 5, 1),  # deviation of 14 % of the mean
        ([1.0] * 30 + [1.6], 1),  # one trial 57 % above the mean, deviation below 11 %
        ([1e-4] * 10, 5),  # half a millisecond a trial
    ],
)
def test_rules_of_pyperf_mark_a_series_as_unstable(seconds: list[float], loops: int) -> None:
    """Spread, an outlier, and a trial too short for the clock."""
    assert is_unstable(seconds, loops=loops)
    assert Series(tuple(seconds), loops=loops).stability == "unstable"


def test_long_enough_trial_of_short_calls_is_stable() -> None:
    """What counts is the raw trial, not the call."""
    assert Series((1e-4,) * 10, loops=1000).stability == "stable"


def test_series_that_never_warmed_up_is_unstable() -> None:
    """Equal trials after a warm-up that did not settle may be the beginning of anything."""
    assert Series((1.0,) * 10, is_warm=False).stability == "unstable"


def test_throttling_series_is_declining() -> None:
    """A chip that gets hot: 2 % slower with each trial, with noise of half a percent."""
    seconds = [noise * 1.02**trial for trial, noise in enumerate(noisy(12, deviation=0.005))]
    assert Series(tuple(seconds)).stability == "declining"


def test_series_that_gets_faster_is_not_declining() -> None:
    """The same the other way round."""
    seconds = [noise * 0.98**trial for trial, noise in enumerate(noisy(12, deviation=0.005))]
    assert Series(tuple(seconds)).stability == "stable"


def test_decline_too_small_to_matter_is_none() -> None:
    """Significant, and a thousandth a trial: one percent in all."""
    rates = [0.999**trial for trial in range(12)]
    assert trend(rates).p_value < 1e-3
    assert not trend(rates).is_decline


def test_device_made_slow_in_the_middle_is_marked() -> None:
    """Twice as slow from the sixth trial of ten on."""
    assert Series((1.0,) * 5 + (2.0,) * 5).stability == "unstable"


def test_noise_is_hardly_ever_a_decline() -> None:
    """At most 4 of 2,000 series without a trend: 2 are expected by the test alone, fewer by the size."""
    declining = sum(trend(noisy(10, deviation=0.05, seed=seed)).is_decline for seed in range(2000))
    assert declining <= 4


@pytest.mark.parametrize("count", [6, 7])
def test_p_value_is_close_to_the_exact_one(count: int) -> None:
    """Against all orders of a few different values, each as likely without a trend.

    The normal approximation is off by at most 0.02 there, and is used from ten values on.
    """
    orders = list(itertools.permutations(range(1, count + 1)))
    p_values = [trend(order).p_value for order in orders]
    for threshold in (0.01, 0.05, 0.2):
        below = [p_value for p_value in p_values if p_value <= threshold]
        assert len(below) / len(orders) <= threshold + 0.02
    for order, p_value in zip(orders[::100], p_values[::100], strict=True):
        falls = sum(1 for other in orders if score(other) <= score(order))
        assert p_value == pytest.approx(falls / len(orders), abs=0.02)


def score(values: tuple[int, ...]) -> int:
    """Kendall's: rising pairs less falling ones."""
    return sum(1 if early < late else -1 for early, late in itertools.combinations(values, 2))


@given(st.floats(-0.09, 0.09), st.integers(2, 30))
def test_change_is_that_of_a_straight_line(slope: float, count: int) -> None:
    """From its first value to its last, as a share of the median."""
    values = [10 + slope * position for position in range(count)]
    expected = (values[-1] - values[0]) / statistics.median(values)
    assert trend(values).change == pytest.approx(expected, abs=1e-9)


def test_one_outlier_does_not_turn_the_trend() -> None:
    """A last trial ten times as fast does not hide that the others fall by 2 % each."""
    rates = [0.98**trial for trial in range(12)]
    assert trend([*rates[:-1], 10.0]).change == pytest.approx(trend(rates).change, rel=0.25)


@given(st.lists(SECONDS, min_size=2, max_size=30))
def test_what_falls_does_not_rise(values: list[float]) -> None:
    """A fall one way is a rise the other; equal values are neither."""
    forwards, backwards = trend(values), trend(values[::-1])
    assert forwards.change == pytest.approx(-backwards.change)
    assert forwards.p_value + backwards.p_value >= 1 - 1e-9
    assert trend([1.0] * len(values)) == (0.0, 1.0)


@given(st.lists(SECONDS, min_size=10, max_size=30), st.floats(min_value=0.5, max_value=1000))
def test_unit_decides_nothing(values: list[float], factor: float) -> None:
    """A series in other units is as stable, as long as its trials are long enough."""
    slower = [each * factor for each in values]
    assert trend(slower).p_value == pytest.approx(trend(values).p_value, abs=0.05)
    if min(slower) > 1e-3 and min(values) > 1e-3:
        assert is_unstable(slower) == is_unstable(values)


def test_one_value_has_no_trend() -> None:
    """It takes two."""
    with pytest.raises(ValueError, match="two values"):
        trend([1.0])


def test_warm_up_settles_when_its_last_six_agree() -> None:
    """Medians of three: a slow start and one outlier are passed over, a fall is not."""
    assert not settled([1.0] * 5)
    assert settled([9.0, 1.0, 1.02, 1.0, 1.0, 5.0, 1.01])
    assert not settled([3.0, 2.5, 2.1, 1.8, 1.5, 1.3])


def test_clock_stops_after_the_device(timed: Any) -> None:
    """Work that is only given takes no time; a trial ends when it is done."""
    clock = Clock(0.25)
    series = timed(clock).time(clock.work)
    assert series.seconds == pytest.approx((0.25,) * 10)
    assert (series.loops, series.is_warm, series.stability) == (1, True, "stable")


def test_loops_double_until_a_trial_is_long_enough(timed: Any) -> None:
    """Of calls of 2 ms, 64 are the first power of two that lasts 0.1 s; what led there is warm-up."""
    clock = Clock(0.002)
    series = timed(clock).time(clock.work)
    assert series.loops == 64
    assert series.seconds == pytest.approx((0.002,) * 10)
    assert len(series.warmups) == 6 + 6


def test_slow_first_calls_are_warm_ups(timed: Any) -> None:
    """A kernel that is compiled at first does not reach the trials."""
    clock = Clock(5.0, 1.0, 0.2)
    series = timed(clock).time(clock.work)
    assert series.seconds == pytest.approx((0.2,) * 10)
    assert series.warmups[:2] == (5.0, 1.0)


def test_warm_up_is_bounded(timed: Any) -> None:
    """A device that gets slower and slower is measured after ten seconds, and is not called warm."""
    clock = Clock(*[1.2**call for call in range(40)])
    series = timed(clock).time(clock.work)
    assert not series.is_warm
    assert sum(series.warmups) < 10 + 1.2 ** len(series.warmups)
    assert series.stability == "declining"


def test_phases_are_timed_apart(timed: Any) -> None:
    """The device is waited for at the end of each; together they are the whole."""
    clock = Clock(0.1, 0.3)

    def step(lap: Any) -> None:
        clock.calls = 0
        clock.work()
        lap("forward")
        clock.work()
        lap("backward")

    laps = timed(clock).time_laps(step)
    assert laps["forward"].seconds == pytest.approx((0.1,) * 10)
    assert laps["backward"].seconds == pytest.approx((0.3,) * 10)
    assert laps["whole"].seconds == pytest.approx((0.4,) * 10)


def test_preparation_is_off_the_clock_and_before_each_call(timed: Any) -> None:
    """What is done to make a read cold takes its own time, and a trial is one call."""
    clock = Clock(0.001)
    prepared = []

    def prepare() -> None:
        prepared.append(clock.calls)
        clock.sleep(0.5)

    series = timed(clock).time(clock.work, prepare=prepare)
    assert series.seconds == pytest.approx((0.001,) * 10)
    assert prepared == list(range(clock.calls))


def test_trial_without_duration_is_refused(timed: Any) -> None:
    """Its rate would be infinite."""
    clock = Clock(0.0)
    with pytest.raises(ValueError, match="took no time"):
        timed(clock).time(clock.work)


def test_cases_are_kept_apart_by_a_bounded_pause(timed: Any) -> None:
    """As long as the case before computed, two seconds at most, none before the first; the order is kept."""
    clock = Clock(0.01)
    timer = timed(clock)
    for name in ("first", "second", "third"):
        before = clock.now
        with timer.case(name) as case:
            assert clock.now - before == pytest.approx({"first": 0, "second": 2, "third": 0.01}[name])
            if name == "first":
                timer.time(clock.work)
            else:
                timer._busy_seconds = 0.01
            case.passed("Done.")
        assert case.facts[0] == {"name": "order", "number": len(timer._probe.case_statuses), "unit": ""}


def test_rates_and_seconds_keep_their_trials_in_order(timed: Any) -> None:
    """Raw trials, warm-ups apart, the median as the value, and the judgement."""
    with timed(Clock(1.0)).case("speed") as case:
        series = Series((1.0, 2.0, 4.0), warmups=(8.0,))
        assert series.measure_rate(case, "tokens_per_second", "token/s", work=8) == 4.0
        assert series.measure_seconds(case, "load_seconds") == 2.0
        case.passed("Done.")
    rate, seconds = case.measurements
    assert (rate["trials"], rate["warmups"]) == ([8.0, 4.0, 2.0], [1.0])
    assert rate["direction"] == "DIRECTION_HIGHER_IS_BETTER"
    assert (seconds["trials"], seconds["direction"]) == ([1.0, 2.0, 4.0], "DIRECTION_LOWER_IS_BETTER")
    assert seconds["stability"] == "STABILITY_UNSPECIFIED"
