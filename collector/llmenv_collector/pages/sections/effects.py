"""Effects of versions: a forest plot a version, every effect in a table, and what versions do to verdicts."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import fleet_report_pb2 as messages
from markupsafe import Markup

from llmenv_collector.pages import figures
from llmenv_collector.pages.blocks import (
    Block,
    Cell,
    Chart,
    Charts,
    Column,
    Fold,
    Legend,
    Paragraph,
    Section,
    Table,
)
from llmenv_collector.plot import forest
from llmenv_collector.plot.marks import Mark

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmenv_collector.pages.wording import Wording

Effect = messages.EffectRow | messages.VerdictEffectRow
MOST_PLOTS, MOST_ROWS = 12, 16
MARKS = {
    messages.JUDGEMENT_BETTER: Mark.BETTER,
    messages.JUDGEMENT_WORSE: Mark.WORSE,
    messages.JUDGEMENT_SAME: Mark.SAME,
    messages.JUDGEMENT_INCONCLUSIVE: Mark.INCONCLUSIVE,
}
RANK = {
    messages.JUDGEMENT_WORSE: 0,
    messages.JUDGEMENT_BETTER: 1,
    messages.JUDGEMENT_INCONCLUSIVE: 2,
    messages.JUDGEMENT_SAME: 3,
}


def section(
    effects: Sequence[messages.EffectRow],
    verdicts: Sequence[messages.VerdictEffectRow],
    method: messages.Method,
    wording: Wording,
) -> Section:
    minimum = figures.share(method.minimum_effect)
    lead = Paragraph(wording.say("pages_effects.lead", minimum=minimum), "lead")
    compared = blocks(effects, verdicts, method, wording)
    return Section("effects", wording.say("pages_section.effects"), (lead, *compared))


def blocks(
    effects: Sequence[messages.EffectRow],
    verdicts: Sequence[messages.VerdictEffectRow],
    method: messages.Method,
    wording: Wording,
) -> Iterator[Block]:
    """What was measured as forest plots, then verdicts, then every measurement."""
    if not effects and not verdicts:
        yield Paragraph(wording.say("pages.nothing"), "note")
    if effects:
        yield from plots(effects, method, wording)
    if verdicts:
        yield verdict_table(verdicts, wording)
    if effects:
        yield Fold(wording.say("pages_effects.table"), (table(effects, wording),))


def plots(effects: Sequence[messages.EffectRow], method: messages.Method, wording: Wording) -> list[Block]:
    """Of each version against its baseline; those with something real first."""

    def versions(row: messages.EffectRow) -> tuple[str, str, str]:
        return row.package, row.candidate, row.baseline

    ordered = sorted(effects, key=versions)
    groups = [sorted(group, key=importance) for _, group in itertools.groupby(ordered, key=versions)]
    groups.sort(key=lambda group: (importance(group[0]), versions(group[0])))
    if len(groups) == 1:  # there is room for all that a reader can take in
        (group,) = groups
        groups = [group[begin : begin + MOST_ROWS] for begin in range(0, len(group), MOST_ROWS)]
    drawn = [plot(number, group, method, wording) for number, group in enumerate(groups[:MOST_PLOTS])]
    shown = sum(len(group[:MOST_ROWS]) for group in groups[:MOST_PLOTS])
    blocks: list[Block] = [Legend(legend(wording)), Charts(tuple(drawn))]
    if shown < len(effects):
        said = wording.say("pages_effects.shown", shown=f"{shown:,}", all=f"{len(effects):,}")
        blocks.append(Paragraph(said, "note"))
    return blocks


def legend(wording: Wording) -> tuple[Cell, ...]:
    return tuple(wording.judgement(judgement) for judgement in MARKS)


def importance(row: messages.EffectRow) -> tuple[int, float, str]:
    away = max(row.ratio.value, 1 / row.ratio.value) if row.ratio.value > 0 else 1.0
    return RANK.get(row.judgement, 4), -away, row.series.check_name


def plot(number: int, rows: Sequence[messages.EffectRow], method: messages.Method, wording: Wording) -> Chart:
    counted = Counter(MARKS.get(row.judgement, Mark.INCONCLUSIVE) for row in rows)
    first = rows[0]
    drawable = [row for row in rows if min(row.ratio.low, row.ratio.value, row.ratio.high) > 0]
    drawn = forest.ForestPlot(
        identity=f"effect-{number}",
        title=wording.say(
            "pages_effects.plot",
            package=wording.package(first.package),
            candidate=first.candidate,
            baseline=first.baseline,
        ).strip(),
        description=wording.say(
            "pages_effects.about", count=len(rows), **{mark.value: counted[mark] for mark in MARKS.values()}
        ),
        axis=wording.say("pages_effects.axis", baseline=first.baseline),
        minimum_effect=method.minimum_effect,
        rows=tuple(
            plot_row(row, label, wording)
            for row, label in zip(drawable, labels_of(drawable, wording), strict=True)
        )[:MOST_ROWS],
    )
    return Chart(drawn.title, Markup(forest.render(drawn)))  # noqa: S704 (escaped by plot)


def labels_of(rows: Sequence[messages.EffectRow], wording: Wording) -> list[str]:
    return wording.told_apart([row.series for row in rows])


def plot_row(row: messages.EffectRow, label: str, wording: Wording) -> forest.ForestRow:
    ratio = figures.percent(row.ratio.value)
    judgement = wording.judgement(row.judgement).text
    return forest.ForestRow(
        label=label,
        figures=ratio,
        ratio=row.ratio.value,
        low=row.ratio.low,
        high=row.ratio.high,
        mark=MARKS.get(row.judgement, Mark.INCONCLUSIVE),
        hint=wording.say(
            "pages_effects.row",
            label=label,
            ratio=ratio,
            low=figures.percent(row.ratio.low),
            high=figures.percent(row.ratio.high),
            q=figures.probability(row.q_value),
            pairing=pairing(row.pairing, wording),
            judgement=judgement,
        ),
    )


def pairing(how: messages.Pairing.ValueType, wording: Wording) -> str:
    return wording.say(f"pages_pairing.{how if how in messages.Pairing.values() else 0}")


def table(rows: Sequence[messages.EffectRow], wording: Wording) -> Table:
    texts = ("measurement", "package", "baseline", "candidate", "judgement")
    numbers = ("difference", "interval", "q_value", "machines")
    last = ("pairing", "confounded")
    return Table(
        identity="effects-table",
        caption=wording.say("pages_effects.table"),
        columns=(
            *(Column(wording.column(name)) for name in texts),
            *(Column(wording.column(name), is_number=True) for name in numbers),
            *(Column(wording.column(name)) for name in last),
        ),
        rows=tuple(
            table_row(row, label, wording) for row, label in zip(rows, labels_of(rows, wording), strict=True)
        ),
    )


def table_row(row: messages.EffectRow, label: str, wording: Wording) -> tuple[Cell, ...]:
    return (
        Cell(label),
        Cell(wording.package(row.package)),
        Cell(row.baseline),
        Cell(row.candidate),
        wording.judgement(row.judgement),
        Cell(figures.percent(row.ratio.value), key=row.ratio.value),
        Cell(wording.ratio_interval(row.ratio), key=row.ratio.high - row.ratio.low),
        Cell(figures.probability(row.q_value), key=row.q_value),
        Cell(
            wording.say(
                "pages_effects.machines", candidate=row.candidate_machines, baseline=row.baseline_machines
            ),
            key=float(row.candidate_machines),
        ),
        Cell(pairing(row.pairing, wording)),
        Cell(wording.packages(row.confounded_with) or "—"),
    )


def verdict_table(rows: Sequence[messages.VerdictEffectRow], wording: Wording) -> Table:
    texts = ("check", "package", "baseline", "candidate", "judgement")
    numbers = ("candidate_failing", "baseline_failing", "q_value")
    return Table(
        identity="verdict-effects",
        caption=wording.say("pages_effects.verdicts"),
        columns=(
            *(Column(wording.column(name)) for name in texts),
            *(Column(wording.column(name), is_number=True) for name in numbers),
            Column(wording.column("pairing")),
            Column(wording.column("confounded")),
        ),
        rows=tuple(verdict_row(row, wording) for row in rows),
    )


def verdict_row(row: messages.VerdictEffectRow, wording: Wording) -> tuple[Cell, ...]:
    def failing(count: int, machines: int) -> Cell:
        return Cell(
            wording.say("pages_machines.of_results", count=count, results=machines),
            key=count / machines if machines else 0.0,
        )

    return (
        Cell(wording.check_on(row.check_name, row.device)),
        Cell(wording.package(row.package)),
        Cell(row.baseline),
        Cell(row.candidate),
        wording.judgement(row.judgement),
        failing(row.candidate_failing, row.candidate_machines),
        failing(row.baseline_failing, row.baseline_machines),
        Cell(figures.probability(row.q_value), key=row.q_value),
        Cell(pairing(row.pairing, wording)),
        Cell(wording.packages(row.confounded_with) or "—"),
    )
