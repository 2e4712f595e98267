"""The live report takes the options of a question, refuses bad ones, and follows what arrives."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv.fleet.v1 import result_pb2
from llmenv_collector.errors import UsageError
from llmenv_collector.live.report_question import ReportQuestion

from .conftest import RunningCollector
from .live_run import LiveRun
from .pages.conftest import browser, opened, violations
from .test_live_pages_in_browser import enter
from .visitor import Visitor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

__all__ = ["browser"]  # a fixture, found by its name

NOW = dt.datetime(2026, 11, 30, 12, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    """One that serves pages, on a port that the system chooses."""
    running = RunningCollector(tmp_path_factory.mktemp("live") / "data", "--http-listen", "127.0.0.1:0")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def token(collector: RunningCollector) -> str:
    """A viewer's, as it is printed."""
    return str(collector.token("--role", "viewer"))


def test_a_form_asks_what_the_command_line_asks() -> None:
    """Empty fields ask nothing; several checks stand in one field or in several."""
    pairs = [
        ("lang", "zh"),
        ("since", "7d"),
        ("as_of", ""),
        ("by", "package"),
        ("package", "torch"),
        ("baseline", "torch==2.10.0"),
        ("candidate", "torch==2.11.0"),
        ("where", "chip = 'Apple M2 Max'"),
        ("check", "ops, leak"),
        ("check", "leak"),
    ]
    asked = ReportQuestion.of(pairs)
    request = asked.request(now=NOW)
    assert (request.by, request.package) == (messages.AXIS_PACKAGE, "torch")
    assert (request.baseline, request.candidate) == ("torch==2.10.0", "torch==2.11.0")
    assert (request.where, list(request.checks)) == ("chip = 'Apple M2 Max'", ["leak", "ops"])
    assert request.since.ToDatetime(dt.UTC) == NOW - dt.timedelta(days=7)
    assert ReportQuestion.of(list(reversed(pairs))) == asked
    assert "lang=en" in asked.query(lang="en")


@pytest.mark.parametrize(
    ("given", "begin", "end"),
    [
        ({}, None, None),
        ({"since": "all"}, 0, None),
        ({"since": "99999w"}, 0, None),
        ({"since": "2d", "as_of": "2026-11-20"}, dt.datetime(2026, 11, 19, tzinfo=dt.UTC).timestamp(), True),
    ],
    ids=["default", "all", "longer-than-there-are-Macs", "before-a-day"],
)
def test_a_period_is_counted_back_from_its_end(given: Any, begin: float | None, end: bool | None) -> None:
    """As `--since` and `--as-of`."""
    request = ReportQuestion.of(list(given.items())).request(now=NOW)
    assert (request.since.ToSeconds() if request.HasField("since") else None) == begin
    assert request.HasField("as_of") == bool(end)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("since=soon", "is no length of time such as 30d"),
        ("since=99999w&as_of=2020-11-02", ""),
        ("as_of=2999-01-01", "is yet to come"),
        ("by=colour", "not by 'colour'"),
        ("package=a+b", "is no name of a package"),
        ("baseline=torch", "A version is written as in torch==2.11.0"),
        ("baseline=torch==1&candidate=mlx==2", "Versions are compared of one package"),
        ("baseline=torch==1&candidate=torch==1", "are the same version"),
        ("colour=red", "There is no option 'colour'"),
        ("since=1d&since=2d", "is given twice"),
        ("where=" + "x" * 1_001, "is too long"),
    ],
)
def test_a_bad_option_is_refused_in_a_sentence(query: str, sentence: str) -> None:
    """Before anything is computed."""
    pairs = [tuple(part.split("=", 1)) for part in query.replace("+", " ").split("&")]
    if not sentence:
        ReportQuestion.of(pairs)  # type: ignore[arg-type]
        return
    with pytest.raises(UsageError) as refused:
        ReportQuestion.of(pairs)  # type: ignore[arg-type]
    assert sentence in str(refused.value)


def test_what_the_store_cannot_answer_is_a_sentence_too(collector: RunningCollector, token: str) -> None:
    """A check that never ran, a condition that is no SQL, an option that there is not: 400, no traceback."""
    visitor = Visitor(collector)
    visitor.log_in(token)
    for query, sentence in (
        ("check=no_such_check", "No machine has ever run a check"),
        ("where=no_such_column=1", "The condition cannot be used"),
        ("colour=red", "There is no option"),
    ):
        for path in ("/", "/events"):
            answer = visitor.get(f"{path}?{query}")
            assert (answer.status, "Traceback" in answer.text) == (400, False)
            assert sentence in answer.text


def test_a_login_leads_back_to_the_question(collector: RunningCollector, token: str) -> None:
    """With all of its options, and the other language keeps them."""
    visitor = Visitor(collector)
    answer = visitor.get("/?since=7d&by=chip&lang=zh")
    assert answer.status == 303
    led = visitor.log_in(token, place="/?since=7d&by=chip&lang=zh")
    assert led.headers["Location"] == "/?since=7d&by=chip&lang=zh"
    page = visitor.get(led.headers["Location"]).text
    assert 'href="?since=7d&amp;by=chip&amp;lang=en"' in page
    assert 'value="7d"' in page
    assert '<option value="chip" selected>' in page
    assert 'id="health"' not in page  # by chip


def test_a_report_follows_what_arrives(browser: Browser, collector: RunningCollector, token: str) -> None:
    """Without a reload: a failure appears in a page that keeps what its reader unfolded and sorted."""
    run = LiveRun(collector.enrol("studio"), "studio")
    run.begin()
    run.check_ends(
        "torch_basics", run.check_begins("torch_basics"), status=result_pb2.STATUS_PASS, reason="Fine."
    )
    address = f"https://{Visitor(collector).address}"
    with opened(browser, f"{address}/login", ignore_https_errors=True) as watched:
        page = watched.page
        enter(page.context, collector, token)
        page.goto(f"{address}/?lang=en&since=7d")
        assert violations(page) == []
        page.locator("details.question > summary").click()
        assert page.get_by_label("since", exact=True).input_value() == "7d"
        page.evaluate("window.isTheSamePage = true")
        result_id = run.check_begins("torch_training")
        run.check_ends(
            "torch_training", result_id, status=result_pb2.STATUS_FAIL, reason="It learned nothing."
        )
        page.locator("#findings-table, #report").get_by_text("It learned nothing.").first.wait_for()
        assert page.evaluate("window.isTheSamePage")
        assert page.locator("details.question").get_attribute("open") is not None
        page.get_by_label("by", exact=True).select_option("chip")
        page.get_by_role("button", name="Show").click()
        page.wait_for_url(f"{address}/?lang=en&since=7d&*")
        assert page.locator("#health").count() == 0
        assert watched.complaints == []
        assert all(asked.startswith(address) for asked in watched.requests)
    run.close()
