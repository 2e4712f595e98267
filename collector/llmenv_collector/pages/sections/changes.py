"""Changes: measurements and verdicts of machines over time, and what changed there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from llmenv_collector.pages import figures
from llmenv_collector.pages.blocks import Block, Cell, Chart, Charts, Column, Paragraph, Section, Table
from llmenv_collector.plot import time_series

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from llmenv.fleet.v1 import fleet_report_pb2 as messages

    from llmenv_collector.pages.wording import Wording

MOST_CHARTS = 12
MOST_CAUSES = 5
"""Of a change: they stand by evidence, and what comes later has little."""
KINDS = ("package", "macos", "variable", "definition", "parameters", "conditions")

Traces = dict[int, tuple[time_series.Point, ...]]
"""Of a change by its place in the report: what was measured, in the order of time."""


def section(
    answer: messages.GetFleetReportResponse,
    traces: Mapping[int, Sequence[time_series.Point]],
    wording: Wording,
) -> Section:
    blocks: list[Block] = [Paragraph(wording.say("pages_changes.lead"), "lead")]
    if not answer.changes and not answer.verdict_changes:
        blocks.append(Paragraph(wording.say("pages.nothing"), "note"))
    if traces:
        blocks += charts(answer.changes, traces, wording)
    if answer.changes:
        blocks.append(table(answer.changes, wording))
    if answer.verdict_changes:
        blocks.append(verdict_table(answer.verdict_changes, wording))
    blocks.append(Paragraph(analysed(answer.method, wording), "note"))
    return Section("changes", wording.say("pages_section.changes"), tuple(blocks))


def analysed(method: messages.Method, wording: Wording) -> str:
    if not method.HasField("changes_analysed_at"):
        return wording.say("pages_changes.never_analysed")
    return wording.say("pages_changes.analysed", moment=wording.moment(method.changes_analysed_at))


def charts(
    rows: Sequence[messages.ChangeRow], traces: Mapping[int, Sequence[time_series.Point]], wording: Wording
) -> Iterator[Block]:
    yield Charts(tuple(chart(number, rows[number], points, wording) for number, points in traces.items()))
    if len(traces) < len(rows):
        yield Paragraph(wording.say("pages_changes.shown", shown=len(traces), all=len(rows)), "note")


def chart(
    number: int, row: messages.ChangeRow, points: Sequence[time_series.Point], wording: Wording
) -> Chart:
    values = [abs(point.value) for point in points]
    factor, unit = figures.unit_of(max(values), row.series.unit, wording.texts)
    changed_at = float(row.changed_at.seconds)
    name = wording.series_of_check(row.series)
    label = "suspected" if row.is_suspected else "changed"
    drawn = time_series.TimeSeries(
        identity=f"change-{number}",
        title=wording.say("pages_changes.chart", measurement=name, hostname=row.hostname),
        description=about(row, len(points), wording),
        axis=unit,
        points=tuple(time_series.Point(point.time, point.value / factor) for point in points),
        changes=(
            time_series.Change(
                time=changed_at,
                label=wording.say(f"pages_changes.{label}"),
                is_suspected=row.is_suspected,
            ),
        ),
        levels=tuple(levels(row, points, factor, changed_at)),
    )
    return Chart(drawn.title, Markup(time_series.render(drawn)), note=drawn.description)  # noqa: S704 (escaped by plot)


def levels(
    row: messages.ChangeRow, points: Sequence[time_series.Point], factor: float, changed_at: float
) -> Iterator[time_series.Level]:
    """Each from its side's first point to its last."""
    begin, end = points[0].time, points[-1].time
    if begin < changed_at:
        yield time_series.Level(begin=begin, end=min(changed_at, end), value=row.before / factor)
    if end >= changed_at:
        yield time_series.Level(begin=max(changed_at, begin), end=end, value=row.after / factor)


def about(row: messages.ChangeRow, points: int, wording: Wording) -> str:
    return wording.say(
        "pages_changes.about",
        points=points,
        before=wording.quantity(row.before, row.series),
        after=wording.quantity(row.after, row.series),
        moment=wording.moment(row.changed_at),
        percent=figures.percent(row.ratio.value),
        judgement=judgement(row, wording).text,
    )


def judgement(row: messages.ChangeRow, wording: Wording) -> Cell:
    said = wording.say("pages_judgement.suspected", points=row.points) if row.is_suspected else ""
    return wording.judgement(row.judgement, said=said)


def table(rows: Sequence[messages.ChangeRow], wording: Wording) -> Table:
    return Table(
        identity="changes-table",
        caption=wording.say("pages_changes.table"),
        columns=(
            Column(wording.column("machine")),
            Column(wording.column("measurement"), is_wide=True),
            Column(wording.column("difference"), is_number=True),
            Column(wording.column("judgement")),
            Column(wording.column("when"), is_number=True),
            Column(wording.column("before"), is_number=True),
            Column(wording.column("after"), is_number=True),
            Column(wording.column("cause"), is_wide=True),
        ),
        rows=tuple(
            (
                wording.machine(row.machine_id, row.hostname),
                Cell(wording.series_of_check(row.series)),
                Cell(figures.percent(row.ratio.value), key=row.ratio.value),
                judgement(row, wording),
                wording.when(row.changed_at),
                Cell(wording.quantity(row.before, row.series), key=row.before),
                Cell(wording.quantity(row.after, row.series), key=row.after),
                causes(row.causes, wording),
            )
            for row in rows
        ),
    )


def verdict_table(rows: Sequence[messages.VerdictChangeRow], wording: Wording) -> Table:
    return Table(
        identity="verdict-changes",
        caption=wording.say("pages_changes.verdicts"),
        columns=(
            Column(wording.column("machine")),
            Column(wording.column("check")),
            Column(wording.column("before")),
            Column(wording.column("after")),
            Column(wording.column("when"), is_number=True),
            Column(wording.column("environment")),
            Column(wording.column("cause"), is_wide=True),
        ),
        rows=tuple(
            (
                wording.machine(row.machine_id, row.hostname),
                Cell(wording.check_on(row.check_name, row.device)),
                wording.status(row.before),
                wording.status(row.after),
                wording.when(row.changed_at),
                Cell(row.environment_name),
                causes(row.causes, wording),
            )
            for row in rows
        ),
    )


def causes(rows: Sequence[messages.CauseRow], wording: Wording) -> Cell:
    """The best supported with its evidence, and the others to unfold."""
    if not rows:
        return Cell(wording.say("pages_changes.no_cause"), key=0.0)
    said = [f"{cause(row, wording)}: {supported(row, wording)}" for row in rows[:MOST_CAUSES]]
    if len(rows) == 1:
        return Cell(said[0], key=1.0)
    if len(rows) > MOST_CAUSES:
        said.append(wording.say("pages_changes.more_causes", count=len(rows) - MOST_CAUSES))
    label = wording.say("pages.more", count=len(rows))
    return Cell(said[0], key=float(len(rows)), more="\n".join(said[1:]), more_label=label)


def cause(row: messages.CauseRow, wording: Wording) -> str:
    absent = wording.say("pages_cause.absent")
    kind = row.kind if row.kind in KINDS else "other"
    values = {"name": row.name, "before": row.before or absent, "after": row.after or absent}
    if kind == "other":
        values["kind"] = row.kind
    return wording.say(f"pages_cause.{kind}", **values)


def supported(row: messages.CauseRow, wording: Wording) -> str:
    return wording.say(
        "pages_changes.evidence",
        changed_with=row.changed_with,
        machines_with=row.machines_with,
        changed_without=row.changed_without,
        machines_without=row.machines_without,
    )
