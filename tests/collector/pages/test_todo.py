"""What to do first: a remedy once, by the machines that it helps, and nothing that somebody took note of."""

from __future__ import annotations

import pytest
from llmenv.catalog import known_issues
from llmenv.catalog.texts import LANGUAGES
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv.fleet.v1 import result_pb2
from llmenv_collector.pages.sections import todo
from llmenv_collector.pages.wording import Wording

ISSUE, OTHER, *_ = sorted(
    one.id
    for one in known_issues.catalogue().values()
    if known_issues.SEVERITIES.index(one.severity) >= todo.SEVERE
)


def finding(check: str, hostnames: str, *, remedy_id: str = "", **more: object) -> messages.FindingRow:
    row = messages.FindingRow(
        check_name=check, status=result_pb2.STATUS_FAIL, remedy_id=remedy_id, hostnames=hostnames, **more
    )
    row.reason.text = row.reason.template = f"{check} is wrong."
    return row


def planted() -> messages.GetFleetReportResponse:
    """Hostnames are letters."""
    return messages.GetFleetReportResponse(
        coverage={"machines": 9, "reporting": 8, "silent": [{"hostname": "z"}], "pending": 2},
        findings=[
            finding("alone", "a"),
            finding("one", "ab", remedy_id=ISSUE),
            finding("two", "bcd", remedy_id=ISSUE),
            finding("noted", "abcdefgh", acknowledgement={"reason": "known"}),
            messages.FindingRow(check_name="warned", status=result_pb2.STATUS_WARN, hostnames="abcdefgh"),
        ],
        exposures=[
            {"issue_id": ISSUE, "reproduced": ["e"]},
            {"issue_id": OTHER, "reproduced": ["a", "b", "c"]},
        ],
        health=[{"hostname": name, "readiness": {"blocking": {"peft_lora": "unknown"}}} for name in "efgh"],
        packages=[{"package": "torch", "version": "2.11.0", "machines": 7}],
        known_good=[{"package": "torch", "instead_of": "2.11.0", "version": "2.9.1"}],
        effects=[
            {
                "package": "torch",
                "baseline": "2.10.0",
                "candidate": candidate,
                "judgement": messages.JUDGEMENT_WORSE,
                "confounded_with": confounded,
                "series": {"check_name": "bench_lora", "measurement": "steps_per_second", "device": "mps"},
            }
            for candidate, confounded in (("2.11.0", []), ("2.11.0", ["mlx"]), ("2.9.0", []))
        ],
    )


def test_what_helps_most_machines_comes_first() -> None:
    """Seven by another version, five by one remedy, four that never ran, three, two that wait, one each."""
    found = todo.items(planted(), Wording("en"))
    ranked = sorted(found, key=lambda item: -item.machines)
    assert [item.machines for item in ranked] == [7, 5, 4, 3, 2, 1, 1]
    assert "torch 2.11.0" in ranked[0].what
    assert ranked[0].what.endswith(". Fastest known to be good: 2.9.1")
    assert ISSUE in ranked[1].what
    assert ranked[1].hostnames == set("abcde")
    assert len(ranked[1].why) == 3
    assert all("noted" not in item.what and "warned" not in item.what for item in ranked)


def test_measurements_of_one_check_are_one_reason() -> None:
    """With their count; a verdict of it, and another check, are others."""
    report = planted()
    for name in ("tokens_per_second", "step_seconds"):
        report.effects.add().CopyFrom(report.effects[0])
        report.effects[-1].series.measurement = name
    report.effects.add().CopyFrom(report.effects[0])
    report.effects[-1].series.check_name = "peft_lora"
    avoid = max(todo.items(report, Wording("en")), key=lambda item: item.machines)
    several, alone = avoid.why
    assert several.endswith("(mps): 3 measurements")
    assert alone.endswith(": steps per second (mps)")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_section_has_a_row_for_each(language: str) -> None:
    """Names unfold, and a reason that is one of several does as well."""
    section = todo.section(planted(), Wording(language))
    (table,) = [block for block in section.blocks if isinstance(block, todo.Table)]
    assert [row[1].text for row in table.rows] == ["7", "5", "4", "3", "2", "1", "1"]
    assert table.rows[0][1].more == ""
    assert table.rows[1][2].more.count("\n") == 2


def test_that_there_is_nothing_to_do_is_said_of_machines_that_ran() -> None:
    """Where nothing ran, nothing is known."""
    wording = Wording("en")
    quiet = messages.GetFleetReportResponse(coverage={"machines": 1, "reporting": 1})
    nobody = messages.GetFleetReportResponse(coverage={"machines": 1})
    said = [todo.section(one, wording).blocks[-1] for one in (quiet, nobody)]
    assert said == [todo.Paragraph(wording.say(f"todo.{key}")) for key in ("nothing", "nothing_known")]
