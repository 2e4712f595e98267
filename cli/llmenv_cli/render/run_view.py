"""A run as a report looks at it: every planned check with its verdict, and whether all is ready."""

from __future__ import annotations

import collections
import dataclasses
import functools
from typing import TYPE_CHECKING

from llmenv.catalog import known_issues
from llmenv.catalog.status import WORDS, blocking_checks, core_checks, troubled_checks

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from llmenv.catalog.known_issues import KnownIssue
    from llmenv.fleet.v1.result_pb2 import Result
    from llmenv.fleet.v1.run_pb2 import Run

WORKING = frozenset({"pass", "warn"})
# Without a result of its own: what it used is not known.
ENDED_BADLY = frozenset({"error", "timeout", "crash"})
# In the order in which they stand in summaries.
STATUS_WORDS = ("pass", "warn", "fail", "error", "timeout", "crash", "skip", "unknown")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckView:
    """A check that was planned, has a result, or decides readiness. Without a result it is unknown."""

    name: str
    is_core: bool
    result: Result | None

    @property
    def word(self) -> str:
        return WORDS.get(self.result.status, "unknown") if self.result else "unknown"

    @property
    def works(self) -> bool:
        return self.word in WORKING

    @property
    def issue(self) -> KnownIssue | None:
        """The known issue that its result names."""
        return known_issues.find(self.result.remedy_id) if self.result else None

    @property
    def remedy_ids(self) -> tuple[str, ...]:
        """Those that its result and its cases name, in order."""
        cases = self.result.cases if self.result else ()
        own = self.result.remedy_id if self.result else ""
        return tuple(dict.fromkeys(filter(None, (own, *(case.remedy_id for case in cases)))))


class RunView:
    """Everything that the sections of a report ask of a run."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @functools.cached_property
    def checks(self) -> tuple[CheckView, ...]:
        """As planned, then what ran besides; where some core check is among them, then the other ones."""
        results = {result.check_name: result for result in self.run.results}
        names = dict.fromkeys((*self._asked, *(self._core if self._core & self._asked else ())))
        return tuple(
            CheckView(name=name, is_core=name in self._core, result=results.get(name)) for name in names
        )

    @functools.cached_property
    def _asked(self) -> AbstractSet[str]:
        """Names of what was planned or ran, in that order."""
        ran = (result.check_name for result in self.run.results)
        return dict.fromkeys((*self.run.planned_checks, *ran)).keys()

    @functools.cached_property
    def _core(self) -> AbstractSet[str]:
        return dict.fromkeys(core_checks(is_apple_silicon=self.run.machine.is_apple_silicon)).keys()

    @functools.cached_property
    def executed(self) -> tuple[CheckView, ...]:
        """Checks with a result."""
        return tuple(check for check in self.checks if check.result is not None)

    def check(self, name: str) -> CheckView:
        """The check of this name; unknown when it is not part of the run."""
        found = (check for check in self.checks if check.name == name)
        return next(found, CheckView(name=name, is_core=False, result=None))

    @functools.cached_property
    def counts(self) -> Mapping[str, int]:
        """Checks by status word."""
        return collections.Counter(check.word for check in self.checks)

    @functools.cached_property
    def blocking(self) -> Mapping[str, str]:
        """Core checks that keep the environment from being ready, with their word."""
        words = {check.name: check.word for check in self.checks}
        return blocking_checks(words, is_apple_silicon=self.run.machine.is_apple_silicon)

    @property
    def is_ready(self) -> bool:
        return not self.blocking

    @property
    def asked_for_readiness(self) -> bool:
        """Whether it says ready or not ready: nothing but unasked checks is no answer."""
        return self.is_ready or bool(self.blocking.keys() & self._asked)

    @functools.cached_property
    def troubled(self) -> Mapping[str, str]:
        """Checks that did not end well, core or not, with their word."""
        words = {check.name: check.word for check in self.checks}
        return troubled_checks(words, self._asked, is_apple_silicon=self.run.machine.is_apple_silicon)

    @functools.cached_property
    def observed_issues(self) -> tuple[tuple[KnownIssue, tuple[str, ...]], ...]:
        """Known issues that results and their cases name, each with the checks that saw it."""
        catalogue = known_issues.catalogue()
        seen: dict[str, list[str]] = {}
        for check in self.executed:
            for issue_id in check.remedy_ids:
                if issue_id in catalogue:
                    seen.setdefault(issue_id, []).append(check.name)
        return tuple((catalogue[issue_id], tuple(names)) for issue_id, names in seen.items())

    @functools.cached_property
    def silent_issues(self) -> tuple[KnownIssue, ...]:
        """Issues that compute wrong numbers without a message with this chip and these versions."""
        machine = self.run.machine
        applying = known_issues.applying(
            package_versions={package.name: package.version for package in self.run.environment.packages},
            chip=machine.chip,
            os_version=machine.os_version if machine.os_name == "macOS" else "",
        )
        observed = {issue.id for issue, _ in self.observed_issues}
        return tuple(issue for issue in applying if issue.kind == "silent_wrong" and issue.id not in observed)
