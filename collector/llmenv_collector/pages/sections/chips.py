"""Chips: medians with intervals against what a chip can do, a chart a measurement, and a table of all."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from llmenv.catalog.sources import source_of
from llmenv.fleet.v1.result_pb2 import (
    DIRECTION_HIGHER_IS_BETTER,
    DIRECTION_LOWER_IS_BETTER,
    DIRECTION_UNSPECIFIED,
)
from markupsafe import Markup

from llmenv_collector.pages import figures
from llmenv_collector.pages.blocks import Block, Cell, Chart, Charts, Column, Fold, Paragraph, Section, Table
from llmenv_collector.plot import intervals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmenv.fleet.v1 import fleet_report_pb2 as messages

    from llmenv_collector.pages.wording import Wording

MOST_CHARTS = 24
DIRECTIONS = {DIRECTION_HIGHER_IS_BETTER: "higher", DIRECTION_LOWER_IS_BETTER: "lower"}


def section(rows: Sequence[messages.ChipRow], method: messages.Method, wording: Wording) -> Section:
    confidence = figures.share(method.confidence)
    blocks: list[Block] = [Paragraph(wording.say("pages_chips.lead", confidence=confidence), "lead")]
    groups = [group for group in grouped([row for row in rows if rates_a_chip(row)]) if is_telling(group)]
    if groups:
        shown = sorted(groups, key=lambda group: -len(group))[:MOST_CHARTS]
        charts = (chart(number, group, wording) for number, group in enumerate(shown))
        blocks.append(Charts(tuple(charts)))
        if len(groups) > len(shown):
            said = wording.say("pages_chips.others", shown=len(shown), all=len(groups))
            blocks.append(Paragraph(said, "note"))
    if rows:
        if method.HasField("reference"):
            chip = wording.variant(method.reference)
            blocks.append(Paragraph(wording.say("pages_chips.reference", chip=chip), "note"))
        blocks.append(Fold(wording.say("pages_chips.table"), (table(rows, wording),), is_open=not groups))
    else:
        blocks.append(Paragraph(wording.say("pages.nothing"), "note"))
    return Section("chips", wording.say("pages_section.chips"), tuple(blocks))


def is_telling(rows: Sequence[messages.ChipRow]) -> bool:
    """Whether there is something to compare with: another variant, or what the chip can do."""
    return len(rows) > 1 or any(row.HasField("share_of_limit") for row in rows)


def rates_a_chip(row: messages.ChipRow) -> bool:
    """A rate, a time or an amount of memory, of which more or less is better."""
    unit = row.series.unit
    is_quantity = unit in {"s", "byte"} or unit.endswith("/s") or unit == "1/ms"
    return is_quantity and row.series.direction != DIRECTION_UNSPECIFIED


def grouped(rows: Sequence[messages.ChipRow]) -> list[list[messages.ChipRow]]:
    """What is one measurement of one device, the best variant first."""

    def series(row: messages.ChipRow) -> tuple[str, ...]:
        one = row.series
        source = source_of(one.definition_hash)
        return (
            one.check_name,
            one.measurement,
            one.case_name,
            one.device,
            one.parameters_json,
            one.unit,
            source,
        )

    ordered = sorted(rows, key=series)
    groups = (list(group) for _, group in itertools.groupby(ordered, key=series))
    return [sorted(group, key=better_first) for group in groups]


def better_first(row: messages.ChipRow) -> tuple[float, str]:
    sign = 1.0 if row.series.direction == DIRECTION_LOWER_IS_BETTER else -1.0
    return sign * row.median.value, row.variant.chip


def chart(number: int, rows: Sequence[messages.ChipRow], wording: Wording) -> Chart:
    series = rows[0].series
    highest = max(ends(row.median)[1] for row in rows)
    factor, unit = figures.unit_of(highest, series.unit, wording.texts)
    direction = wording.say(f"pages_chips.{DIRECTIONS[series.direction]}")
    name = wording.series_of_check(series)
    drawn = intervals.IntervalChart(
        identity=f"chip-{number}",
        title=name,
        description=wording.say(
            "pages_chips.about",
            measurement=name,
            count=len(rows),
            direction=direction,
            best=wording.variant(rows[0].variant),
            value=wording.quantity(rows[0].median.value, series),
        ),
        axis=wording.say("pages_chips.axis", unit=unit, direction=direction) if unit else direction,
        rows=tuple(chart_row(row, factor, wording) for row in rows),
    )
    return Chart(drawn.title, Markup(intervals.render(drawn)))  # noqa: S704 (escaped by plot)


def chart_row(row: messages.ChipRow, factor: float, wording: Wording) -> intervals.IntervalRow:
    value = row.median.value
    low, high = ends(row.median)
    limit = value / row.share_of_limit if row.HasField("share_of_limit") and row.share_of_limit > 0 else None
    return intervals.IntervalRow(
        label=wording.variant_in_chart(row.variant),
        figures=wording.quantity(value, row.series),
        value=value / factor,
        low=low / factor,
        high=high / factor,
        limit=limit / factor if limit is not None else None,
        hint=wording.listed([in_words(row, wording), *of_limit(row, wording)]),
    )


def has_interval(estimate: messages.Estimate) -> bool:
    """One value alone says nothing of how far others would lie from it."""
    return math.isfinite(estimate.high)


def ends(estimate: messages.Estimate) -> tuple[float, float]:
    """Where to draw them: without an interval at the value."""
    if not has_interval(estimate):
        return estimate.value, estimate.value
    return estimate.low, max(estimate.high, estimate.value)


def in_words(row: messages.ChipRow, wording: Wording) -> str:
    low, high = (wording.quantity(end, row.series) for end in (row.median.low, row.median.high))
    return wording.say(
        "pages_chips.row" if has_interval(row.median) else "pages_chips.row_alone",
        variant=wording.variant(row.variant),
        median=wording.quantity(row.median.value, row.series),
        low=low,
        high=high,
        machines=row.machines,
        results=row.results,
    )


def of_limit(row: messages.ChipRow, wording: Wording) -> list[str]:
    if not row.HasField("share_of_limit"):
        return []
    return [wording.say("pages_chips.of_limit", share=figures.share(row.share_of_limit))]


def table(rows: Sequence[messages.ChipRow], wording: Wording) -> Table:
    texts = ("measurement", "chip", "device")
    numbers = ("median", "interval", "ratio", "limit", "machines", "results")
    return Table(
        identity="chips-table",
        caption=wording.say("pages_chips.table"),
        columns=(
            *(Column(wording.column(name)) for name in texts),
            *(Column(wording.column(name), is_number=True) for name in numbers),
        ),
        rows=tuple(table_row(row, wording) for row in rows),
    )


def table_row(row: messages.ChipRow, wording: Wording) -> tuple[Cell, ...]:
    share = figures.share(row.share_of_limit) + " %" if row.HasField("share_of_limit") else "—"
    ratio = row.ratio
    has_ratio = row.HasField("ratio")
    measured = wording.say(
        "pages.measured", check=wording.check(row.series.check_name), series=wording.series(row.series)
    )
    return (
        Cell(wording.with_source(measured, row.series)),
        Cell(wording.variant(row.variant)),
        Cell(row.series.device),
        Cell(wording.quantity(row.median.value, row.series), key=row.median.value),
        interval_cell(row, wording),
        Cell(ratio_text(ratio) if has_ratio else "—", key=ratio.value if has_ratio else 0.0),
        Cell(share, key=row.share_of_limit),
        Cell(f"{row.machines}", key=float(row.machines)),
        Cell(f"{row.results:,}", key=float(row.results)),
    )


def interval_cell(row: messages.ChipRow, wording: Wording) -> Cell:
    if not has_interval(row.median):
        return Cell("—", key=0.0)
    return Cell(wording.interval(row.median, row.series), key=row.median.high - row.median.low)


def ratio_text(ratio: messages.Estimate) -> str:
    said = f"×{ratio.value:.3g}"  # noqa: RUF001
    return f"{said} ({ratio.low:.3g}–{ratio.high:.3g})" if has_interval(ratio) else said  # noqa: RUF001
