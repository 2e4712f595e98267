"""What the page of the fleet report holds, without a browser."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import duckdb
import pytest
from llmenv.catalog.texts import LANGUAGES, tables
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv.fleet.v1 import result_pb2
from llmenv_collector.fleet_report.question import SECTIONS
from llmenv_collector.pages import fleet_page, html
from llmenv_collector.pages.traces import read_trace

from .planted_report import planted_report, planted_traces

VOID = {"meta", "link", "input", "br"}


class Outline(HTMLParser):
    """What is open, what was said, and every attribute."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def page_of(report: messages.GetFleetReportResponse, language: str = "en", **asked: object) -> str:
    return fleet_page.render(report, language=language, **asked)


@pytest.fixture(scope="module", params=LANGUAGES)
def page(request: pytest.FixtureRequest) -> str:
    report = planted_report()
    return fleet_page.render(report, language=request.param, traces=planted_traces(report))


def test_every_element_is_closed_and_every_id_is_one(page: str) -> None:
    """A browser repairs what is broken; a screen reader then reads something else."""
    outline = Outline(page)
    assert outline.open == []
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_every_section_is_there_and_is_linked(page: str) -> None:
    """In the order in which they are read."""
    links = re.findall(r'<li><a href="#([a-z]+)">', page)
    assert links == re.findall(r'<h2 id="([a-z]+)">', page)
    assert len(links) == 11


def test_nothing_outside_is_asked_for(page: str) -> None:
    """No source, style, font or picture of another place; links are followed by people alone."""
    sources = [
        attributes.get(name)
        for tag, attributes in Outline(page).tags
        for name in ("src", "srcset", "data", "action", "poster")
        if name in attributes and tag != "output"
    ]
    assert sources == []
    assert "@import" not in page
    assert "url(" not in page


def test_the_policy_names_the_style_and_the_script(page: str) -> None:
    """Only these two run, by the hash of what stands in the page; no attribute carries style or script."""
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)[1]
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        inside = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{rule} &#39;sha256-{digest}&#39;;" in policy
    assert "unsafe" not in policy
    names = {name for _, attributes in Outline(page).tags for name in attributes}
    assert not [name for name in names if name == "style" or name.startswith("on")]


def test_what_an_agent_says_stays_text() -> None:
    """In tables, in charts and in attributes."""
    evil = '"><img src=x onerror=alert(1)></title></style><script>alert(1)</script>'
    page = page_of(planted_report(3, hostname=evil))
    assert "<img" not in page
    assert page.count("<script>") == 1
    assert evil in Outline(page).words


def test_a_hundred_machines_fit_into_a_megabyte() -> None:
    """With 30 checks each, in either language."""
    report = planted_report(100, checks=30, hostname="macstudio-lab")
    for language in LANGUAGES:
        page = fleet_page.render(report, language=language, traces=planted_traces(report, points=400))
        assert len(page.encode()) < 1_000_000


def test_a_fleet_of_any_size_is_a_page_of_a_megabyte() -> None:
    """What is left out is counted, in each table that is cut."""
    report = planted_report(1_000, checks=30)
    for _ in range(40):
        report.effects.extend(planted_report(3).effects)
    page = page_of(report, traces=planted_traces(report, points=200))
    assert len(page.encode()) < 1_000_000
    assert "The first 200 of 1000 rows" in page
    assert f"The first 200 of {len(report.effects)} rows" in page


def test_a_report_of_nothing_is_a_page() -> None:
    """A fleet without a machine: no empty table and no chart, and no zero that looks like health."""
    for language in LANGUAGES:
        page = page_of(messages.GetFleetReportResponse(), language)
        assert Outline(page).open == []
        assert "<table>" not in page
        assert "<svg" not in page


def test_sections_that_were_not_asked_for_are_left_out() -> None:
    """They are not shown as empty, nor as a zero among the figures."""
    page = page_of(messages.GetFleetReportResponse(), asked=frozenset({"chips"}))
    assert re.findall(r'<h2 id="([a-z]+)">', page) == ["coverage", "chips", "method"]
    assert "causes of trouble" not in page
    assert set(SECTIONS) == set(fleet_page.EVERYTHING)


def test_a_check_that_never_ran_is_unknown() -> None:
    """A core check without a verdict is neither missing nor healthy."""
    row = messages.HealthRow(
        hostname="m1",
        statuses={"torch_basics": result_pb2.STATUS_PASS},
        readiness=messages.Readiness(blocking={"mlx_native": "unknown"}),
    )
    words = Outline(page_of(messages.GetFleetReportResponse(health=[row]))).words
    assert "MLX (unknown)" in words
    assert "0 of 1" in words


def test_an_acknowledged_cause_is_shown_apart() -> None:
    """It is no open cause; who took note and until when stand beside it."""
    page = page_of(planted_report())
    apart = page[page.index('id="acknowledged"') :]
    assert "Waits for the next release of MLX (anna, until 2026-12-11" in apart
    assert '<dt>causes of trouble</dt><dd class="figure">2</dd>' in page


def test_what_nobody_tried_is_no_zero() -> None:
    """An exposure without a trial says so."""
    page = page_of(planted_report())
    row = page[page.index("KI072: Dynamic quantization") :].partition("</tr>")[0]
    assert row.count("not tried") == 2


def test_a_status_and_a_judgement_of_a_newer_collector_do_not_break_the_page() -> None:
    """They are said as unknown and as not judged."""
    report = planted_report(2)
    report.findings[0].status = 99
    report.effects[0].judgement = 99
    report.effects[0].pairing = 99
    words = Outline(page_of(report)).words
    assert "unknown" in words
    assert "not judged" in words


def test_the_same_report_is_the_same_page() -> None:
    """Nothing of the time or of chance, so that two files can be compared."""
    report = planted_report()
    assert page_of(report) == page_of(report)


def test_every_text_of_the_pages_is_used() -> None:
    """A text that nothing says would be translated for nobody."""
    folder = Path(html.__file__).parent
    files = [path for path in folder.rglob("*") if path.suffix in {".py", ".j2"}]
    said = "".join(path.read_text("utf-8") for path in files)
    spoken_by_value = {"pages_judgement", "pages_pairing", "pages_set_aside", "pages_cause"}
    unused = [
        f"{table}.{key}"
        for table, entries in tables("en").items()
        if table.startswith("pages") and table not in spoken_by_value
        for key in entries
        if not any(spelling in said for spelling in (f"{table}.{key}", f'"{key}"', f"'{key}'"))
    ]
    assert unused == []


def test_the_points_of_a_change_are_those_that_were_compared() -> None:
    """Of its machine, environment and series, the newest, in the order of time."""
    change = planted_report(2).changes[0]
    one = change.series
    connection = duckdb.connect()
    connection.execute(
        "CREATE TABLE compared (machine_id UUID, environment_name VARCHAR, device VARCHAR,"
        " check_name VARCHAR, case_name VARCHAR, measurement VARCHAR, unit VARCHAR, definition_hash VARCHAR,"
        " parameters_json VARCHAR, started_at TIMESTAMPTZ, value DOUBLE)"
    )
    own = [
        change.machine_id,
        change.environment_name,
        one.device,
        one.check_name,
        one.case_name,
        one.measurement,
        one.unit,
        one.definition_hash,
        one.parameters_json,
    ]
    other = [*own]
    other[4] = "another case"
    for row in ([*own, 20.0, 2.5], [*own, 10.0, 1.5], [*other, 15.0, 9.0]):
        marks = ", ".join("?" * 9)
        connection.execute(f"INSERT INTO compared VALUES ({marks}, to_timestamp(?), ?)", row)
    assert [(point.time, point.value) for point in read_trace(connection, change)] == [(10, 1.5), (20, 2.5)]
    connection.close()
