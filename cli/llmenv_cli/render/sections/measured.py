"""Measurements as rows: a value with its unit, the trials behind it, and what the series says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.fleet.v1 import result_pb2

from llmenv_cli.render import numbers
from llmenv_cli.render.blocks import Column, Grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.result_pb2 import Case, Measurement

# Series whose median is not to be compared.
DOUBTFUL = {result_pb2.STABILITY_UNSTABLE: "unstable", result_pb2.STABILITY_DECLINING: "declining"}


def measurement_grid(measurements: Sequence[Measurement], texts: Texts) -> Grid:
    """What a check measured as a whole."""
    return Grid(_columns(texts), tuple(_row(measured, texts) for measured in measurements))


def case_figures(cases: Sequence[Case], texts: Texts) -> Grid:
    """What each case measured; the case is named in its first row only."""
    rows = tuple(
        (case.name if position == 0 else "", *_row(measured, texts))
        for case in cases
        for position, measured in enumerate(case.measurements)
    )
    return Grid((Column(texts.say("column.case")), *_columns(texts)), rows)


def value_in_words(measured: Measurement, texts: Texts) -> str:
    """The value, and a word of warning where its series is not to be trusted."""
    value = numbers.quantity(measured.value, measured.unit, texts)
    if measured.stability not in DOUBTFUL:
        return value
    return texts.say("checks.doubtful", value=value, series=series_word(measured, texts))


def series_word(measured: Measurement, texts: Texts) -> str:
    """ "unstable" or "throttled"; empty for a series that agrees, or was not judged."""
    doubt = DOUBTFUL.get(measured.stability)
    return texts.say(f"series.{doubt}") if doubt else ""


def _columns(texts: Texts) -> tuple[Column, ...]:
    return (
        Column(texts.say("column.measurement")),
        Column(texts.say("column.value"), is_number=True),
        Column(texts.say("column.trials")),
    )


def _row(measured: Measurement, texts: Texts) -> tuple[str, ...]:
    return texts.name_of("name", measured.name), value_in_words(measured, texts), _spread(measured, texts)


def _spread(measured: Measurement, texts: Texts) -> str:
    """How many trials, and from where to where; empty for a single value."""
    if not measured.trials:
        return ""
    return texts.say(
        "checks.trials",
        count=len(measured.trials),
        low=numbers.quantity(min(measured.trials), measured.unit, texts),
        high=numbers.quantity(max(measured.trials), measured.unit, texts),
    )
