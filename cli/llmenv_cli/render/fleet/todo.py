"""What a reader does on Monday, most pressing first: a line a cause, however many machines have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.catalog import known_issues
from llmenv.catalog.status import WORDS
from llmenv.fleet.v1.fleet_report_pb2 import AXIS_UNSPECIFIED, JUDGEMENT_WORSE, VerdictEffectRow

from llmenv_cli.fleet_verdict import blocking, excused, failing
from llmenv_cli.render.blocks import Bullets, Paragraph, Section
from llmenv_cli.render.fleet import words
from llmenv_cli.render.fleet.causes import explains, identity, supported
from llmenv_cli.render.fleet.difference import quantity_of
from llmenv_cli.render.fleet.findings import remedy
from llmenv_cli.render.fleet.outliers import by_machine, outlier_sentence
from llmenv_cli.render.sections.wording import closed, title, titles, when

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_report_pb2 import (
        Axis,
        ChangeRow,
        FindingRow,
        GetFleetReportResponse,
        Series,
    )

    from llmenv_cli.render.blocks import Block

# More than this nobody does in a week; the sections have the rest.
MOST_ITEMS = 15
SEVERE = known_issues.SEVERITIES.index("high")


def todo(answer: GetFleetReportResponse, by: Axis.ValueType, texts: Texts) -> Section:
    """A numbered list; that there is nothing is said of a whole report alone, and never where nothing ran."""
    items = list(_items(answer, texts))
    blocks: list[Block] = []
    if not (answer.coverage.machines or answer.coverage.reporting):
        blocks.append(Paragraph(texts.say("fleet.no_machine")))
    elif not answer.coverage.reporting:
        blocks.append(Paragraph(texts.say("todo.nothing_known")))
    elif not items and by == AXIS_UNSPECIFIED:
        blocks.append(Paragraph(texts.say("todo.nothing")))
    if items:
        blocks.append(Bullets(tuple(items[:MOST_ITEMS]), ordered=True))
    if len(items) > MOST_ITEMS:
        blocks.append(Paragraph(texts.say("todo.more", count=len(items) - MOST_ITEMS)))
    return Section(texts.say("todo.title"), tuple(blocks))


def _items(answer: GetFleetReportResponse, texts: Texts) -> Iterator[str]:
    for row in failing(answer):
        yield _finding(row, texts)
    yield from _unproved(answer, texts)
    yield from _exposures(answer, texts)
    yield from _effects(answer, texts)
    yield from _changes(answer, texts)
    for outlier in by_machine(row for row in answer.outliers if row.judgement == JUDGEMENT_WORSE):
        sentence = closed(outlier_sentence(outlier, texts), texts)
        yield texts.say("todo.outlier", machine=outlier[0].hostname, sentence=sentence)
    missed = [machine.hostname for machine in answer.coverage.silent]
    missed += [machine.hostname for machine in answer.coverage.overdue]
    if missed:
        yield texts.say("todo.silent", machines=words.names(missed, texts))
    if answer.coverage.pending:
        yield texts.say("todo.pending", count=answer.coverage.pending)
    yield from _flaky(answer, texts)


def _finding(row: FindingRow, texts: Texts) -> str:
    helps = remedy(row, texts)
    return texts.say(
        "todo.finding_remedy" if helps else "todo.finding",
        check=title(row.check_name, texts),
        status=texts.say(f"status.{WORDS.get(row.status, 'unknown')}"),
        machines=words.names(row.hostnames, texts, most=4),
        reason=closed(texts.sentence(row.reason), texts),
        **({"remedy": closed(helps, texts)} if helps else {}),
    )


def _unproved(answer: GetFleetReportResponse, texts: Texts) -> Iterator[str]:
    """Core checks that never ran or were skipped: no failure says what to repair, and nothing is well."""
    noted = excused(answer)
    for word, key in (("unknown", "never_ran"), ("skip", "skipped")):
        found: dict[tuple[str, ...], list[str]] = {}
        for row in answer.health:
            checks = tuple(sorted(name for name, one in blocking(row, noted).items() if one == word))
            if checks:
                found.setdefault(checks, []).append(words.place(row, texts))
        for checks, places in found.items():
            machines = words.names(places, texts, most=4)
            yield texts.say(f"todo.{key}", machines=machines, checks=titles(checks, texts))


def _exposures(answer: GetFleetReportResponse, texts: Texts) -> Iterator[str]:
    """Those that spoil a training, and that no finding above says already."""
    said = {(row.remedy_id, hostname) for row in failing(answer) for hostname in row.hostnames}
    for row in answer.exposures:
        machines = [name for name in row.reproduced if (row.issue_id, name) not in said]
        if not machines or words.severity_of(row.issue_id) < SEVERE:
            continue
        issue, helps = words.issue_words(row.issue_id, texts)
        yield texts.say(
            "todo.exposure" if row.versions else "todo.exposure_anywhere",
            machines=words.names(machines, texts, most=4),
            title=issue,
            issue=row.issue_id,
            remedy=helps,
            **({"versions": words.names(row.versions, texts)} if row.versions else {}),
        ).strip()


def _effects(answer: GetFleetReportResponse, texts: Texts) -> Iterator[str]:
    """One item a change of version, those with nothing else changed first, then what these do not explain."""
    rows: list[words.Effect] = [*answer.verdict_effects, *answer.effects]
    worse = sorted((row for row in rows if row.judgement == JUDGEMENT_WORSE), key=_weight)
    plain = [row for row in worse if not row.confounded_with]
    explained = {_subject(row) for row in plain} | {_change_of(row) for row in plain}
    confounded = [
        row for row in worse if row.confounded_with and explained.isdisjoint({_subject(row), _change_of(row)})
    ]
    in_use = {(row.package, row.version): row.machines for row in answer.packages}
    known_good = {(row.package, row.instead_of): row.version for row in answer.known_good}
    for same_change in (*_by_change(plain), *_by_change(confounded)):
        first = same_change[0]
        machines = in_use.get((first.package, first.candidate))
        if machines != 0:
            advice = _effect(same_change, machines, texts)
            instead = known_good.get((first.package, first.candidate))
            if instead and not first.confounded_with:
                advice = texts.say("todo.known_good", advice=advice, version=instead)
            yield advice


def _weight(row: words.Effect) -> int:
    """Verdicts first, then what a training waits for, then errors and losses."""
    return 0 if isinstance(row, VerdictEffectRow) else 1 + _is_value(row.series)


def _by_change(rows: list[words.Effect]) -> list[list[words.Effect]]:
    groups: dict[tuple[str, ...], list[words.Effect]] = {}
    for row in rows:
        groups.setdefault(_change_of(row), []).append(row)
    return list(groups.values())


def _change_of(row: words.Effect) -> tuple[str, ...]:
    return row.package, row.baseline, row.candidate


def _subject(row: words.Effect) -> tuple[str, ...]:
    if isinstance(row, VerdictEffectRow):
        return row.check_name, row.device
    return words.series_key(row.series)


def _effect(rows: list[words.Effect], machines: int | None, texts: Texts) -> str:
    first = rows[0]
    others = sorted({words.package_name(name) for row in rows for name in row.confounded_with})
    values: dict[str, object] = {
        "package": words.package_name(first.package),
        "baseline": first.baseline,
        "candidate": first.candidate,
        "what": _listed([(_check_of(row), _worse(row, texts)) for row in rows], texts),
    }
    if others:
        return texts.say("todo.effect_confounded", others=words.names(others, texts), **values)
    if machines is None:
        return texts.say("todo.effect", **values)
    return texts.say("todo.effect_in_use", count=machines, **values)


def _check_of(row: words.Effect | ChangeRow) -> tuple[str, str]:
    if isinstance(row, VerdictEffectRow):
        return row.check_name, row.device
    return row.series.check_name, row.series.device


def _listed(said: Sequence[tuple[tuple[str, str], str]], texts: Texts) -> str:
    """The first of each check, with how many more of it there are."""
    of_check: dict[tuple[str, str], list[str]] = {}
    for check, figure in dict.fromkeys(said):
        of_check.setdefault(check, []).append(figure)
    shown = (
        texts.say("todo.figures", figure=figures[0], count=len(figures) - 1) if figures[1:] else figures[0]
        for figures in of_check.values()
    )
    return words.names(shown, texts, most=3, separator="word.clause_separator")


def _worse(row: words.Effect, texts: Texts) -> str:
    if isinstance(row, VerdictEffectRow):
        return texts.say("todo.check_fails", check=title(row.check_name, texts))
    return words.figure(row.series, row.ratio.value, texts)


def _changes(answer: GetFleetReportResponse, texts: Texts) -> Iterator[str]:
    """One item a cause that explains several machines; the machines that none explains are one together."""
    worse = [row for row in answer.changes if row.judgement == JUDGEMENT_WORSE and not row.is_suspected]
    explained: dict[object, list[ChangeRow]] = {}
    for row in worse:
        if row.causes and explains(row.causes[0]):
            explained.setdefault(identity(row.causes, most=1), []).append(row)
    for rows in explained.values():
        yield _change(rows, texts)
    others = [row for row in worse if not (row.causes and explains(row.causes[0]))]
    if others:
        what = _listed(_figures(others, texts), texts)
        machines = words.names((row.hostname for row in others), texts, most=4)
        yield texts.say("todo.change_unexplained", machines=machines, what=what)


def _change(rows: list[ChangeRow], texts: Texts) -> str:
    since = min((row.changed_at for row in rows), key=lambda time: time.ToNanoseconds())
    return texts.say(
        "todo.change",
        machines=words.names((row.hostname for row in rows), texts, most=4),
        since=when(since),
        what=_listed(_figures(rows, texts), texts),
        cause=closed(supported(rows[0].causes[0], texts), texts),
    )


def _figures(rows: list[ChangeRow], texts: Texts) -> list[tuple[tuple[str, str], str]]:
    """Each series once, by its largest change; what a training waits for before errors and losses."""
    largest: dict[tuple[str, ...], ChangeRow] = {}
    for row in sorted(rows, key=lambda row: (_is_value(row.series), -abs(row.ratio.value - 1))):
        largest.setdefault(words.series_key(row.series), row)
    return [(_check_of(row), words.figure(row.series, row.ratio.value, texts)) for row in largest.values()]


def _is_value(series: Series) -> bool:
    return quantity_of(series) == "value"


def _flaky(answer: GetFleetReportResponse, texts: Texts) -> Iterator[str]:
    """One item a check."""
    machines: dict[str, list[str]] = {}
    for row in answer.flaky:
        machines.setdefault(row.check_name, []).append(row.hostname)
    for check, hostnames in machines.items():
        named = words.names(hostnames, texts, most=4)
        yield texts.say("todo.flaky", machines=named, check=title(check, texts))
