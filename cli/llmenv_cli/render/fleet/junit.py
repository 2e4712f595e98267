"""The report as JUnit XML, for CI: a suite a machine, environment and device, a case a check.

fail is a failure; error, timeout and crash are errors, and so is a core check that was skipped or never ran,
since such a machine is not ready.  What somebody took note of is skipped, with the note, until it expires.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from llmenv.catalog import known_issues
from llmenv.catalog.status import WORDS
from llmenv.harmless import REPLACEMENT, harmless

from llmenv_cli.fleet_verdict import Verdicts, blocking, excused, is_acknowledged, verdict_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_report_pb2 import FindingRow, GetFleetReportResponse, HealthRow

NAME = "llmenv fleet report"
KINDS = ("failure", "error", "skipped")
# Characters that XML 1.0 cannot carry and that are no control characters.
NO_XML = re.compile(r"[\ufffe\uffff\ud800-\udfff]")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explained:
    """What explains each verdict, looked up once for a whole fleet."""

    findings: Mapping[Verdicts, FindingRow]
    excused: frozenset[Verdicts]
    answer: GetFleetReportResponse

    @classmethod
    def of(cls, answer: GetFleetReportResponse) -> Explained:
        """One that nobody took note of before one that somebody did."""
        ranked = sorted(answer.findings, key=lambda finding: not is_acknowledged(finding, answer))
        findings = {
            (hostname, finding.check_name, WORDS.get(finding.status, "unknown")): finding
            for finding in ranked
            for hostname in finding.hostnames
        }
        return cls(findings=findings, excused=excused(answer), answer=answer)


def junit(answer: GetFleetReportResponse, texts: Texts) -> str:
    """The whole document in UTF-8, indented."""
    explained = Explained.of(answer)
    return document(NAME, [_suite(row, explained, texts) for row in answer.health])


def document(name: str, suites: Sequence[ET.Element]) -> str:
    """With the sums of its suites."""
    root = ET.Element("testsuites", name=safe(name))
    root.extend(suites)
    for attribute in ("failures", "errors", "tests"):
        root.set(attribute, str(sum(int(suite.get(attribute, "0")) for suite in root)))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def sum_up(suite: ET.Element, at: dt.datetime) -> ET.Element:
    """The suite with its time and the sums of its cases."""
    suite.set("timestamp", at.strftime("%Y-%m-%dT%H:%M:%S"))
    for kind, attribute in zip(KINDS, ("failures", "errors", "skipped"), strict=True):
        suite.set(attribute, str(len(suite.findall(f"testcase/{kind}"))))
    suite.set("tests", str(len(suite.findall("testcase"))))
    return suite


def _suite(row: HealthRow, explained: Explained, texts: Texts) -> ET.Element:
    name = f"{row.hostname}/{row.environment_name}/{row.device}"
    suite = ET.Element("testsuite", name=safe(name), hostname=safe(row.hostname))
    properties = ET.SubElement(suite, "properties")
    for key in ("machine_id", "chip", "run_id"):
        ET.SubElement(properties, "property", name=key, value=safe(getattr(row, key)))
    blocked = blocking(row, explained.excused)
    for check, word in verdict_words(row).items():
        case = ET.SubElement(suite, "testcase", name=safe(check), classname=safe(name.replace(".", "_")))
        finding = explained.findings.get((row.hostname, check, word))
        is_noted = finding is not None and is_acknowledged(finding, explained.answer)
        kind = "skipped" if is_noted else _kind(word, is_blocking=check in blocked)
        _tell(case, kind, word, finding, texts, is_noted=is_noted)
    return sum_up(suite, row.started_at.ToDatetime(dt.UTC))


def _kind(word: str, *, is_blocking: bool) -> str:
    """The element that says it; none for what works."""
    if word in {"pass", "warn"}:
        return ""
    if word in {"skip", "unknown"} and not is_blocking:
        return "skipped"
    return "failure" if word == "fail" else "error"


def _tell(
    case: ET.Element,
    kind: str,
    word: str,
    finding: FindingRow | None,
    texts: Texts,
    *,
    is_noted: bool,
) -> None:
    status = texts.say(f"status.{word}")
    reason = texts.sentence(finding.reason) if finding is not None else ""
    if not kind or word in {"pass", "warn"}:
        if reason:
            ET.SubElement(case, "system-out").text = safe(f"{status}: {reason}")
        return
    if word == "unknown" and not reason:
        reason = texts.say("checks.never_ran")
    if finding is not None and is_noted:
        reason = f"{reason} {_note(finding, texts)}".strip()
    told = ET.SubElement(case, kind, type=word, message=safe(reason or status))
    issue = known_issues.find(finding.remedy_id) if finding is not None else None
    if issue is not None:
        told.text = safe(f"{issue.id}: {texts.pick(issue.remedy)}")


def _note(finding: FindingRow, texts: Texts) -> str:
    note = finding.acknowledgement
    return texts.say(
        "fleet.acknowledged_cell",
        until=note.expires_at.ToDatetime().strftime("%Y-%m-%d %H:%M UTC"),
        by=note.acknowledged_by,
        reason=note.reason,
    )


def safe(text: str) -> str:
    return NO_XML.sub(REPLACEMENT, harmless(text))
