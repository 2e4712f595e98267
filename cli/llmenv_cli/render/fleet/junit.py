"""The report as JUnit XML, for CI: a suite a machine, environment and device, a case a check.

fail is a failure; error, timeout and crash are errors, and so is a core check that was skipped or never ran,
since such a machine is not ready.  What somebody took note of is skipped, with the note, until it expires.
"""

from __future__ import annotations

import datetime as dt
import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from llmenv.catalog import known_issues
from llmenv.catalog.status import WORDS
from llmenv.harmless import REPLACEMENT, harmless

from llmenv_cli.fleet_verdict import blocking, is_acknowledged, verdict_words

if TYPE_CHECKING:
    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_report_pb2 import FindingRow, GetFleetReportResponse, HealthRow

NAME = "llmenv fleet report"
KINDS = ("failure", "error", "skipped")
# Characters that XML 1.0 cannot carry and that are no control characters.
NO_XML = re.compile(r"[\ufffe\uffff\ud800-\udfff]")


def junit(answer: GetFleetReportResponse, texts: Texts) -> str:
    """The whole document in UTF-8, indented."""
    root = ET.Element("testsuites", name=NAME)
    for row in answer.health:
        root.append(_suite(row, answer, texts))
    for kind, attribute in (("failure", "failures"), ("error", "errors")):
        root.set(attribute, str(len(root.findall(f".//{kind}"))))
    root.set("tests", str(len(root.findall(".//testcase"))))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _suite(row: HealthRow, answer: GetFleetReportResponse, texts: Texts) -> ET.Element:
    name = f"{row.hostname}/{row.environment_name}/{row.device}"
    suite = ET.Element("testsuite", name=_safe(name), hostname=_safe(row.hostname))
    suite.set("timestamp", row.started_at.ToDatetime(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S"))
    properties = ET.SubElement(suite, "properties")
    for key in ("machine_id", "chip", "run_id"):
        ET.SubElement(properties, "property", name=key, value=_safe(getattr(row, key)))
    blocked = blocking(row, answer)
    for check, word in verdict_words(row).items():
        case = ET.SubElement(suite, "testcase", name=_safe(check), classname=_safe(name.replace(".", "_")))
        _judge(case, row, word, answer, texts, is_blocking=check in blocked)
    for kind, attribute in zip(KINDS, ("failures", "errors", "skipped"), strict=True):
        suite.set(attribute, str(len(suite.findall(f"testcase/{kind}"))))
    suite.set("tests", str(len(suite.findall("testcase"))))
    return suite


def _judge(
    case: ET.Element,
    row: HealthRow,
    word: str,
    answer: GetFleetReportResponse,
    texts: Texts,
    *,
    is_blocking: bool,
) -> None:
    finding = _finding(row, case.get("name", ""), word, answer)
    reason = texts.sentence(finding.reason) if finding is not None else ""
    if word == "unknown" and not reason:
        reason = texts.say("checks.never_ran")
    if word in {"pass", "warn"}:
        if reason:
            ET.SubElement(case, "system-out").text = _safe(f"{texts.say(f'status.{word}')}: {reason}")
        return
    kind = "failure" if word == "fail" else "error"
    if finding is not None and is_acknowledged(finding, answer):
        kind, reason = "skipped", f"{reason} {_note(finding, texts)}".strip()
    elif word in {"skip", "unknown"} and not is_blocking:
        kind = "skipped"
    told = ET.SubElement(case, kind, type=word, message=_safe(reason or texts.say(f"status.{word}")))
    issue = known_issues.find(finding.remedy_id) if finding is not None else None
    if issue is not None:
        told.text = _safe(f"{issue.id}: {texts.pick(issue.remedy)}")


def _finding(row: HealthRow, check: str, word: str, answer: GetFleetReportResponse) -> FindingRow | None:
    """What explains a verdict; one that nobody took note of before one that somebody did."""
    found = [
        finding
        for finding in answer.findings
        if finding.check_name == check
        and WORDS.get(finding.status, "unknown") == word
        and row.hostname in finding.hostnames
    ]
    return min(found, key=lambda finding: is_acknowledged(finding, answer), default=None)


def _note(finding: FindingRow, texts: Texts) -> str:
    note = finding.acknowledgement
    return texts.say(
        "fleet.acknowledged_cell",
        until=note.expires_at.ToDatetime().strftime("%Y-%m-%d %H:%M UTC"),
        by=note.acknowledged_by,
        reason=note.reason,
    )


def _safe(text: str) -> str:
    return NO_XML.sub(REPLACEMENT, harmless(text))
