"""llmenv fleet compare and upgrade-check, in each format and both languages, and how they exit."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import openpyxl
import pytest
from google.protobuf import json_format
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from lxml import etree

from .conftest import FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COMPARE = ["fleet", "compare", "studio-3", "studio-4"]
UPGRADE = ["fleet", "upgrade-check", "torch==2.11.0"]
WORSE, USAGE, PARTIAL = 1, 2, 4


@pytest.fixture
def answering(logged_in: Any, comparison_answer: Any, upgrade_answer: Any) -> Any:
    """A collector that has compared and judged."""
    logged_in.servicer.comparison, logged_in.servicer.upgrade = comparison_answer, upgrade_answer
    return logged_in.servicer


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("output_format", ["table", "md"])
@pytest.mark.parametrize("arguments", [COMPARE, UPGRADE], ids=lambda arguments: arguments[1])
def test_for_people(
    llmenv: Callable[..., Any],
    golden: Any,
    answering: Any,
    *,
    arguments: list[str],
    output_format: str,
    language: str,
) -> None:
    """What is real first, the evidence below."""
    printed = llmenv(*arguments, "--format", output_format, "--lang", language)
    assert printed.code == WORSE
    assert printed.out == golden(name=f"{arguments[1]}-{output_format}-{language}")


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [(COMPARE, messages.CompareFleetResponse), (UPGRADE, messages.CheckUpgradeResponse)],
    ids=["compare", "upgrade-check"],
)
def test_for_programs(
    llmenv: Callable[..., Any], golden: Any, answering: Any, arguments: list[str], kind: Any
) -> None:
    """JSON is the whole answer, csv the differences of measurements."""
    printed = llmenv(*arguments, "--format", "json")
    expected = {messages.CompareFleetResponse: answering.comparison}.get(kind, answering.upgrade)
    assert json_format.Parse(printed.out, kind()) == expected
    table = llmenv(*arguments, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(table.out)))
    assert [row["measurement"] for row in rows] == [row.series.measurement for row in expected.effects]
    assert table.out == golden(name=f"{arguments[1]}-csv")


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("arguments", [COMPARE, UPGRADE], ids=lambda arguments: arguments[1])
def test_junit(
    llmenv: Callable[..., Any], golden: Any, answering: Any, arguments: list[str], language: str
) -> None:
    """By the schema of CI servers; what is worse is a failure, and so is an upgrade that is not safe."""
    printed = llmenv(*arguments, "--format", "junit", "--lang", language)
    assert printed.code == WORSE
    document = etree.fromstring(printed.out.encode())
    etree.XMLSchema(file=str(FOLDER / "junit.xsd")).assertValid(document)
    rows = answering.comparison if arguments is COMPARE else answering.upgrade
    worse = sum(row.judgement == messages.JUDGEMENT_WORSE for row in (*rows.effects, *rows.verdict_effects))
    assert int(document.get("failures")) == worse + (arguments is UPGRADE)
    assert printed.out == golden(name=f"{arguments[1]}-junit-{language}")


def test_junit_calls_machines_as_they_were_asked_for(llmenv: Callable[..., Any], answering: Any) -> None:
    """The answer has their ids."""
    for row in answering.comparison.effects:
        row.baseline, row.candidate = "01a22e37-7de2", "01a22e37-7de4"
    printed = llmenv(*COMPARE, "--format", "junit").out
    assert "01a22e37" not in printed
    assert 'classname="measurements.studio-4 / studio-3"' in printed


@pytest.mark.parametrize("arguments", [COMPARE, UPGRADE], ids=lambda arguments: arguments[1])
def test_a_workbook_has_a_sheet_a_table(
    llmenv: Callable[..., Any], answering: Any, tmp_path: Path, arguments: list[str]
) -> None:
    """With a row for each difference, numbers as numbers."""
    file = tmp_path / "judged.xlsx"
    assert llmenv(*arguments, "--format", "xlsx", "--output", str(file)).out == ""
    book = openpyxl.load_workbook(file)
    expected = answering.comparison if arguments is COMPARE else answering.upgrade
    heading, *rows = book["effects"].iter_rows(values_only=True)
    assert [row[heading.index("ratio")] for row in rows] == [row.ratio.value for row in expected.effects]
    assert {"verdict_effects", "method"} <= set(book.sheetnames)
    assert ("answer" in book.sheetnames) == (arguments is UPGRADE)


@pytest.mark.parametrize("arguments", [COMPARE, UPGRADE], ids=lambda arguments: arguments[1])
def test_a_page_is_written_and_judged(
    llmenv: Callable[..., Any], answering: Any, tmp_path: Path, arguments: list[str]
) -> None:
    """As the collector made it, in the language that was asked for; the exit code is of the same answer."""
    answering.page_parts = [b"<!DOCTYPE html>", b"<p>one</p>"]
    file = tmp_path / "judged.html"
    asked_before = len(answering.requests)
    printed = llmenv(*arguments, "--format", "html", "--lang", "zh", "--output", str(file))
    assert (printed.code, printed.out) == (WORSE, "")
    assert file.read_bytes() == b"<!DOCTYPE html><p>one</p>"
    (asked,) = answering.requests[asked_before:]
    assert asked.language == "zh"


@pytest.mark.parametrize("output_format", ["table", "md", "json", "csv", "junit"])
@pytest.mark.parametrize("arguments", [COMPARE, UPGRADE], ids=lambda arguments: arguments[1])
def test_a_file_holds_what_stdout_would(
    llmenv: Callable[..., Any], answering: Any, tmp_path: Path, *, arguments: list[str], output_format: str
) -> None:
    """And stdout nothing."""
    printed = llmenv(*arguments, "--format", output_format)
    file = tmp_path / "out"
    written = llmenv(*arguments, "--format", output_format, "--output", str(file))
    assert (written.code, written.out) == (printed.code, "")
    assert file.read_text("utf-8").replace("\r\n", "\n") == printed.out.replace("\r\n", "\n")


def test_both_ask_within_what_was_said(llmenv: Callable[..., Any], answering: Any) -> None:
    """The condition, the period and the strictness travel with the question."""
    flags = ["--where", "chip = 'Apple M2 Max'", "--since", "all", "--check", "ops", "--min-effect", "5%"]
    llmenv(*COMPARE, *flags)
    compared = answering.requests[-1]
    llmenv(*UPGRADE, *flags)
    upgraded = answering.requests[-1]
    assert (compared.baseline, compared.candidate) == ("studio-3", "studio-4")
    assert upgraded.requirement == "torch==2.11.0"
    for within in (compared.within, upgraded.within):
        assert within.where == "chip = 'Apple M2 Max'"
        assert within.since.ToSeconds() == 0
        assert within.HasField("since")
        assert list(within.checks) == ["ops"]
        assert within.minimum_effect == pytest.approx(0.05)


def test_two_that_differ_for_the_better(llmenv: Callable[..., Any], answering: Any) -> None:
    """Nothing is worse: 0."""
    for row in (*answering.comparison.effects, *answering.comparison.verdict_effects):
        row.judgement = messages.JUDGEMENT_BETTER
    answering.comparison.method.ClearField("limits")
    compared = llmenv(*COMPARE)
    assert (compared.code, compared.err) == (0, "")


def test_two_that_have_nothing_in_common(llmenv: Callable[..., Any], answering: Any) -> None:
    """Nothing was compared, which is not the same as no difference."""
    answering.comparison.Clear()
    answering.comparison.kind = "chip"
    compared = llmenv(*COMPARE)
    assert compared.code == PARTIAL
    assert "Nothing of the two could be compared" in compared.out
    assert "nothing of the two could be compared" in compared.err


@pytest.mark.parametrize(
    ("verdict", "code", "said"),
    [
        ("UPGRADE_VERDICT_SAFE", 0, "✓ Safe"),
        ("UPGRADE_VERDICT_NOT_SAFE", WORSE, "✗ Not safe"),
        ("UPGRADE_VERDICT_NOT_ENOUGH_EVIDENCE", PARTIAL, "? Not enough evidence"),
        ("UPGRADE_VERDICT_UNSPECIFIED", PARTIAL, "? Not enough evidence"),
    ],
)
def test_the_answer_on_an_upgrade_is_the_exit_code(
    llmenv: Callable[..., Any], answering: Any, verdict: str, code: int, said: str
) -> None:
    """So that a script may move on it; what is not understood is no yes."""
    answering.upgrade.verdict = messages.UpgradeVerdict.Value(verdict)
    answered = llmenv(*UPGRADE)
    assert answered.code == code
    assert said in answered.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["fleet", "compare", "studio-3"],
        ["fleet", "compare", "studio-3", "studio-3"],
        ["fleet", "compare", "studio-3", " "],
        ["fleet", "upgrade-check", "torch"],
        ["fleet", "upgrade-check", "torch>=2.11"],
        ["fleet", "upgrade-check", ""],
        ["fleet", "upgrade-check", "torch==2.11.0", "--format", "pdf"],
    ],
)
def test_what_cannot_be_asked(llmenv: Callable[..., Any], answering: Any, arguments: list[str]) -> None:
    """One sentence, and the collector is left alone."""
    asked_before = len(answering.requests)
    refused = llmenv(*arguments)
    assert (refused.code, refused.out) == (USAGE, "")
    assert "Traceback" not in refused.err
    assert len(answering.requests) == asked_before


def test_sides_that_differ_in_facts_alone_were_not_compared(
    llmenv: Callable[..., Any], answering: Any
) -> None:
    """What is not compared is not found to be fine."""
    answering.comparison.ClearField("effects")
    answering.comparison.ClearField("verdict_effects")
    assert answering.comparison.differences
    done = llmenv(*COMPARE)
    assert (done.code, "nothing of the two could be compared" in done.err) == (PARTIAL, True)
