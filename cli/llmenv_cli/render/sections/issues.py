"""Known issues that results name, remedies that were tried, what is unexplained, and silent issues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_cli.render.blocks import Bullets, Column, Grid, Paragraph, Section
from llmenv_cli.render.sections.unexplained import unexplained
from llmenv_cli.render.sections.wording import closed, status_of, title, titles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv.catalog.known_issues import KnownIssue
    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.result_pb2 import RemedyTrial

    from llmenv_cli.render.blocks import Block
    from llmenv_cli.render.run_view import CheckView, RunView

# Of a check whose cases fail by the hundred the first say it.
MOST_CASES = 5


def known_issues(view: RunView, texts: Texts) -> Section:
    """With severity and remedy, what was tried of it, and what is widely advised and does not help."""
    return Section(texts.say("issues.title"), tuple(_blocks(view, texts)))


def _blocks(view: RunView, texts: Texts) -> Iterator[Block]:
    yield from _observed(view, texts)
    if trials := tuple(_trials(view, texts)):
        yield Paragraph(texts.say("issues.tried"))
        yield Bullets(trials)
    if unknown := tuple(_unexplained(view, texts)):
        yield Paragraph(texts.say("issues.unexplained"))
        yield Bullets(unknown)
    if view.silent_issues:
        yield Paragraph(texts.say("issues.silent"))
        rows = tuple(_row(issue, texts) for issue in view.silent_issues)
        yield Grid(_columns(("issue", "what", "severity", "remedy"), texts), rows)


def _observed(view: RunView, texts: Texts) -> Iterator[Block]:
    if not view.observed_issues:
        yield Paragraph(texts.say("issues.none_observed"))
        return
    seen = tuple((*_row(issue, texts), titles(seen_by, texts)) for issue, seen_by in view.observed_issues)
    yield Grid(_columns(("issue", "what", "severity", "remedy", "seen_by"), texts), seen)
    for issue, _ in view.observed_issues:
        if issue.does_not_help is not None:
            warning = texts.pick(issue.does_not_help)
            yield Paragraph(texts.say("issues.does_not_help", issue=issue.id, warning=warning))


def _trials(view: RunView, texts: Texts) -> Iterator[str]:
    for check in view.executed:
        for trial in check.result.remedy_trials if check.result else ():
            count = len(trial.case_names)
            yield texts.say(
                "issues.trial_of_cases" if count else "issues.trial",
                issue=trial.remedy_id,
                check=title(check.name, texts),
                count=count,
                change=_change(trial, texts),
                status=status_of(trial.status, texts),
                reason=texts.sentence(trial.reason),
            )


def _change(trial: RemedyTrial, texts: Texts) -> str:
    variables = [f"{name}={value}" for name, value in sorted(trial.environment_variables.items())]
    return " ".join(variables) or texts.say("issues.on_device", device=trial.device)


def _unexplained(view: RunView, texts: Texts) -> Iterator[str]:
    for check in view.executed:
        yield from _unexplained_of(check, texts)


def _unexplained_of(check: CheckView, texts: Texts) -> Iterator[str]:
    found = unexplained(check)
    for each in found[:MOST_CASES]:
        what = " ".join(filter(None, (title(each.check, texts), each.case)))
        status = texts.say(f"status.{each.word}")
        reason = closed(texts.sentence(each.reason) or texts.say("checks.no_reason"), texts)
        yield texts.say("issues.report_it", what=what, status=status, reason=reason, command=each.command)
    if len(found) > MOST_CASES:
        check_title = title(check.name, texts)
        yield texts.say("issues.more_cases", check=check_title, count=len(found) - MOST_CASES)


def _columns(keys: tuple[str, ...], texts: Texts) -> tuple[Column, ...]:
    return tuple(Column(texts.say(f"column.{key}")) for key in keys)


def _row(issue: KnownIssue, texts: Texts) -> tuple[str, str, str, str]:
    severity = texts.say(f"severity.{issue.severity}")
    return issue.id, texts.pick(issue.title), severity, texts.pick(issue.remedy)
