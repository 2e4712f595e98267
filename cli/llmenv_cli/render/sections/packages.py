"""The packages people train with: version, whether they import, and whether they work.

Whether one imports and works stands in the cases of the check `packages`; without that check only the
versions of the inventory are known, and the rest is said to be unknown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.catalog.packages import DATA_HANDLING, FRAMEWORKS
from llmenv.catalog.status import WORDS

from llmenv_cli.render import numbers
from llmenv_cli.render.blocks import Column, Grid, Paragraph, Section
from llmenv_cli.render.sections.wording import verdict

if TYPE_CHECKING:
    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.result_pb2 import Case
    from llmenv.fleet.v1.run_pb2 import Run

    from llmenv_cli.render.run_view import RunView

CHECK = "packages"
ABSENT = "-"
GROUPS = {"core": FRAMEWORKS, "handling": DATA_HANDLING}


def packages(view: RunView, texts: Texts) -> Section:
    """A table a group, and what the cases name besides."""
    result = view.check(CHECK).result
    cases = {case.name: case for case in result.cases} if result is not None else {}
    grouped = {name for names in GROUPS.values() for name in names}
    groups = {**GROUPS, "other": tuple(name for name in cases if name not in grouped)}
    subsections = tuple(
        Section(texts.say(f"packages.{group}"), (_grid(names, cases, view.run, texts),))
        for group, names in groups.items()
        if names
    )
    note = () if cases else (Paragraph(texts.say("packages.only_inventory")),)
    return Section(texts.say("packages.title"), note, subsections)


def _grid(names: tuple[str, ...], cases: dict[str, Case], run: Run, texts: Texts) -> Grid:
    versions = {package.name: package.version for package in run.environment.packages}
    columns = tuple(
        Column(texts.say(f"column.{key}"))
        for key in ("package", "version", "import_time", "status", "finding")
    )
    rows = tuple(
        _case_row(cases[name], versions.get(name, ""), texts)
        if name in cases
        else _unchecked_row(name, versions, texts)
        for name in names
    )
    return Grid(columns, rows)


def _case_row(case: Case, installed: str, texts: Texts) -> tuple[str, ...]:
    facts = {fact.name: numbers.fact(fact, texts) for fact in case.facts}
    seconds = {measured.name: measured.value for measured in case.measurements}.get("import_seconds")
    imported = numbers.duration(seconds) if seconds is not None else ABSENT
    version = facts.get("version", installed) or ABSENT
    return (
        case.name,
        version,
        imported,
        verdict(WORDS.get(case.status, "unknown"), texts),
        texts.sentence(case.reason),
    )


def _unchecked_row(name: str, versions: dict[str, str], texts: Texts) -> tuple[str, ...]:
    is_known_missing = bool(versions) and name not in versions
    finding = texts.say("packages.not_installed" if is_known_missing else "packages.not_executed")
    return name, versions.get(name, ABSENT), ABSENT, verdict("unknown", texts), finding
