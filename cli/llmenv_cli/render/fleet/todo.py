"""What a reader does on Monday, most pressing first: a line a cause, however many machines have it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from llmenv.catalog.status import WORDS
from llmenv.fleet.v1.fleet_report_pb2 import AXIS_UNSPECIFIED, JUDGEMENT_WORSE, VerdictEffectRow

from llmenv_cli.fleet_verdict import blocking, failing
from llmenv_cli.render.blocks import Bullets, Paragraph, Section
from llmenv_cli.render.fleet import words
from llmenv_cli.render.fleet.causes import supported
from llmenv_cli.render.fleet.difference import difference
from llmenv_cli.render.fleet.findings import remedy
from llmenv_cli.render.fleet.outliers import outlier_sentence
from llmenv_cli.render.sections.wording import closed, title, titles, when

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_report_pb2 import (
        Axis,
        ChangeRow,
        EffectRow,
        FindingRow,
        GetFleetReportResponse,
    )

    from llmenv_cli.render.blocks import Block

# More than this nobody does in a week; the sections have the rest.
MOST_ITEMS = 15


def todo(answer: GetFleetReportResponse, by: Axis.ValueType, texts: Texts) -> Section:
    """A numbered list; that there is nothing is said of a whole report alone, and never where nothing ran."""
    items = list(_items(answer, texts))
    blocks: list[Block] = []
    if not answer.coverage.reporting:
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
    for outlier in answer.outliers:
        if outlier.judgement == JUDGEMENT_WORSE:
            sentence = outlier_sentence(outlier, texts)
            yield texts.say("todo.outlier", machine=outlier.hostname, sentence=closed(sentence, texts))
    if answer.coverage.silent:
        silent = (machine.hostname for machine in answer.coverage.silent)
        yield texts.say("todo.silent", machines=words.names(silent, texts))
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
    for word, key in (("unknown", "never_ran"), ("skip", "skipped")):
        found: dict[tuple[str, ...], list[str]] = {}
        for row in answer.health:
            checks = tuple(sorted(name for name, one in blocking(row, answer).items() if one == word))
            if checks:
                found.setdefault(checks, []).append(words.place(row, texts))
        for checks, places in found.items():
            machines = words.names(places, texts, most=4)
            yield texts.say(f"todo.{key}", machines=machines, checks=titles(checks, texts))


def _exposures(answer: GetFleetReportResponse, texts: Texts) -> Iterator[str]:
    """Those that no finding above says already."""
    said = {(row.remedy_id, hostname) for row in failing(answer) for hostname in row.hostnames}
    for row in answer.exposures:
        machines = [name for name in row.reproduced if (row.issue_id, name) not in said]
        if not machines:
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
    """One item a change of version, whatever it made worse."""
    rows: list[EffectRow | VerdictEffectRow] = [*answer.verdict_effects, *answer.effects]
    worse = [row for row in rows if row.judgement == JUDGEMENT_WORSE]
    worse.sort(key=lambda row: (row.package, row.baseline, row.candidate))
    for key, group in itertools.groupby(worse, key=lambda row: (row.package, row.baseline, row.candidate)):
        same_change = list(group)
        others = {words.package_name(name) for row in same_change for name in row.confounded_with}
        yield texts.say(
            "todo.effect_confounded" if others else "todo.effect",
            package=words.package_name(key[0]),
            baseline=key[1],
            candidate=key[2],
            what=words.names(
                (_worse(row, texts) for row in same_change), texts, most=3, separator="word.clause_separator"
            ),
            **({"others": words.names(sorted(others), texts)} if others else {}),
        )


def _worse(row: EffectRow | VerdictEffectRow, texts: Texts) -> str:
    if isinstance(row, VerdictEffectRow):
        return texts.say("todo.check_fails", check=title(row.check_name, texts))
    return texts.say(
        "todo.figure",
        measured=words.measured(row.series, texts),
        difference=difference(row.ratio.value, row.series, texts),
    )


def _changes(answer: GetFleetReportResponse, texts: Texts) -> Iterator[str]:
    """One item a series and best supported cause, whichever machines have it."""
    found: dict[tuple[str, ...], list[ChangeRow]] = {}
    for row in answer.changes:
        if row.judgement == JUDGEMENT_WORSE and not row.is_suspected:
            top = row.causes[0] if row.causes else None
            cause = (top.kind, top.name, top.before, top.after) if top is not None else (row.machine_id,)
            series = (row.series.check_name, row.series.case_name, row.series.measurement, row.series.device)
            found.setdefault((*series, *cause), []).append(row)
    for rows in found.values():
        first = rows[0]
        since = min((row.changed_at for row in rows), key=lambda time: time.ToNanoseconds())
        yield texts.say(
            "todo.change",
            machines=words.names((row.hostname for row in rows), texts, most=4),
            measured=words.measured(first.series, texts),
            difference=_spread(rows, texts),
            since=when(since),
            cause=closed(supported(first.causes[0], texts), texts)
            if first.causes
            else texts.say("fleet.no_cause"),
        )


def _spread(rows: list[ChangeRow], texts: Texts) -> str:
    """The change of one machine, or the largest of several."""
    largest = max((row.ratio.value for row in rows), key=lambda ratio: abs(ratio - 1))
    said = difference(largest, rows[0].series, texts)
    return said if len(rows) == 1 else texts.say("todo.spread", difference=said)


def _flaky(answer: GetFleetReportResponse, texts: Texts) -> Iterator[str]:
    by_machine: dict[str, list[str]] = {}
    for row in answer.flaky:
        by_machine.setdefault(row.hostname, []).append(row.check_name)
    for hostname, checks in by_machine.items():
        yield texts.say("todo.flaky", machine=hostname, checks=titles(dict.fromkeys(checks), texts))
