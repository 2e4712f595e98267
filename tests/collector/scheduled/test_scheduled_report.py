"""What collector.toml says of reports, when they are due, and one sentence for each mistake."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING

import pytest
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv_collector import settings
from llmenv_collector.errors import UsageError
from llmenv_collector.notices.webhook import Webhook
from llmenv_collector.scheduled.scheduled_report import ScheduledReport, reports_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GOOD = '[[report]]\nname = "weekly"\ncron = "0 7 * * 1"\nfolder = "reports"\n'
WEBHOOKS = {
    "lab": Webhook(name="lab", url="https://x"),
    "chat": Webhook(name="chat", url="https://x", body="text"),
    "few": Webhook(name="few", url="https://x", kinds=frozenset({"regression"})),
}


@pytest.fixture(autouse=True)
def _berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "reports").mkdir()
    return tmp_path


def read(folder: Path, text: str) -> ScheduledReport:
    file = folder / "collector.toml"
    file.write_text(text)
    assert settings.load(file, flags={}, environment={}) == settings.Settings()
    (report,) = reports_of(settings.read_tables(file, "report"), WEBHOOKS)
    return report


def moments(report: ScheduledReport, after: str, count: int) -> list[str]:
    moment, found = dt.datetime.fromisoformat(after).timestamp(), []
    for _ in range(count):
        moment = report.next_after(moment)
        found.append(dt.datetime.fromtimestamp(moment, dt.UTC).isoformat(timespec="minutes"))
    return found


def test_a_report_is_due_as_cron_writes_it_in_local_time(folder: Path) -> None:
    """Mondays at seven, also after the clock was put back."""
    report = read(folder, GOOD)
    assert moments(report, "2026-10-20T00:00Z", 2) == ["2026-10-26T06:00+00:00", "2026-11-02T06:00+00:00"]
    assert (report.format, report.keep, report.folder) == ("html", 30, folder / "reports")


def test_an_interval_is_kept_whenever_the_collector_begins(folder: Path) -> None:
    """At its multiples since 1970, UTC."""
    report = read(folder, GOOD.replace('cron = "0 7 * * 1"', 'every = "6h"'))
    assert report.when == "every 6h"
    assert moments(report, "2026-10-20T05:59Z", 2) == ["2026-10-20T06:00+00:00", "2026-10-20T12:00+00:00"]


def test_a_report_asks_what_a_person_would(folder: Path) -> None:
    """Every option of llmenv fleet report that is no format and no time of the past."""
    options = """since = "14d"
where = "chip LIKE 'Apple M2%'"
by = "package"
checks = ["torch_training"]
package = "torch"
baseline = "torch==2.10.0"
candidate = "torch==2.11.0"
chip = "Apple M2 Ultra"
pins = ["torch==2.11.0", "mlx>=0.24,<1"]
min_effect = "5%"
fdr = "10%"
explain = true
"""
    asked = read(folder, GOOD + options).request(now=20_000 * 86_400_000_000)
    expected = messages.GetFleetReportRequest(
        where="chip LIKE 'Apple M2%'",
        by=messages.AXIS_PACKAGE,
        checks=["torch_training"],
        package="torch",
        baseline="torch==2.10.0",
        candidate="torch==2.11.0",
        reference_chip="Apple M2 Ultra",
        pins=[
            messages.Pin(package="torch", specifier="==2.11.0"),
            messages.Pin(package="mlx", specifier=">=0.24,<1"),
        ],
        minimum_effect=0.05,
        false_discovery_rate=0.1,
        explain=True,
    )
    expected.since.FromSeconds((20_000 - 14) * 86_400)
    assert asked == expected
    whole = read(folder, GOOD + 'since = "all"\n').request(now=1)
    assert whole.HasField("since")
    assert not whole.since.seconds
    assert not read(folder, GOOD).request(now=1).HasField("since")


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ('cron = "0 7 * * 1"', 'cron = "0 7 * *"', "line 3, cron of [[report]]: '0 7 * *' has 4 fields"),
        ('cron = "0 7 * * 1"', 'cron = "0 7 31 2 *"', "never comes"),
        ('cron = "0 7 * * 1"\n', "", "say when it is made: by `cron` or by `every`"),
        ("cron", 'every = "6h"\ncron', "say when it is made"),
        ('cron = "0 7 * * 1"', 'every = "30s"', "every of [[report]]: it is 60s or longer"),
        ('cron = "0 7 * * 1"', 'every = "soon"', "'soon' is no length of time"),
        ('folder = "reports"', 'folder = "gone"', "line 4, folder of [[report]]: there is no folder"),
        ('folder = "reports"', "", "say where it goes: into a `folder` or to a `webhook`"),
        ('folder = "reports"', 'webhook = "la"', "there is no webhook 'la'; there are: lab, chat, few."),
        ('folder = "reports"', 'webhook = "chat"', "'chat' is told one text a notice"),
        ('folder = "reports"', 'webhook = "few"', "the kinds of 'few' do not hold 'report'"),
        ("folder", 'format = "xlsx"\nfolder', "format of [[report]]: it is html or json, not 'xlsx'."),
        ("folder", 'baseline = "torch"\nfolder', "A version is written as in torch==2.11.0"),
        ("folder", 'pins = ["torch"]\nfolder', "'torch' is no requirement"),
        ("folder", 'min_effect = "3"\nfolder', "'3' is no percentage"),
        ("folder", 'since = "ever"\nfolder', "'ever' is no length of time"),
        ("folder", 'by = "room"\nfolder', "it is machine or chip or package or macos or check"),
        ("folder", "keep = 0\nfolder", "keep of [[report]]: it is a number from 1"),
        ("folder", 'explain = "yes"\nfolder', "it is true or false, not 'yes'."),
        ("folder", 'as_of = "2026-11-25"\nfolder', "as_of of [[report]]: there is no such key"),
    ],
    ids=[
        "cron",
        "never",
        "no-time",
        "two-times",
        "too-often",
        "interval",
        "no-folder",
        "no-target",
        "no-webhook",
        "chat",
        "other-kinds",
        "format",
        "version",
        "pin",
        "effect",
        "since",
        "axis",
        "keep",
        "explain",
        "unknown-key",
    ],
)
def test_each_mistake_is_one_sentence(folder: Path, before: str, after: str, sentence: str) -> None:
    """It names the file and the line."""
    with pytest.raises(UsageError) as error:
        read(folder, GOOD.replace(before, after, 1))
    assert sentence in str(error.value)
    assert f"{folder / 'collector.toml'}, line " in str(error.value)
