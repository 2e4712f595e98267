"""What to do first: what helps most machines comes first, each with how many it helps and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmenv.catalog import known_issues
from llmenv.catalog.status import WORDS
from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_collector.pages.blocks import Block, Cell, Column, Paragraph, Section, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from llmenv_collector.pages.sections.effects import Effect
    from llmenv_collector.pages.wording import Wording

FAILING = frozenset({"fail", "error", "timeout", "crash"})
SEVERE = known_issues.SEVERITIES.index("high")
MOST_REASONS = 20
MOST_ITEMS = 12
"""More than this nobody does in a week; the sections have the rest."""


@dataclass
class Item:
    """Something to do; `machines` is how many it is about, their names where they are known."""

    what: str
    why: list[str] = field(default_factory=list)
    hostnames: set[str] = field(default_factory=set)
    count: int = 0

    @property
    def machines(self) -> int:
        return len(self.hostnames) or self.count


def section(answer: messages.GetFleetReportResponse, wording: Wording) -> Section:
    found = sorted(items(answer, wording), key=lambda item: (-item.machines, item.what))
    blocks: list[Block] = [Paragraph(wording.say("pages_todo.lead"), "lead")]
    if found:
        blocks.append(table(found[:MOST_ITEMS], wording))
    elif answer.coverage.reporting:
        blocks.append(Paragraph(wording.say("todo.nothing")))
    else:
        blocks.append(Paragraph(wording.say("todo.nothing_known")))
    if len(found) > MOST_ITEMS:
        blocks.append(Paragraph(wording.say("todo.more", count=len(found) - MOST_ITEMS), "note"))
    return Section("todo", wording.say("pages_section.todo"), tuple(blocks))


def items(answer: messages.GetFleetReportResponse, wording: Wording) -> Iterator[Item]:
    yield from repairs(answer, wording)
    yield from unproved(answer.health, wording)
    yield from versions(answer, wording)
    worse = [
        row for row in answer.changes if row.judgement == messages.JUDGEMENT_WORSE and not row.is_suspected
    ]
    if worse:
        why = by_check([row.series for row in worse], wording)
        yield Item(wording.say("pages_todo.changes"), why, {row.hostname for row in worse})
    slow = [one for one in answer.outliers if one.judgement == messages.JUDGEMENT_WORSE]
    if slow:
        why = by_check([one.series for one in slow], wording)
        yield Item(wording.say("pages_todo.outliers"), why, {one.hostname for one in slow})
    missed = {one.hostname for one in answer.coverage.silent}
    missed |= {one.hostname for one in answer.coverage.overdue}
    if missed:
        yield Item(wording.say("pages_todo.silent"), hostnames=missed)
    if answer.coverage.pending:
        yield Item(wording.say("pages_todo.pending"), count=answer.coverage.pending)


def repairs(answer: messages.GetFleetReportResponse, wording: Wording) -> Iterator[Item]:
    """A remedy once, whatever it helps against; what has none is said by its check."""
    by_remedy: dict[str, Item] = {}
    for row in answer.findings:
        if row.HasField("acknowledgement") or WORDS.get(row.status) not in FAILING:
            continue
        why = wording.say(
            "pages_todo.fails", check=wording.check(row.check_name), reason=wording.sentence(row.reason)
        )
        if wording.issue(row.remedy_id) is None:
            what = wording.say("pages_todo.repair", check=wording.check(row.check_name))
            yield Item(what, [why], set(row.hostnames))
            continue
        item = by_remedy.setdefault(row.remedy_id, Item(wording.remedy(row.remedy_id)))
        item.why.append(why)
        item.hostnames.update(row.hostnames)
    for exposed in answer.exposures:
        issue = wording.issue(exposed.issue_id)
        if issue is None or not exposed.reproduced or known_issues.SEVERITIES.index(issue.severity) < SEVERE:
            continue
        item = by_remedy.setdefault(exposed.issue_id, Item(wording.remedy(exposed.issue_id)))
        item.why.append(wording.say("pages_todo.reproduced", title=wording.texts.pick(issue.title)))
        item.hostnames.update(exposed.reproduced)
    yield from by_remedy.values()


def unproved(rows: Iterable[messages.HealthRow], wording: Wording) -> Iterator[Item]:
    """Core checks that never ran or were skipped: no failure says what to repair, and nothing is well."""
    for word in ("unknown", "skip"):
        item = Item(wording.say(f"pages_todo.{word}"))
        for row in rows:
            checks = [name for name, one in row.readiness.blocking.items() if one == word]
            if checks:
                item.hostnames.add(row.hostname)
                item.why = unique([*item.why, *(wording.check(name) for name in sorted(checks))])
        if item.hostnames:
            yield item


def versions(answer: messages.GetFleetReportResponse, wording: Wording) -> Iterator[Item]:
    """Versions in use that are worse with nothing else changed."""
    in_use = {(row.package, row.version): row.machines for row in answer.packages}
    found: dict[tuple[str, str], list[Effect]] = {}
    rows: list[Effect] = [*answer.verdict_effects, *answer.effects]
    for row in rows:
        key = row.package, row.candidate
        if row.judgement == messages.JUDGEMENT_WORSE and not row.confounded_with and in_use.get(key):
            found.setdefault(key, []).append(row)
    known_good = {(row.package, row.instead_of): row.version for row in answer.known_good}
    for key, worse in found.items():
        what = wording.say(
            "pages_todo.avoid",
            package=wording.package(worse[0].package),
            candidate=worse[0].candidate,
            baseline=worse[0].baseline,
        )
        if key in known_good:
            what = wording.say("pages_todo.known_good", advice=what, version=known_good[key])
        failing = [row.check_name for row in worse if isinstance(row, messages.VerdictEffectRow)]
        measured = [row.series for row in worse if isinstance(row, messages.EffectRow)]
        why = [*unique(wording.check(name) for name in failing), *by_check(measured, wording)]
        yield Item(what, why, count=in_use[key])


def by_check(measured: Sequence[messages.Series], wording: Wording) -> list[str]:
    """One measurement of a check by its name, several as a count."""
    of_check: dict[tuple[str, str], list[str]] = {}
    for one in measured:
        of_check.setdefault((one.check_name, one.device), []).append(wording.series_of_check(one))
    return [
        alike[0]
        if len(alike := unique(names)) == 1
        else wording.say("pages_todo.several", check=wording.check_on(check, device), count=len(alike))
        for (check, device), names in of_check.items()
    ]


def unique(said: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(said))


def table(found: list[Item], wording: Wording) -> Table:
    return Table(
        identity="todo-table",
        caption=wording.say("pages_section.todo"),
        is_caption_shown=False,
        columns=(
            Column(wording.say("pages_todo.what"), is_wide=True),
            Column(wording.column("machines"), is_number=True),
            Column(wording.say("pages_todo.why"), is_wide=True),
        ),
        rows=tuple((Cell(item.what), machines(item, wording), why(item, wording)) for item in found),
    )


def machines(item: Item, wording: Wording) -> Cell:
    names = wording.unfolded(sorted(item.hostnames))
    return Cell(
        f"{item.machines:,}",
        key=float(item.machines),
        more=names,
        more_label=wording.column("machines") if names else "",
    )


def why(item: Item, wording: Wording) -> Cell:
    """The first reason, and the others to unfold."""
    if len(item.why) < 2:
        return Cell(item.why[0] if item.why else "—")
    label = wording.say("pages.more", count=len(item.why))
    rest = len(item.why) - MOST_REASONS
    said = [*item.why[:MOST_REASONS], *([wording.say("todo.more", count=rest)] if rest > 0 else [])]
    return Cell(item.why[0], more="\n".join(said), more_label=label)
