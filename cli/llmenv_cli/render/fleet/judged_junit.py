"""A comparison, or an answer on an upgrade, as JUnit XML, for CI: a case a measurement and a case a verdict.

What is worse is a failure.  What is inconclusive is skipped, since it was neither found to be worse nor found
not to be.  An upgrade is a case of its own: not safe is a failure, and not enough evidence an error.
"""

from __future__ import annotations

import datetime as dt
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_cli.render.fleet import words
from llmenv_cli.render.fleet.difference import difference
from llmenv_cli.render.fleet.junit import document, safe, sum_up
from llmenv_cli.render.sections.wording import title

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmenv.catalog.texts import Texts

Answer = messages.CompareFleetResponse | messages.CheckUpgradeResponse
HOSTNAME = "fleet"
"""Readers of JUnit want one; what is compared is of many."""
SKIPPED = frozenset({"inconclusive", "unjudged"})
UPGRADES = {
    messages.UPGRADE_VERDICT_SAFE: ("safe", ""),
    messages.UPGRADE_VERDICT_NOT_SAFE: ("not_safe", "failure"),
    messages.UPGRADE_VERDICT_NOT_ENOUGH_EVIDENCE: ("not_enough", "error"),
}


def comparison_junit(
    answer: messages.CompareFleetResponse, *, sides: tuple[str, str], name: str, texts: Texts
) -> str:
    """`sides` are baseline and candidate as they were asked for: of machines the answer has ids."""
    against = None if answer.kind == "package" else f"{sides[1]} / {sides[0]}"
    return document(name, _suites(answer, texts, against=against))


def upgrade_junit(answer: messages.CheckUpgradeResponse, *, name: str, texts: Texts) -> str:
    return document(name, [_answer(answer, name, texts), *_suites(answer, texts)])


def _answer(answer: messages.CheckUpgradeResponse, name: str, texts: Texts) -> ET.Element:
    """What this llmenv does not understand is not enough evidence."""
    suite = _new_suite("answer", answer.method)
    word, kind = UPGRADES.get(answer.verdict, UPGRADES[messages.UPGRADE_VERDICT_NOT_ENOUGH_EVIDENCE])
    case = ET.SubElement(suite, "testcase", name=safe(name), classname="answer")
    reasons = "\n".join(texts.sentence(reason) for reason in answer.reasons)
    said = texts.say(f"upgrade.{word}")
    if kind:
        ET.SubElement(case, kind, type=word, message=safe(said)).text = safe(reasons)
    else:
        ET.SubElement(case, "system-out").text = safe("\n".join(filter(None, (said, reasons))))
    return sum_up(suite, answer.generated_at.ToDatetime(dt.UTC))


def _suites(answer: Answer, texts: Texts, *, against: str | None = None) -> list[ET.Element]:
    at = answer.generated_at.ToDatetime(dt.UTC)
    groups: tuple[tuple[str, Sequence[words.Effect]], ...] = (
        ("verdicts", answer.verdict_effects),
        ("measurements", answer.effects),
    )
    return [sum_up(_suite(name, rows, answer, texts, against), at) for name, rows in groups if rows]


def _suite(
    name: str, rows: Sequence[words.Effect], answer: Answer, texts: Texts, against: str | None
) -> ET.Element:
    suite = _new_suite(name, answer.method)
    for row in rows:
        versions = f"{words.package_name(row.package)} {row.candidate} / {row.baseline}"
        case = ET.SubElement(suite, "testcase", name=safe(_what(row, texts)))
        case.set("classname", safe(f"{name}.{(against or versions).replace('.', '_')}"))
        word = words.JUDGEMENTS.get(row.judgement, "unjudged")
        said = safe(_said(row, texts))
        if word == "worse":
            ET.SubElement(case, "failure", type=word, message=said)
        elif word in SKIPPED:
            ET.SubElement(case, "skipped", type=word, message=said)
        else:
            ET.SubElement(case, "system-out").text = said
    return suite


def _new_suite(name: str, method: messages.Method) -> ET.Element:
    suite = ET.Element("testsuite", name=name, hostname=HOSTNAME)
    properties = ET.SubElement(suite, "properties")
    for key in ("minimum_effect", "false_discovery_rate"):
        ET.SubElement(properties, "property", name=key, value=f"{getattr(method, key):g}")
    return suite


def _what(row: words.Effect, texts: Texts) -> str:
    if isinstance(row, messages.VerdictEffectRow):
        return texts.say("word.on_device", what=title(row.check_name, texts), device=row.device)
    return words.measured(row.series, texts)


def _said(row: words.Effect, texts: Texts) -> str:
    """The judgement, and the figures behind it."""
    judged = words.judgement(row.judgement, texts)
    if isinstance(row, messages.VerdictEffectRow):
        return texts.say(
            "compare.verdict_figures",
            judgement=judged,
            failing=row.candidate_failing,
            of=row.candidate_machines,
            failing_before=row.baseline_failing,
            of_before=row.baseline_machines,
        )
    return texts.say(
        "compare.figures",
        judgement=judged,
        difference=difference(row.ratio.value, row.series, texts),
        low=f"{row.ratio.low:.3f}",
        high=f"{row.ratio.high:.3f}",
        q=f"{row.q_value:.2g}",
    )
