"""llmenv import: what is sent, what is said, what is listed and how it exits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from llmenv.fleet.v1 import fleet_service_pb2 as messages
from llmenv.fleet.v1.fleet_report_pb2 import Series

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FINE, USAGE, PARTIAL = 0, 2, 4
REFUSED = [
    messages.RefusedRow(line=3, reason="value is no number: 'fast'."),
    messages.RefusedRow(line=12, reason="better is one of higher, lower, not 'bigger'."),
]


@pytest.fixture
def servicer(logged_in: Any) -> Any:
    """A collector that imports whatever comes."""
    logged_in.servicer.imported = messages.ImportMeasurementsResponse(
        import_id="019c6120-0000-7000-8000-000000000401", good_rows=5, machines=2
    )
    return logged_in.servicer


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_bytes(b"machine,chip\n" + b"a,Apple M1\n" * 100_000)
    return path


def test_the_file_goes_in_parts(llmenv: Callable[..., Any], servicer: Any, table: Path) -> None:
    """What it is comes first; nothing of it is lost or repeated."""
    asked = llmenv("import", str(table), "--source", "lab", "--replace", "--skip-bad", "--dry-run")
    first, *parts = servicer.requests[-1]
    assert first == messages.ImportMeasurementsRequest(
        source="lab", file_name="table.csv", is_replacement=True, skips_bad_rows=True, is_dry_run=True
    )
    assert len(parts) > 1
    assert b"".join(part.content for part in parts) == table.read_bytes()
    assert (asked.code, asked.out) == (FINE, "")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_became_of_it_is_said(
    llmenv: Callable[..., Any], golden: Any, servicer: Any, table: Path, language: str
) -> None:
    """Imported, replaced, tried, known, refused in part and refused: on stderr, refusals on stdout."""
    said = []
    for changed, flags in (
        ({}, ()),
        ({"withdrawn_rows": 4}, ("--replace",)),
        ({"withdrawn_rows": 4}, ("--replace", "--dry-run")),
        ({"is_known": True}, ()),
        ({"refused_rows": 2, "refusals": REFUSED}, ("--skip-bad",)),
        ({"refused_rows": 250, "refusals": REFUSED}, ()),
        ({"refused_rows": 2, "refusals": REFUSED, "good_rows": 0}, ("--skip-bad",)),
    ):
        servicer.imported = messages.ImportMeasurementsResponse(
            import_id="019c6120-0000-7000-8000-000000000401", machines=2, **{"good_rows": 5, **changed}
        )
        ended = llmenv("import", str(table), "--source", "lab", "--lang", language, *flags)
        said.append(f"exit {ended.code}\n{ended.err}{ended.out}")
    assert "\n".join(said) == golden(name=f"said-{language}")


@pytest.mark.parametrize(
    ("flags", "good", "code"), [((), 5, USAGE), (("--skip-bad",), 5, PARTIAL), (("--skip-bad",), 0, USAGE)]
)
def test_refused_rows_are_in_the_exit_code(
    llmenv: Callable[..., Any], servicer: Any, table: Path, *, flags: tuple[str, ...], good: int, code: int
) -> None:
    """Nothing imported is 2, a part of it 4."""
    servicer.imported = messages.ImportMeasurementsResponse(good_rows=good, refused_rows=2, refusals=REFUSED)
    ended = llmenv("import", str(table), "--source", "lab", "--format", "csv", *flags)
    assert (ended.code, ended.out.splitlines()[:2]) == (
        code,
        ["line,reason", "3,value is no number: 'fast'."],
    )


def test_a_file_that_is_not_there(llmenv: Callable[..., Any], servicer: Any, tmp_path: Path) -> None:
    """One sentence, before anything is asked."""
    asked_before = list(servicer.requests)
    ended = llmenv("import", str(tmp_path / "none.csv"), "--source", "lab")
    assert (ended.code, servicer.requests) == (USAGE, asked_before)
    assert ended.err.strip().endswith("none.csv cannot be read: No such file or directory.")


def test_the_report_says_from_where(llmenv: Callable[..., Any], logged_in: Any) -> None:
    """In a table of its own beside what a check of that name measured; one value has no interval."""
    report = logged_in.servicer.report
    for definition, high in (("d1", 70.0), ("import:lab", float("inf"))):
        row = report.chips.add(machines=1, results=1)
        row.variant.chip = "Apple M1"
        row.series.CopyFrom(
            Series(check_name="memory_speed", measurement="rate", unit="GB/s", direction=1, device="mps")
        )
        row.series.definition_hash = definition
        row.median.value, row.median.high = 68.25, high
    shown = llmenv("fleet", "report", "--by", "chip").out
    assert shown.count("memory speed: rate (mps)") == len(report.chips)
    assert "memory speed: rate (mps), imported from lab" in shown
    assert "inf" not in shown.replace("information", "")


def imported(number: int, **more: Any) -> messages.ImportedFile:
    one = messages.ImportedFile(
        import_id=f"019c6120-0000-7000-8000-00000000040{number}",
        source="llama.cpp",
        file_name=f"table-{number}.csv",
        good_rows=1_200 * number,
        refused_rows=number,
        imported_by="laptop",
        **more,
    )
    one.imported_at.FromJsonString("2026-02-15T16:20:00Z")
    return one


@pytest.fixture
def with_imports(servicer: Any) -> Any:
    """Two imports, of which one was withdrawn."""
    gone = imported(2, withdrawn_by="first admin")
    gone.withdrawn_at.FromJsonString("2026-02-16T07:00:00Z")
    servicer.imports = [imported(1), gone]
    return servicer


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("output_format", ["table", "json"])
def test_imports_are_listed(
    llmenv: Callable[..., Any], golden: Any, with_imports: Any, output_format: str, language: str
) -> None:
    """Which file, from where, by whom, and whether it counts."""
    listed = llmenv("import", "--list", "--format", output_format, "--lang", language)
    name = f"list-{output_format}" if output_format == "json" else f"list-{output_format}-{language}"
    assert listed.out == golden(name=name)
    assert (listed.code, listed.err) == (FINE, "")


def test_an_import_is_withdrawn(llmenv: Callable[..., Any], with_imports: Any) -> None:
    """By its id, and the import is printed as it is then; of more imports than asked for that is said."""
    done = llmenv("import", "--withdraw", "019c6120")
    assert with_imports.requests[-1].import_id == "019c6120"
    assert "withdrawn" in done.out
    assert "The newest 1 of 2 imports" in llmenv("import", "--list", "--limit", "1").err


@pytest.mark.parametrize(
    "arguments",
    [[], ["table.csv"], ["--source", "lab"], ["--list", "--withdraw", "019c6120"], ["table.csv", "--list"]],
    ids=["nothing", "no-source", "no-file", "both", "file-and-list"],
)
def test_one_thing_is_asked_at_a_time(
    llmenv: Callable[..., Any], with_imports: Any, arguments: list[str]
) -> None:
    """A sentence, and the collector is left alone."""
    before = len(with_imports.requests)
    refused = llmenv("import", *arguments)
    assert (refused.code, refused.out, len(with_imports.requests)) == (USAGE, "", before)
    assert refused.err.startswith("llmenv: ")
