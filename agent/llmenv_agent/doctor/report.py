"""The findings as a table for people, as JSON, or as Markdown, in English or Chinese."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from llmenv.catalog.texts import Texts, texts

from llmenv_agent import listing
from llmenv_agent.doctor.finding import Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

FORMATS = ("table", "json", "md")


def render(findings: Sequence[Finding], *, form: str, language: str) -> str:
    said = texts(language)
    if form == "json":
        content = {
            "verdict": worst(findings).value,
            "counts": {each.value: _counts(findings)[each] for each in Verdict},
            "findings": [each.as_json(said) for each in findings],
        }
        return json.dumps(content, indent=2, ensure_ascii=False)
    columns = [said.say(f"doctor.{name}") for name in ("question", "verdict", "seen", "remedy")]
    rows = [
        [
            each.title,
            _word(each.verdict, said),
            said.sentence(each.seen),
            said.sentence(each.remedy) if each.remedy else "",
        ]
        for each in findings
    ]
    if form == "md":
        return f"{listing.as_markdown(columns, rows)}\n\n{_summary(findings, said)}"
    notes = [f"{columns[3]}: {row[3]}" if row[3] else "" for row in rows]
    table = listing.as_table(columns[:3], [row[:3] for row in rows], notes=notes)
    return f"{table}\n\n{_summary(findings, said)}"


def worst(findings: Sequence[Finding]) -> Verdict:
    """fail before could-not-tell, since what fails is known; then warn."""
    counts = _counts(findings)
    order = (Verdict.FAIL, Verdict.UNCLEAR, Verdict.WARN)
    return next((each for each in order if counts[each]), Verdict.PASS)


def _counts(findings: Sequence[Finding]) -> Counter[Verdict]:
    return Counter(each.verdict for each in findings)


def _word(verdict: Verdict, said: Texts) -> str:
    return said.say(f"doctor.{verdict.name.lower()}")


def _summary(findings: Sequence[Finding], said: Texts) -> str:
    counts = _counts(findings)
    return ", ".join(f"{counts[each]} {_word(each, said)}" for each in Verdict)
