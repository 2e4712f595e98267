"""How pages name and print what they show."""

from __future__ import annotations

import math

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from llmenv.catalog.texts import LANGUAGES, texts
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv_collector.pages import figures
from llmenv_collector.pages.sections import coverage
from llmenv_collector.pages.wording import Wording, moment_of


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (1.25e-4, "s", "125 µs"),
        (0.0, "s", "0 µs"),
        (75.0, "s", "75 s"),
        (150.0, "s", "2.5 min"),
        (3.4e9, "byte", "3.4 GB"),
        (2.1e13, "FLOP/s", "21 TFLOP/s"),
        (41.567, "step/s", "41.57 steps/s"),
        (12345.6, "1", "12,346"),
        (math.nan, "1", "nan"),
        (math.inf, "s", "inf"),
    ],
)
def test_a_figure_is_printed_with_its_unit(value: float, unit: str, expected: str) -> None:
    """In the size that people would choose."""
    assert figures.quantity(value, unit, texts("en")) == expected


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [(1.042, "+4.2 %"), (0.958, "\u22124.2 %"), (1.0001, "±0.0 %"), (3.5, "\u00d73.5"), (0.25, "\u00d70.25")],
)
def test_a_ratio_is_printed_as_the_change_that_it_is(ratio: float, expected: str) -> None:
    """Far from 1 as a factor; nothing is shown as a negative zero."""
    assert figures.percent(ratio) == expected


@pytest.mark.parametrize("count", [1, 2])
def test_a_count_of_improvements_is_said_rightly_whatever_it_is(count: int) -> None:
    """One is no "improvements": the words go with every number."""
    changes = [{"machine_id": f"{each}", "judgement": messages.JUDGEMENT_BETTER} for each in range(count)]
    answer = messages.GetFleetReportResponse(changes=changes)
    assert coverage.regressions(answer, Wording("en")).note == f"real improvements: {count}"


def series(**parts: str) -> messages.Series:
    known = {"check_name": "torch_training", "measurement": "steps_per_second", "device": "mps"}
    return messages.Series(**known, **parts)


@pytest.mark.parametrize("language", LANGUAGES)
def test_series_that_would_be_called_alike_are_told_apart(language: str) -> None:
    """By what differs: the parameters, else the definition; one that stands alone has neither."""
    wording = Wording(language)
    small, large = series(parameters_json='{"width": 64}'), series(parameters_json='{"width": 128}')
    first, second = series(definition_hash="aaaaaaaabbbb"), series(definition_hash="ccccccccdddd")
    assert len(set(wording.told_apart([small, large]))) == 2
    assert wording.told_apart([small, large])[0].endswith("width=64")
    assert wording.told_apart([first, second])[1].endswith("cccccccc")
    assert wording.told_apart([small, small]) == [wording.series_of_check(small)] * 2


def test_many_names_unfold() -> None:
    """The first few, how many more, and all of them below."""
    cell = Wording("en").names([f"m{number}" for number in range(12)])
    assert cell.text == "m0, m1, m2 and 9 more"
    assert cell.more.endswith("m10, m11")
    assert Wording("en").names(["a", "b"]).more == ""


def test_a_machine_leads_somewhere_on_a_live_page_alone() -> None:
    """A saved file has no collector to ask."""
    assert Wording("en").machine("01900000", "studio").href == ""
    assert Wording("zh", is_live=True).machine("01900000", "studio").href == "/machines/01900000?lang=zh"


def test_a_time_that_no_calendar_holds_is_shown_all_the_same() -> None:
    """A machine's clock may say anything."""
    assert moment_of(Timestamp(seconds=10**17)).year == 1970
