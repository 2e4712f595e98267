"""Reports are made when they are due, whole, kept so many, and told of where they fail."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pytest
from llmenv.cron import parse_cron
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv_collector import clock
from llmenv_collector.errors import AnalysisLimitError, FullStoreError
from llmenv_collector.notices.work import NoticeWork
from llmenv_collector.scheduled import report_folder, report_work
from llmenv_collector.scheduled.report_work import ReportWork
from llmenv_collector.scheduled.scheduled_report import ScheduledReport
from llmenv_collector.settings import Settings

from .conftest import PATIENCE_SECONDS, RunningCollector, run_command, wait_until
from .notices.lab import DAY, Lab
from .notices.receiver import SECRET, Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    opened = Lab(tmp_path)
    yield opened
    opened.close()


def far_off() -> str:
    """Due once a day, half a day from now, so that no test sees that moment pass."""
    return f"0 {(dt.datetime.now().astimezone().hour + 12) % 24} * * *"


def report(folder: Path | None, **more: Any) -> ScheduledReport:
    given = {"name": "daily", "cron": parse_cron(far_off()), "keep": 2} | more
    return ScheduledReport(folder=folder, asked=messages.GetFleetReportRequest(), **given)


def working(lab: Lab, *reports: ScheduledReport, make: Any = None, **more: Any) -> ReportWork:
    async def page(request: Any, output_format: str, language: str) -> bytes:
        return f"{output_format} {language}".encode()

    return ReportWork(
        reports,
        store=lab.store,
        identity=lab.identity,
        notices=NoticeWork(lab.store, lab.identity, more.pop("webhooks", ()), Settings()),
        make=make or page,
        **more,
    )


def tried(lab: Lab) -> list[tuple[Any, ...]]:
    return lab.rows("SELECT name, is_made, outcome FROM v1.scheduled_reports ORDER BY ended_at")


def test_what_was_missed_is_made_once(lab: Lab, tmp_path: Path) -> None:
    """A month without the collector is one report; a second look makes none, and neither does a restart."""
    long_ago = clock.now() - 30 * DAY
    for _ in range(2):
        work = working(lab, report(tmp_path), begun_at=long_ago)
        for _ in range(2):
            assert asyncio.run(work.round()) <= report_work.LONGEST_REST_SECONDS
    ((_, is_made, outcome),) = tried(lab)
    (path,) = tmp_path.glob("daily-*.html")
    assert (is_made, outcome, path.read_text()) == (True, str(path), "html en")
    assert lab.audited("report.make") == [str(path)]


def test_a_report_that_was_never_due_is_not_made(lab: Lab, tmp_path: Path) -> None:
    """A collector that begins waits for the first time."""
    asyncio.run(working(lab, report(tmp_path)).round())
    assert tried(lab) == []


def test_a_folder_keeps_the_newest_and_nothing_that_is_half_or_foreign(tmp_path: Path) -> None:
    """Only what bears the report's own name and a time is removed."""
    foreign = ["daily.html", "other-20260101T000000Z.html", "daily-20260101T000000Z.txt"]
    for name in [*foreign, "daily-20260101T000000Z.html.part"]:
        (tmp_path / name).write_text("x")
    for day in range(4):
        report_folder.write(report(tmp_path), tmp_path, b"page", seconds=day * 86_400)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*foreign, "daily-19700103T000000Z.html", "daily-19700104T000000Z.html"]
    )


def test_a_report_that_cannot_be_made_is_told(lab: Lab, tmp_path: Path) -> None:
    """The sentence stands in the view and in the audit; the next time is tried again, and others are made."""

    async def too_much(request: Any, output_format: str, language: str) -> bytes:
        raise AnalysisLimitError("It needed too much.")

    gone = report(tmp_path / "gone", name="gone")
    long_ago = clock.now() - 2 * DAY
    asyncio.run(working(lab, report(tmp_path), make=too_much, begun_at=long_ago).round())
    asyncio.run(working(lab, gone, begun_at=long_ago).round())
    failed, unwritable = tried(lab)
    assert failed == ("daily", False, "It needed too much.")
    assert unwritable[:2] == ("gone", False)
    assert "it cannot be written: " in unwritable[2]
    assert len(lab.audited("report.make")) == 2


def refuse(*_arguments: Any, **_more: Any) -> Any:
    raise FullStoreError("There is no room.")


@pytest.mark.parametrize("failing", ["audit", "store"])
def test_a_report_that_cannot_be_written_down_is_made_once(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """Older ones stay, another report is made too, and both are written down once there is room again."""
    made: list[str] = []

    async def page(request: Any, output_format: str, language: str) -> bytes:
        made.append(output_format)
        return b"page"

    (tmp_path / "daily-20260101T000000Z.html").touch()
    other = report(tmp_path, name="other", format="json")
    work = working(lab, report(tmp_path), other, make=page, begun_at=clock.now() - 2 * DAY)
    with monkeypatch.context() as full:
        owner, method = {"audit": (lab.identity, "changes"), "store": (lab.store, "request")}[failing]
        full.setattr(owner, method, refuse)
        for _ in range(3):
            with pytest.raises(FullStoreError):
                asyncio.run(work.round())
    for _ in range(2):
        asyncio.run(work.round())
    assert made == ["html", "json"]
    assert (tmp_path / "daily-20260101T000000Z.html").exists()
    assert [name for name, *_ in tried(lab)] == ["daily", "other"]
    assert len(lab.audited("report.make")) == 2


def test_a_report_for_a_webhook_waits_for_the_store_alone(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Due again, it is not made again while the former is still to be stored."""
    daily = report(None, webhook="lab")
    with Receiver() as receiver:
        webhook = lab.webhook(receiver)
    work = working(lab, daily, webhooks=[webhook], begun_at=clock.now() - 2 * DAY)
    with monkeypatch.context() as full:
        full.setattr(lab.store, "request", refuse)
        for _ in range(3):
            with pytest.raises(FullStoreError):
                asyncio.run(work.round())
            work._ended_at["daily"] -= DAY
    asyncio.run(work.round())
    assert lab.rows("SELECT count(*) FROM v1.notices") == [(1,)]
    asyncio.run(work.round())
    assert lab.rows("SELECT count(*) FROM v1.notices") == [(2,)]


def test_a_webhook_gets_the_report_whole_and_signed(lab: Lab) -> None:
    """By the outbox of the notices; it is forgotten when it has arrived."""
    with Receiver() as receiver:
        webhook = lab.webhook(receiver)
        work = working(
            lab,
            report(None, webhook="lab", format="json"),
            webhooks=[webhook],
            begun_at=clock.now() - 2 * DAY,
        )
        asyncio.run(work.round())
        lab.send(webhook)
        (received,) = receiver.received
    assert received.is_signed()
    assert received.content["report"] == {"name": "daily", "content": "json en"}
    assert (received.content["kind"], received.content["text"]) == ("report", "Here is the report daily.")
    assert lab.rows("SELECT content FROM store.notice") == [(None,)]


def test_a_report_that_is_too_large_for_a_webhook_is_not_sent(lab: Lab) -> None:
    """It says what to do."""

    async def large(request: Any, output_format: str, language: str) -> bytes:
        return bytes(report_work.MOST_BYTES + 1)

    with Receiver() as receiver:
        work = working(
            lab,
            report(None, webhook="lab"),
            make=large,
            webhooks=[lab.webhook(receiver)],
            begun_at=clock.now() - 2 * DAY,
        )
        asyncio.run(work.round())
    ((_, is_made, outcome),) = tried(lab)
    assert (is_made, "have it written to a folder" in outcome) == (False, True)
    assert lab.rows("SELECT * FROM v1.notices") == []


SETTINGS = """
[[webhook]]
name = "lab"
url = "{url}"
secret_variable = "NOTICE_TEST_SECRET"
timeout_seconds = 60

[[report]]
name = "page"
cron = "{cron}"
folder = "{folder}"

[[report]]
name = "figures"
cron = "{cron}"
format = "json"
folder = "{folder}"

[[report]]
name = "sent"
cron = "{cron}"
format = "json"
webhook = "lab"
"""


def test_a_collector_makes_what_was_due_while_it_did_not_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real report, in both formats and to both targets, after a restart."""
    monkeypatch.setenv("NOTICE_TEST_SECRET", SECRET)
    folder = tmp_path / "reports"
    folder.mkdir()
    with Receiver() as receiver:
        settings = SETTINGS.format(url=receiver.url, folder=folder, cron=far_off())
        collector = RunningCollector(tmp_path / "data", settings=settings)
        listed = run_command("reports", "--data", str(tmp_path / "data"), "--times", "1")
        assert [line.split()[0] for line in listed.stdout.splitlines()] == [
            "REPORT",
            "page",
            "figures",
            "sent",
        ]
        assert collector.stop() == 0
        missed(tmp_path / "data", ("page", "figures", "sent"))
        collector.start()
        try:
            wait_until(lambda: receiver.received and len(list(folder.iterdir())) == 2, 4 * PATIENCE_SECONDS)
        finally:
            assert collector.stop() == 0
        (page,) = folder.glob("page-*.html")
        assert page.read_text().startswith("<!DOCTYPE html>")
        (figures,) = folder.glob("figures-*.json")
        assert json.loads(figures.read_text())["coverage"]["as_of"]
        (received,) = receiver.received
        assert json.loads(received.content["report"]["content"])["coverage"]
    with collector.database() as connection:
        rows = connection.execute(
            "SELECT name, count(*), bool_and(is_made) FROM v1.scheduled_reports GROUP BY ALL ORDER BY ALL"
        ).fetchall()
    assert rows == [("figures", 2, True), ("page", 2, True), ("sent", 2, True)]


def missed(folder: Path, names: tuple[str, ...]) -> None:
    """As if each had last been made two days ago."""
    import duckdb

    with duckdb.connect(str(folder / "llmenv.duckdb")) as connection:
        for name in names:
            connection.execute(
                "INSERT INTO store.scheduled_report"
                " VALUES (?, now() - INTERVAL 2 DAY, now() - INTERVAL 2 DAY, true, '')",
                [name],
            )


def test_a_collector_without_reports_says_so(tmp_path: Path) -> None:
    """And one with a mistake says what, and where."""
    assert run_command("init", "--data", str(tmp_path / "data")).returncode == 0
    listed = run_command("reports", "--data", str(tmp_path / "data"))
    assert (listed.returncode, "has no [[report]]" in listed.stderr) == (0, True)
    (tmp_path / "data" / "collector.toml").write_text('[[report]]\nname = "x"\n')
    refused = run_command("reports", "--data", str(tmp_path / "data"))
    assert (refused.returncode, "say when it is made" in refused.stderr) == (2, True)
