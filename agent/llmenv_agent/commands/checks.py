"""`llmenv-agent checks`: every suite and check, what each asks, what it needs and how long it takes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from llmenv_agent import listing
from llmenv_agent.commands import options

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from llmenv_agent.definitions import Definition
    from llmenv_agent.suites import Suite

SUITE_HEADINGS = ("SUITE", "VERSION", "CHECKS", "TYPICAL", "FOR")
CHECK_HEADINGS = ("CHECK", "SUITES", "TYPICAL", "DEADLINE", "NEEDS")
CSV_HEADINGS = ("check", "suites", "typical_seconds", "deadline_seconds", "needs", "question")


@click.command("checks")
@click.option("--suite", metavar="NAME", help="List this suite and its checks alone.")
@options.checks_option
@click.option(
    "--format",
    "form",
    type=click.Choice(listing.FORMATS),
    default="table",
    show_default=True,
    help="How to print: table for people, json, csv (the checks alone), or md.",
)
@options.config_option
def command(suite: str | None, folders: tuple[Path, ...], form: str, config: Path | None) -> None:
    """List suites and checks with what each asks, needs, and takes.

    Typical is what a check took alone on an idle x86-64 CPU of two cores; its deadline is when it is ended.
    """
    from llmenv_agent.configuration import load_configuration
    from llmenv_agent.repertoire import read_repertoire

    configuration = load_configuration(config, checks_folders=folders)
    known = read_repertoire(configuration.checks_folders, configuration.suites)
    chosen = [known.suite(name) for name in ([suite] if suite else known.suite_names())]
    checks = chosen[0].definitions if suite else tuple(known.definitions.values())
    click.echo(_listed(chosen, checks, form))


def _listed(suites: Sequence[Suite], checks: Sequence[Definition], form: str) -> str:
    if form == "json":
        content = {
            "suites": [_suite_as_json(each) for each in suites],
            "checks": [_check_as_json(each, _members(suites, each)) for each in checks],
        }
        return json.dumps(content, indent=2, ensure_ascii=False)
    if form == "csv":
        return listing.as_csv(CSV_HEADINGS, [_csv_row(each, _members(suites, each)) for each in checks])
    rows = [_check_row(each, _members(suites, each)) for each in checks]
    suite_rows = [_suite_row(each) for each in suites]
    questions = [each.summary for each in checks]
    if form == "table":
        check_table = listing.as_table(CHECK_HEADINGS, rows, notes=questions)
        return f"{listing.as_table(SUITE_HEADINGS, suite_rows)}\n\n{check_table}"
    asked = [(*row, question) for row, question in zip(rows, questions, strict=True)]
    check_table = listing.as_markdown((*CHECK_HEADINGS, "QUESTION"), asked)
    return f"{listing.as_markdown(SUITE_HEADINGS, suite_rows)}\n\n{check_table}"


def _members(suites: Sequence[Suite], check: Definition) -> list[str]:
    return [each.name for each in suites if check in each.definitions]


def _suite_row(suite: Suite) -> tuple[str, ...]:
    from llmenv_agent.suites import PURPOSES

    typical = _seconds(suite.typical_seconds)
    if suite.untimed and suite.typical_seconds is not None:
        typical += f" + {suite.untimed} untimed"
    purpose = PURPOSES.get(suite.name, "the lab's own")
    return suite.name, suite.version, str(len(suite.definitions)), typical, purpose


def _check_row(check: Definition, suites: Sequence[str]) -> tuple[str, ...]:
    needs = ", ".join(check.requires) or "-"
    deadline = _seconds(check.deadline_seconds(check.parameters))
    return check.name, " ".join(suites) or "-", _seconds(check.typical_seconds), deadline, needs


def _csv_row(check: Definition, suites: Sequence[str]) -> tuple[str, ...]:
    typical = "" if check.typical_seconds is None else f"{check.typical_seconds:g}"
    needs = " ".join(check.requires)
    return (
        check.name,
        " ".join(suites),
        typical,
        f"{check.deadline_seconds(check.parameters):g}",
        needs,
        check.summary,
    )


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.3g} s" if seconds < 100 else f"{seconds:.0f} s"


def _suite_as_json(suite: Suite) -> dict[str, Any]:
    return {
        "name": suite.name,
        "version": suite.version,
        "checks": [each.name for each in suite.definitions],
        "typical_seconds": suite.typical_seconds,
        "untimed_checks": suite.untimed,
        "parameters": {name: dict(values) for name, values in suite.parameters.items()},
    }


def _check_as_json(check: Definition, suites: Sequence[str]) -> dict[str, Any]:
    return {
        "name": check.name,
        "summary": check.summary,
        "suites": suites,
        "requires": list(check.requires),
        "typical_seconds": check.typical_seconds,
        "timeout_seconds": check.deadline_seconds(check.parameters),
        "case_timeout_seconds": check.case_timeout_seconds,
        "parameters": dict(check.parameters),
        "allowed": {name: rule.words for name, rule in check.rules.items()},
        "definition_hash": check.definition_hash,
        "path": str(check.path),
    }
