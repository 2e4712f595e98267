"""The catalogue of known issues: what an error text means, and what helps.

The rows lie in known_issues.toml and are read at the first question, so that importing
this module costs nothing.  `match` serves the runner and the reports: it takes the text
that a process left behind and names the most specific issue that explains it.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import tomllib
from importlib import resources
from typing import TYPE_CHECKING, Any

from llmenv.catalog.version_ranges import contains, is_release

if TYPE_CHECKING:
    from collections.abc import Mapping

SEVERITIES = ("info", "low", "medium", "high", "critical")
KINDS = ("exception", "abort", "hang", "leak", "reboot", "silent_wrong", "slow", "unavailable", "warning")
CONFIDENCES = ("executed", "reported", "excerpt")


@dataclasses.dataclass(frozen=True)
class Translated:
    """The same words in both languages of reports."""

    en: str
    zh: str

    def __getitem__(self, language: str) -> str:
        return {"en": self.en, "zh": self.zh}[language]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Application:
    """What of a remedy a process can be started with: variables, another device ("" for the same)."""

    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    device: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class KnownIssue:
    """One row of the catalogue.

    `versions` maps package names to ranges, `macos` is a range of macOS versions and `chips`
    a regular expression; each empty one does not restrict.  `pattern` is a regular
    expression on error text, empty where nothing is printed (a wrong number, a leak).
    `refines` names the more general issues that this one replaces when both match.
    `does_not_help` says what is widely advised and was seen to fail.  `apply` is how its remedy
    can be tried in a process; None where it is a new version, other code, or dangerous.
    """

    id: str
    title: Translated
    severity: str
    component: str
    kind: str
    url: str
    affected: str
    remedy: Translated
    fixed_in: str
    confidence: str
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    macos: str = ""
    chips: str = ""
    pattern: str = ""
    refines: tuple[str, ...] = ()
    does_not_help: Translated | None = None
    apply: Application | None = None

    def conditions_confirmed(
        self, *, package_versions: Mapping[str, str], chip: str, os_version: str
    ) -> int | None:
        """How many of its conditions hold here; None when one is known not to hold.

        A condition on something unknown (a package not listed, a version without numbers,
        an empty chip) neither confirms nor excludes.
        """
        answers = [
            contains(version_range, version)
            for version_range, version in (
                *(
                    (version_range, package_versions.get(name, ""))
                    for name, version_range in self.versions.items()
                ),
                (self.macos, os_version),
            )
            if version_range and is_release(version)
        ]
        if self.chips and chip:
            answers.append(re.search(self.chips, chip) is not None)
        return sum(answers) if all(answers) else None

    @property
    def conditions(self) -> int:
        """How many conditions it has."""
        return len(self.versions) + bool(self.macos) + bool(self.chips)


def find(issue_id: str) -> KnownIssue | None:
    """The issue with this id, such as "KI072"; None when the catalogue has none."""
    return catalogue().get(issue_id)


def match(
    error_text: str,
    *,
    package_versions: Mapping[str, str] | None = None,
    chip: str = "",
    os_version: str = "",
) -> KnownIssue | None:
    """The most specific issue whose pattern occurs in the text and whose conditions may hold.

    `os_version` is that of macOS; leave it empty elsewhere.
    """
    known = package_versions or {}
    ranked: list[tuple[int, int, KnownIssue]] = []
    for issue, length in _mentioned(error_text):
        confirmed = issue.conditions_confirmed(package_versions=known, chip=chip, os_version=os_version)
        if confirmed is not None:
            ranked.append((confirmed, length, issue))
    general = {refined for _, _, issue in ranked for refined in issue.refines}
    candidates = [row for row in ranked if row[2].id not in general]
    return max(candidates, key=lambda row: row[:2])[2] if candidates else None


def applying(*, package_versions: Mapping[str, str], chip: str, os_version: str) -> tuple[KnownIssue, ...]:
    """Issues whose conditions, at least one, are all known to hold here, most severe first."""
    issues = [
        issue
        for issue in catalogue().values()
        if issue.conditions
        and issue.conditions
        == issue.conditions_confirmed(package_versions=package_versions, chip=chip, os_version=os_version)
    ]
    return tuple(sorted(issues, key=lambda issue: -SEVERITIES.index(issue.severity)))


@functools.cache
def catalogue() -> Mapping[str, KnownIssue]:
    """Every issue by its id, in the order of the file."""
    text = resources.files(__package__).joinpath("known_issues.toml").read_text("utf-8")
    return {issue_id: _issue(issue_id, row) for issue_id, row in tomllib.loads(text).items()}


def _issue(issue_id: str, row: dict[str, Any]) -> KnownIssue:
    columns = dict(row)
    for key in row.keys() & {"title", "remedy", "does_not_help"}:
        columns[key] = Translated(**row[key])
    columns["refines"] = tuple(row.get("refines", ()))
    if "apply" in row:
        columns["apply"] = Application(**row["apply"])
    return KnownIssue(id=issue_id, **columns)


def _mentioned(error_text: str) -> list[tuple[KnownIssue, int]]:
    """Issues whose pattern occurs in the text, with the length of what matched."""
    found = (
        (issue, re.search(issue.pattern, error_text, re.DOTALL))
        for issue in catalogue().values()
        if issue.pattern
    )
    return [(issue, len(occurrence[0])) for issue, occurrence in found if occurrence is not None]
