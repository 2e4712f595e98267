"""Known issues: those that results name, and silent ones that hold for this chip and these versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_cli.render.blocks import Column, Grid, Paragraph, Section
from llmenv_cli.render.sections.wording import titles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv.catalog.known_issues import KnownIssue
    from llmenv.catalog.texts import Texts

    from llmenv_cli.render.blocks import Block
    from llmenv_cli.render.run_view import RunView


def known_issues(view: RunView, texts: Texts) -> Section:
    """With severity and remedy, and what is widely advised and does not help."""
    return Section(texts.say("issues.title"), tuple(_blocks(view, texts)))


def _blocks(view: RunView, texts: Texts) -> Iterator[Block]:
    if view.observed_issues:
        seen = tuple((*_row(issue, texts), titles(seen_by, texts)) for issue, seen_by in view.observed_issues)
        yield Grid(_columns(("issue", "what", "severity", "remedy", "seen_by"), texts), seen)
        for issue, _ in view.observed_issues:
            if issue.does_not_help is not None:
                warning = texts.pick(issue.does_not_help)
                yield Paragraph(texts.say("issues.does_not_help", issue=issue.id, warning=warning))
    else:
        yield Paragraph(texts.say("issues.none_observed"))
    if view.silent_issues:
        yield Paragraph(texts.say("issues.silent"))
        rows = tuple(_row(issue, texts) for issue in view.silent_issues)
        yield Grid(_columns(("issue", "what", "severity", "remedy"), texts), rows)


def _columns(keys: tuple[str, ...], texts: Texts) -> tuple[Column, ...]:
    return tuple(Column(texts.say(f"column.{key}")) for key in keys)


def _row(issue: KnownIssue, texts: Texts) -> tuple[str, str, str, str]:
    severity = texts.say(f"severity.{issue.severity}")
    return issue.id, texts.pick(issue.title), severity, texts.pick(issue.remedy)
