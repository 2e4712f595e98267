"""What was found of one precondition: a verdict, what was seen, and what to do about it.

Sentences are English templates with their values; the catalogue has them in Chinese.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmenv_agent.verdict import spoken

if TYPE_CHECKING:
    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1 import result_pb2


class Verdict(enum.StrEnum):
    """A precondition that was not tried is never said to hold."""

    PASS = "pass"  # noqa: S105 # not a password
    WARN = "warn"
    FAIL = "fail"
    UNCLEAR = "could-not-tell"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """`subject` tells apart what a question is asked of: an address, a target."""

    question: str
    subject: str
    verdict: Verdict
    seen: result_pb2.Sentence
    remedy: result_pb2.Sentence | None = None

    @property
    def title(self) -> str:
        return f"{self.question} {self.subject}".rstrip()

    def as_json(self, texts: Texts) -> dict[str, Any]:
        return {
            "question": self.question,
            "subject": self.subject,
            "verdict": self.verdict.value,
            "seen": texts.sentence(self.seen),
            "remedy": texts.sentence(self.remedy) if self.remedy else "",
        }


@dataclass(frozen=True)
class Question:
    """Makes the findings of one question. `seen` and `remedy` are templates of the same values."""

    name: str
    subject: str = ""
    values: dict[str, Any] = field(default_factory=dict)

    def passed(self, seen: str, **values: Any) -> Finding:
        return self._finding(Verdict.PASS, seen, "", values)

    def warned(self, seen: str, remedy: str, **values: Any) -> Finding:
        return self._finding(Verdict.WARN, seen, remedy, values)

    def failed(self, seen: str, remedy: str, **values: Any) -> Finding:
        return self._finding(Verdict.FAIL, seen, remedy, values)

    def unclear(self, seen: str, remedy: str = "", **values: Any) -> Finding:
        return self._finding(Verdict.UNCLEAR, seen, remedy, values)

    def _finding(self, verdict: Verdict, seen: str, remedy: str, values: dict[str, Any]) -> Finding:
        values = {**self.values, **values}
        return Finding(
            question=self.name,
            subject=self.subject,
            verdict=verdict,
            seen=spoken(seen, **values),
            remedy=spoken(remedy, **values) if remedy else None,
        )
