"""The fleet report in every format and both languages, from an answer in which every field is filled."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openpyxl
import pytest
from google.protobuf import json_format
from llmenv.catalog.texts import LANGUAGES, texts
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv.fleet.v1 import result_pb2
from llmenv_cli.render.fleet.tables import tables
from lxml import etree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOLDER = Path(__file__).resolve().parent
WRONG, PARTIAL, NOT_INSTALLED = 1, 4, 6
AXES = ("machine", "chip", "package", "macos", "check")
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def fields_of(descriptor: Any, seen: set[str]) -> Iterator[tuple[str, str]]:
    """Message and field of everything that can be reached from a message."""
    if descriptor.full_name in seen or descriptor.full_name.startswith("google.protobuf"):
        return
    seen.add(descriptor.full_name)
    for field in descriptor.fields:
        yield descriptor.full_name, field.name
        if field.message_type is not None:
            yield from fields_of(field.message_type, seen)


def filled_in(message: Any) -> Iterator[tuple[str, str]]:
    """Of a message and all that it holds, the fields that are not empty."""
    for field, value in message.ListFields():
        yield message.DESCRIPTOR.full_name, field.name
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            yield from ((field.message_type.full_name, part) for part in ("key", "value"))
        elif field.is_repeated:
            for one in value:
                yield from filled_in(one)
        else:
            yield from filled_in(value)


def test_the_example_fills_every_field(full_report: Any) -> None:
    """A field that is new in the contract is missing here until the example has it."""
    everything = set(fields_of(messages.GetFleetReportResponse.DESCRIPTOR, set()))
    assert everything - set(filled_in(full_report)) == set()


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("output_format", ["table-80", "table-120", "md"])
def test_for_people(
    llmenv: Callable[..., Any],
    golden: Any,
    logged_in: Any,
    full_report: Any,
    monkeypatch: pytest.MonkeyPatch,
    *,
    output_format: str,
    language: str,
) -> None:
    """What to do first, then a section a question; no line is wider than the terminal."""
    logged_in.servicer.report = full_report
    name, _, columns = output_format.partition("-")
    monkeypatch.setenv("COLUMNS", columns or "80")
    reported = llmenv("fleet", "report", "--format", name, "--lang", language)
    assert reported.code == WRONG
    assert reported.out == golden(name=f"report-{output_format}-{language}")
    assert reported.err == golden(name=f"report-stderr-{language}")


@pytest.mark.parametrize("name", AXES)
def test_a_csv_holds_the_table_of_its_axis(
    llmenv: Callable[..., Any], golden: Any, logged_in: Any, full_report: Any, name: str
) -> None:
    """One table a file, which `--by` chooses; programs get the same in each language."""
    logged_in.servicer.report = full_report
    reported = llmenv("fleet", "report", "--by", name, "--format", "csv")
    assert reported.out == golden(name=f"report-csv-{name}")
    assert reported.out == llmenv("fleet", "report", "--by", name, "--format", "csv", "--lang", "zh").out
    assert logged_in.servicer.requests[-1].by == messages.Axis.Value(f"AXIS_{name.upper()}")


def test_a_csv_holds_a_row_a_verdict(llmenv: Callable[..., Any], logged_in: Any, full_report: Any) -> None:
    """Without --by, as ever; a core check that never ran is unknown."""
    logged_in.servicer.report = full_report
    rows = list(csv.DictReader(io.StringIO(llmenv("fleet", "report", "--format", "csv").out)))
    nightly = [(row["check"], row["status"]) for row in rows if row["environment"] == "nightly"]
    assert nightly == [
        ("mlx_native", "skip"),
        ("packages", "pass"),
        ("peft_lora", "unknown"),
        ("torch_basics", "pass"),
        ("torch_training", "timeout"),
        ("transformers_generate", "unknown"),
    ]


@pytest.mark.parametrize("name", AXES)
def test_no_cell_of_a_csv_is_a_formula(
    llmenv: Callable[..., Any], logged_in: Any, full_report: Any, name: str
) -> None:
    """Whoever opens it in a spreadsheet executes nothing that a machine or a colleague called itself."""
    logged_in.servicer.report = full_report
    rows = list(csv.reader(io.StringIO(llmenv("fleet", "report", "--by", name, "--format", "csv").out)))
    assert len(rows) > 1
    assert [cell for row in rows for cell in row if cell.startswith(FORMULA)] == []


def test_json_is_the_whole_answer(
    llmenv: Callable[..., Any], golden: Any, logged_in: Any, full_report: Any
) -> None:
    """It can be read back as the message it was."""
    logged_in.servicer.report = full_report
    printed = llmenv("fleet", "report", "--format", "json").out
    assert json_format.Parse(printed, messages.GetFleetReportResponse()) == full_report
    assert printed == golden(name="report-json")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_junit(
    llmenv: Callable[..., Any], golden: Any, logged_in: Any, full_report: Any, language: str
) -> None:
    """Valid by what its readers have in common, and red exactly where a machine is not well."""
    logged_in.servicer.report = full_report
    printed = llmenv("fleet", "report", "--format", "junit", "--lang", language).out
    document = etree.fromstring(printed.encode())
    etree.XMLSchema(file=str(FOLDER / "junit.xsd")).assertValid(document)
    assert printed == golden(name=f"report-junit-{language}")


def test_junit_judges_each_check(llmenv: Callable[..., Any], logged_in: Any, full_report: Any) -> None:
    """A note that holds skips a failure, one that ended does not; what never ran is an error if it counts."""
    logged_in.servicer.report = full_report
    document = etree.fromstring(llmenv("fleet", "report", "--format", "junit").out.encode())
    judged = {
        (suite.get("name").split("/")[1], suite.get("hostname")[:6], case.get("name")): case[0].tag
        for suite in document
        for case in suite.findall("testcase")
        if len(case)
    }
    assert judged == {
        ("train", "=1+1", "ops"): "system-out",
        ("train", "mac-st", "ops"): "skipped",
        ("train", "mini-\ufffd", "torch_basics"): "failure",
        ("train", "mini-\ufffd", "mlx_native"): "error",
        ("nightly", "studio", "mlx_native"): "error",
        ("nightly", "studio", "peft_lora"): "error",
        ("nightly", "studio", "torch_training"): "error",
        ("nightly", "studio", "transformers_generate"): "error",
        ("train", "studio", "packages"): "error",
        ("train", "studio", "torch_quantization"): "skipped",
        ("train", "训练工作站-", "peft_lora"): "failure",
    }
    assert (document.get("failures"), document.get("errors")) == ("2", "6")


def sheets(content: bytes) -> dict[str, list[tuple[Any, ...]]]:
    """What a spreadsheet program reads, by sheet."""
    book = openpyxl.load_workbook(io.BytesIO(content))
    return {sheet.title: list(sheet.iter_rows()) for sheet in book}


def test_a_workbook_is_read_back(
    llmenv: Callable[..., Any], golden: Any, logged_in: Any, full_report: Any, tmp_path: Path
) -> None:
    """A sheet a table, numbers as numbers, no cell a formula; the golden file is what was read."""
    logged_in.servicer.report = full_report
    file = tmp_path / "fleet.xlsx"
    written = llmenv("fleet", "report", "--format", "xlsx", "--output", str(file))
    assert (written.code, written.out) == (WRONG, "")
    read = sheets(file.read_bytes())
    assert set(read) == set(tables(full_report))
    cells = [cell for rows in read.values() for row in rows for cell in row]
    assert {cell.data_type for cell in cells} == {"s", "n", "b", "d"}
    (chip, *_), heading = read["chips"][1], [cell.value for cell in read["chips"][0]]
    assert chip.value == "Apple M2 Ultra"
    assert read["chips"][1][heading.index("median")].value == pytest.approx(76.9)
    assert read["chips"][1][heading.index("memory_bytes")].value == 64 * 2**30
    text = "".join(
        f"== {name}\n" + "".join("\t".join(str(cell.value) for cell in row) + "\n" for row in rows)
        for name, rows in read.items()
    )
    assert text == golden(name="report-xlsx")


def test_a_workbook_on_a_pipe(llmenv: Callable[..., Any], logged_in: Any, full_report: Any) -> None:
    """stdout takes bytes as well."""
    logged_in.servicer.report = full_report
    ended = subprocess.run(
        [sys.executable, "-m", "llmenv_cli.main", "fleet", "report", "--format", "xlsx"],
        capture_output=True,
        check=False,
    )
    assert ended.returncode == WRONG
    assert sheets(ended.stdout)["coverage"][1][0].value == 14


def test_a_workbook_without_xlsxwriter_names_the_extra(logged_in: Any) -> None:
    """Said before anything is asked."""
    asked_before = len(logged_in.servicer.requests)
    code = "import sys; sys.argv = ['llmenv', 'fleet', 'report', '--format', 'xlsx']"
    code += "; import importlib.util as u; find = u.find_spec"
    code += "; u.find_spec = lambda name, *a: None if name == 'xlsxwriter' else find(name, *a)"
    code += "; from llmenv_cli.main import main; main()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (NOT_INSTALLED, "")
    assert "pip install 'llmenv[xlsx]'" in ended.stderr
    assert len(logged_in.servicer.requests) == asked_before


def test_html_is_what_the_collector_renders(
    llmenv: Callable[..., Any], logged_in: Any, full_report: Any, tmp_path: Path
) -> None:
    """Its bytes as they come, to stdout or to a file; the report says how to exit."""
    logged_in.servicer.report = full_report
    logged_in.servicer.page_parts = [b"<!doctype html>", "<p>机群</p>".encode()]
    page = "<!doctype html><p>机群</p>"
    printed = llmenv("fleet", "report", "--format", "html", "--lang", "zh", "--by", "chip")
    assert (printed.code, printed.out) == (WRONG, page)
    asked = [one for one in logged_in.servicer.requests if hasattr(one, "language")]
    assert [(one.language, one.report.by) for one in asked] == [("zh", messages.AXIS_CHIP)]
    file = tmp_path / "fleet.html"
    assert llmenv("fleet", "report", "--format", "html", "--output", str(file)).out == ""
    assert file.read_text("utf-8") == page


@pytest.mark.parametrize("output_format", ["table", "md", "json", "csv", "junit"])
def test_a_report_in_a_file_is_that_on_stdout(
    llmenv: Callable[..., Any], logged_in: Any, full_report: Any, tmp_path: Path, output_format: str
) -> None:
    """And stdout is empty then."""
    logged_in.servicer.report = full_report
    file = tmp_path / "report"
    printed = llmenv("fleet", "report", "--format", output_format)
    written = llmenv("fleet", "report", "--format", output_format, "--output", str(file))
    assert (written.out, file.read_text("utf-8")) == ("", printed.out)
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith("report")] == ["report"]


def test_a_file_that_cannot_be_written_stays_as_it_was(
    llmenv: Callable[..., Any], logged_in: Any, quiet_report: Any, tmp_path: Path
) -> None:
    """Something stands where it would be put together: one sentence."""
    logged_in.servicer.report = quiet_report
    file = tmp_path / "report"
    file.write_text("last week's")
    (tmp_path / "report.part").mkdir()
    written = llmenv("fleet", "report", "--format", "md", "--output", str(file))
    assert (written.code, written.out) == (2, "")
    assert written.err == f"llmenv: {file} cannot be written: Is a directory.\n"
    assert file.read_text() == "last week's"


def test_a_page_that_breaks_off_is_no_file(
    llmenv: Callable[..., Any], logged_in: Any, tmp_path: Path
) -> None:
    """Half a page is not kept."""
    logged_in.servicer.page_parts = [b"<!doctype html>", 7]
    file = tmp_path / "fleet.html"
    broken = llmenv("fleet", "report", "--format", "html", "--output", str(file))
    assert broken.code == 3
    assert "failed" in broken.err
    assert [one.name for one in tmp_path.iterdir() if "html" in one.name] == []


def test_a_quiet_fleet_has_nothing_to_do(
    llmenv: Callable[..., Any], golden: Any, logged_in: Any, quiet_report: Any
) -> None:
    """It says so, says what it could not look at, and exits with 0."""
    logged_in.servicer.report = quiet_report
    reported = llmenv("fleet", "report")
    assert (reported.code, reported.err) == (0, "")
    assert reported.out == golden(name="report-quiet")


def test_an_empty_fleet_is_not_called_healthy(llmenv: Callable[..., Any], logged_in: Any) -> None:
    """Nothing is known, and that is what is said."""
    reported = llmenv("fleet", "report")
    assert reported.code == PARTIAL
    assert "0 of 0 machines report" in reported.out
    assert "nothing is known" in reported.out
    assert "none satisfies the condition" in " ".join(reported.out.split())
    assert "about no machine" in reported.err
    assert "no check that ran" not in reported.out


def test_a_large_fleet_has_a_line_for_all_that_are_alike(
    llmenv: Callable[..., Any], logged_in: Any, quiet_report: Any
) -> None:
    """Two that are not well among two hundred come first, the others are counted."""
    for number in range(200):
        row = quiet_report.health.add()
        row.CopyFrom(quiet_report.health[0])
        row.hostname = f"mac-{number:03}"
    for number in (7, 150):
        quiet_report.health[number].statuses["ops"] = result_pb2.STATUS_WARN
        quiet_report.health[number].readiness.is_ready = False
    logged_in.servicer.report = quiet_report
    lines = [line for line in llmenv("fleet", "report").out.splitlines() if " train " in line]
    assert [line.split("  ")[0] for line in lines] == [
        "mac-005, mac-148",
        "studio-3, studio-4, mac-000 and 197 more",
    ]


def test_many_chips_are_the_best_and_the_last(
    llmenv: Callable[..., Any], logged_in: Any, full_report: Any
) -> None:
    """Of each measurement; the tables are a question of their own."""
    for number in range(50):
        row = full_report.chips.add()
        row.CopyFrom(full_report.chips[0])
        row.variant.chip = f"Apple M{number + 10}"
        row.median.value = 100 + number
    logged_in.servicer.report = full_report
    whole = llmenv("fleet", "report").out
    assert "M59: 149 steps/s" in whole
    assert "M4 Pro: 49 steps/s" in whole
    assert "M30" not in whole
    assert "`--by chip`" in whole
    assert "M30" in llmenv("fleet", "report", "--by", "chip").out


def test_one_machine_has_no_interval_and_is_held_against_none(
    llmenv: Callable[..., Any], logged_in: Any, full_report: Any
) -> None:
    """Programs read empty cells, not 0 and infinity; people "one machine", and no column of references."""
    del full_report.chips[1:]
    (row,) = full_report.chips
    row.ClearField("ratio")
    row.machines, row.median.low, row.median.high = 1, 0.0, float("inf")
    full_report.method.reference.CopyFrom(row.variant)
    logged_in.servicer.report = full_report
    (read,) = csv.DictReader(io.StringIO(llmenv("fleet", "report", "--by", "chip", "--format", "csv").out))
    assert (read["median_low"], read["median_high"]) == ("", "")
    assert float(read["median"]) == row.median.value
    said = llmenv("fleet", "report", "--by", "chip").out
    assert "one machine" in said
    assert "reference" not in said.partition("Ratios are to")[2]
    assert "仅一台机器" in llmenv("fleet", "report", "--by", "chip", "--lang", "zh").out


def test_what_a_plain_effect_says_is_not_said_of_a_confounded_one(
    llmenv: Callable[..., Any], logged_in: Any, quiet_report: Any, full_report: Any
) -> None:
    """torchvision moved with torch; what to do is about torch, and about nothing that nobody has any more."""
    plain, confounded, superseded = (quiet_report.effects.add() for _ in range(3))
    for row in (plain, confounded, superseded):
        row.CopyFrom(full_report.effects[0])
    confounded.package = "torchvision"
    confounded.confounded_with.append("torch")
    superseded.package = "mlx"
    quiet_report.packages.add(package="torch", version="2.11.0", machines=2)
    quiet_report.known_good.add(package="torch", instead_of="2.11.0", version="2.10.0")
    quiet_report.packages.add(package="mlx", version="2.11.0", machines=0)
    logged_in.servicer.report = quiet_report
    todo = llmenv("fleet", "report").out.partition("Coverage")[0]
    assert "Avoid torch 2.11.0, which 2 machines have now" in todo
    assert "Fastest known to be good: 2.10.0." in " ".join(todo.split())
    assert "torchvision" not in todo
    assert "mlx" not in todo


@pytest.mark.parametrize("language", LANGUAGES)
def test_measurements_of_one_check_are_one_regression(
    llmenv: Callable[..., Any], logged_in: Any, quiet_report: Any, full_report: Any, language: str
) -> None:
    """By one version or one cause: the first is named and the others counted; another check is another."""
    names = ("steps_per_second", "tokens_per_second", "step_seconds")
    for name, check in (*((one, "bench_lora") for one in names), ("steps_per_second", "peft_lora")):
        effect, change = quiet_report.effects.add(), quiet_report.changes.add()
        effect.CopyFrom(full_report.effects[0])
        change.CopyFrom(next(row for row in full_report.changes if not row.is_suspected))
        for row in (effect, change):
            row.series.check_name, row.series.measurement = check, name
    logged_in.servicer.report = quiet_report
    said = llmenv("fleet", "report", "--lang", language, "--format", "md").out.split("## ")[1]
    more = texts(language).say("todo.figures", figure="", count=2)
    assert said.count(more) == 2


def test_escape_sequences_do_not_reach_the_reader(
    llmenv: Callable[..., Any], logged_in: Any, full_report: Any
) -> None:
    """A hostname must not colour or retitle anybody's terminal, in whatever format."""
    logged_in.servicer.report = full_report
    for output_format in ("table", "md", "csv", "junit"):
        reported = llmenv("fleet", "report", "--format", output_format)
        assert "\x1b" not in reported.out + reported.err
        assert "\x07" not in reported.out + reported.err


def test_lines_fit_the_terminal(
    llmenv: Callable[..., Any], logged_in: Any, full_report: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wide characters count twice, and nothing is cut at the edge."""
    from rich.cells import cell_len

    logged_in.servicer.report = full_report
    for columns in (80, 100, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        for language in ("en", "zh"):
            lines = llmenv("fleet", "report", "--lang", language).out.splitlines()
            assert max(map(cell_len, lines)) <= columns
            assert "lab.example.org" in "".join(line.strip() for line in lines)


def test_numbers_in_json_are_those_of_the_table(
    llmenv: Callable[..., Any], logged_in: Any, full_report: Any
) -> None:
    """The confidence of the text is that of the message."""
    logged_in.servicer.report = full_report
    whole = json.loads(llmenv("fleet", "report", "--format", "json").out)
    assert whole["method"]["confidence"] == pytest.approx(0.95)
    assert "with 95 % confidence" in llmenv("fleet", "report").out
