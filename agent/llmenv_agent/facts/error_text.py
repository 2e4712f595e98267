"""Error texts, classified by the catalogue of known issues."""

from __future__ import annotations

from llmenv_agent.facts.observed import Observed


def parse_error_text(text: str) -> Observed:
    """The known issue that explains the text, with its remedy; `known_issue` is None when none does."""
    from llmenv.catalog import known_issues

    issue = known_issues.match(text)
    if issue is None:
        return Observed(readings={"known_issue": None})
    return Observed(
        readings={
            "known_issue": issue.id,
            "title": issue.title.en,
            "severity": issue.severity,
            "remedy": issue.remedy.en,
            "url": issue.url,
        }
    )
