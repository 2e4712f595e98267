"""What is fast and what it takes, a table a measurement: each chip with its interval, against the reference.

Losses, errors and counts judge a check and do not rate a chip: `--format json` and `csv` have them.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from llmenv.fleet.v1.fleet_report_pb2 import AXIS_CHIP
from llmenv.fleet.v1.result_pb2 import DIRECTION_LOWER_IS_BETTER, DIRECTION_UNSPECIFIED

from llmenv_cli.render import numbers
from llmenv_cli.render.blocks import Column, Paragraph, Section
from llmenv_cli.render.fleet import words
from llmenv_cli.render.fleet.difference import estimated, quantity_of, share

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_report_pb2 import Axis, ChipRow, GetFleetReportResponse, Variant

    from llmenv_cli.render.blocks import Block


TO_REFERENCE = 4
"""The column of ratios."""


def chips(answer: GetFleetReportResponse, by: Axis.ValueType, texts: Texts) -> Section:
    """The chips to compare stand below one another, the best first; of many only the best and the last."""
    rating = sorted((row for row in answer.chips if rates_a_chip(row)), key=_place)
    series = [list(rows) for _, rows in itertools.groupby(rating, key=_question)]
    if len(rating) > words.MOST_ROWS and by != AXIS_CHIP:
        return Section(texts.say("fleet.chips"), tuple(_overview(series, texts)))
    tables = tuple(_of_series(rows, answer.method.reference, texts) for rows in series)
    blocks = (Paragraph(_note(answer, texts)),) if tables and answer.method.reference.chip else ()
    return Section(texts.say("fleet.chips"), blocks, tables)


def _overview(series: list[list[ChipRow]], texts: Texts) -> Iterator[Block]:
    columns = (
        words.column("measurement_of", texts, wraps=True),
        words.column("best_chip", texts, wraps=True),
        words.column("last_chip", texts, wraps=True),
        words.column("chips", texts, is_number=True),
    )
    cells = [
        (
            words.measured(rows[0].series, texts),
            _at(rows[0], texts),
            _at(rows[-1], texts) if len(rows) > 1 else "",
            str(len(rows)),
        )
        for rows in series
    ]
    yield from words.table(columns, cells, texts)
    yield Paragraph(texts.say("fleet.chips_overview"))


def _at(row: ChipRow, texts: Texts) -> str:
    median = numbers.quantity(row.median.value, row.series.unit, texts)
    return texts.say("fleet.chip_at", chip=row.variant.chip.removeprefix("Apple "), median=median)


def rates_a_chip(row: ChipRow) -> bool:
    """A rate, a time or an amount of memory, of which more or less is better."""
    return quantity_of(row.series) != "value" and row.series.direction != DIRECTION_UNSPECIFIED


def _question(row: ChipRow) -> tuple[str, ...]:
    return words.series_key(row.series)


def _place(row: ChipRow) -> tuple[object, ...]:
    best_first = 1 if row.series.direction == DIRECTION_LOWER_IS_BETTER else -1
    return *_question(row), best_first * row.median.value, row.variant.chip


def _note(answer: GetFleetReportResponse, texts: Texts) -> str:
    reference = words.variant(answer.method.reference, texts)
    return texts.say("fleet.chip_reference", chip=reference, confidence=share(answer.method.confidence))


def _of_series(rows: list[ChipRow], reference: Variant, texts: Texts) -> Section:
    columns = (
        words.column("chip_variant", texts),
        words.column("median", texts, is_number=True),
        words.column("interval", texts, is_number=True),
        words.column("machines", texts, is_number=True),
        Column(texts.say("column.to_reference", chip=_short(reference)), wraps=True),
        words.column("share_of_limit", texts, is_number=True, is_optional=True),
        words.column("range", texts, is_number=True, is_optional=True),
    )
    cells = [_cells(row, reference, texts) for row in rows]
    has_ratio = any(row.HasField("ratio") for row in rows)
    # What no row has needs no column, nor has a reference that nothing is held against.
    kept = [
        index
        for index in range(len(columns))
        if any(row[index] for row in cells) and (index != TO_REFERENCE or has_ratio)
    ]
    blocks = words.table(
        [columns[index] for index in kept], [tuple(row[index] for index in kept) for row in cells], texts
    )
    asked = {(row.series.definition_hash, row.series.parameters_json) for row in rows}
    others = (Paragraph(texts.say("fleet.chips_differ")),) if len(asked) > 1 else ()
    return Section(words.measured(rows[0].series, texts), (*blocks, *others))


def _short(chip: Variant) -> str:
    return chip.chip.removeprefix("Apple ")


def _cells(row: ChipRow, reference: Variant, texts: Texts) -> tuple[str, ...]:
    return (
        words.short_variant(row.variant),
        numbers.quantity(row.median.value, row.series.unit, texts),
        _range(row, row.median.low, row.median.high, texts),
        str(row.machines),
        _against(row, reference, texts),
        texts.say("word.share", percent=share(row.share_of_limit)) if row.HasField("share_of_limit") else "",
        _range(row, row.lowest, row.highest, texts) if row.machines > 1 else "",
    )


def _range(row: ChipRow, low: float, high: float, texts: Texts) -> str:
    """Both ends; without the unit where it is that of the median beside them.  One value alone has none."""
    if not math.isfinite(high):
        return texts.say("fleet.one_machine")
    begin, end = (numbers.quantity(value, row.series.unit, texts) for value in (low, high))
    unit = numbers.quantity(row.median.value, row.series.unit, texts).partition(" ")[2]
    if unit and unit == begin.partition(" ")[2] == end.partition(" ")[2]:
        begin, end = (said.partition(" ")[0] for said in (begin, end))
    return texts.say("fleet.range", low=begin, high=end)


def _against(row: ChipRow, reference: Variant, texts: Texts) -> str:
    if row.HasField("ratio"):
        return estimated(row.ratio, row.series, texts)
    return texts.say("fleet.reference") if row.variant == reference else ""
