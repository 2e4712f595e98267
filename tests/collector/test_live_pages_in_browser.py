"""The live pages in a real browser: a login by keyboard, and pages that follow what is delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from llmenv.fleet.v1 import result_pb2

from .conftest import RunningCollector
from .live_run import LiveRun
from .pages.conftest import PATIENCE_MS, browser, opened, violations
from .visitor import Visitor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext, Page

__all__ = ["browser"]  # a fixture, found by its name


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


@pytest.fixture
def run(collector: RunningCollector) -> Iterator[LiveRun]:
    """Begun, with its first check at work."""
    delivered = LiveRun(collector.enrol("studio"), "studio")
    delivered.begin()
    yield delivered
    delivered.close()


def enter(context: BrowserContext, collector: RunningCollector, token: str) -> None:
    """The session of a login without a browser, so that only one test depends on the form."""
    visitor = Visitor(collector)
    visitor.log_in(token)
    context.add_cookies(
        [
            {
                "name": "__Host-llmenv",
                "value": visitor.cookie,
                "url": f"https://{visitor.address}/",
                "httpOnly": True,
                "secure": True,
                "sameSite": "Strict",
            }
        ]
    )


def shown(page: Page, check: str) -> str:
    return page.locator("#checks-table tr", has_text=check).inner_text()


def test_a_viewer_logs_in_and_out_by_keyboard(
    browser: Browser, collector: RunningCollector, token: str
) -> None:
    """The form leads to the page that was asked for; a wrong token is said and can be typed again."""
    address = f"https://{Visitor(collector).address}"
    with opened(browser, f"{address}/?lang=zh", ignore_https_errors=True) as watched:
        page = watched.page
        assert page.locator("h1").inner_text() == "登录"
        assert violations(page) == []
        page.get_by_label("令牌").fill("made-up")
        page.keyboard.press("Enter")
        page.get_by_role("alert").wait_for()
        page.get_by_label("令牌").fill(token)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{address}/?lang=zh")
        assert page.locator("h1").inner_text() == "机群报告"
        assert violations(page) == []
        assert page.evaluate("document.cookie") == ""
        page.get_by_role("button", name="退出").focus()
        page.keyboard.press("Enter")
        page.wait_for_url(f"{address}/login")
        # A refused token is an answer 401, which the browser notes; nothing else is there to note.
        assert [text for text in watched.complaints if "401" not in text] == []


def test_a_page_of_a_run_follows_it(
    browser: Browser, collector: RunningCollector, token: str, run: LiveRun
) -> None:
    """Without a reload: what runs, what ended and how, and in the end whether it was completed."""
    address = f"https://{Visitor(collector).address}"
    with opened(browser, f"{address}/login", ignore_https_errors=True) as watched:
        page = watched.page
        enter(page.context, collector, token)
        page.goto(f"{address}/runs/{run.run_id}?lang=en")
        assert "has not run" in shown(page, "PyTorch basics")
        page.evaluate("window.isTheSamePage = true")
        result_id = run.check_begins("torch_basics")
        page.get_by_text("is running").wait_for()
        assert "is running" in shown(page, "PyTorch basics")
        reason = "A product of <b>ones</b> was wrong."
        run.check_ends("torch_basics", result_id, status=result_pb2.STATUS_FAIL, reason=reason)
        page.get_by_text(reason).wait_for()
        assert "fail" in shown(page, "PyTorch basics")
        assert page.get_by_text("1 of 3").is_visible()
        assert violations(page) == []
        run.end()
        page.get_by_text("completed", exact=True).wait_for()
        assert page.evaluate("window.isTheSamePage")
        assert watched.complaints == []
        assert all(request.startswith(address) for request in watched.requests)


def test_without_script_a_reload_shows_the_same(
    browser: Browser, collector: RunningCollector, token: str, run: LiveRun
) -> None:
    """Nothing is for those alone whose browser runs scripts."""
    address = f"https://{Visitor(collector).address}"
    with opened(browser, f"{address}/login", ignore_https_errors=True, java_script_enabled=False) as watched:
        page = watched.page
        enter(page.context, collector, token)
        page.goto(f"{address}/runs/{run.run_id}?lang=en")
        assert "has not run" in shown(page, "PyTorch basics")
        result_id = run.check_begins("torch_basics")
        run.check_ends("torch_basics", result_id, status=result_pb2.STATUS_PASS, reason="All is well.")
        page.reload()
        assert "All is well." in shown(page, "PyTorch basics")


def test_a_machine_leads_to_its_runs(
    browser: Browser, collector: RunningCollector, token: str, run: LiveRun
) -> None:
    """From the report to the machine, from there to the run, on a phone; and a new run appears by itself."""
    address = f"https://{Visitor(collector).address}"
    with opened(
        browser, f"{address}/login", size="phone", scheme="dark", ignore_https_errors=True
    ) as watched:
        page = watched.page
        enter(page.context, collector, token)
        machine = f"{address}/machines/{run.machine.machine_id}?lang=en"
        page.goto(machine)
        assert page.locator("h1").inner_text() == "studio"
        assert page.get_by_text("online", exact=True).is_visible()
        assert page.locator("#runs-table tbody tr").count() == 1
        wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        assert not page.evaluate(wide)
        assert violations(page) == []
        second = LiveRun(run.machine, "studio")
        second.begin()
        page.locator("#runs-table tbody tr").nth(1).wait_for(timeout=PATIENCE_MS)
        second.close()
        page.locator("#runs-table tbody th a").first.click()
        page.wait_for_url(f"{address}/runs/{second.run_id}?lang=en")
        assert page.locator("h1").inner_text() == "Run on studio"


def test_the_live_report_leads_to_machines(
    browser: Browser, collector: RunningCollector, token: str, run: LiveRun
) -> None:
    """The names in its tables are links, which those of a saved file are not."""
    result_id = run.check_begins("torch_basics")
    run.check_ends("torch_basics", result_id, status=result_pb2.STATUS_PASS, reason="All is well.")
    address = f"https://{Visitor(collector).address}"
    with opened(browser, f"{address}/login", ignore_https_errors=True) as watched:
        page = watched.page
        enter(page.context, collector, token)
        page.goto(f"{address}/?lang=en")
        link = page.locator(f'a[href^="/machines/{run.machine.machine_id}"]').first
        link.click()
        page.wait_for_url(f"{address}/machines/{run.machine.machine_id}?lang=en")
        assert watched.complaints == []
