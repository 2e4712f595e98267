"""The pages of a comparison and of an answer on an upgrade: what is real, in words and as pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.protobuf import json_format
from llmenv.catalog.texts import LANGUAGES, texts
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv_collector.pages import comparison_page, upgrade_page

from tests.conftest import REPOSITORY

from .conftest import opened, violations
from .test_fleet_page_content import Outline

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

REPORTS = REPOSITORY / "tests" / "cli" / "fleet_reports"
HARM = "<script>alert(1)</script>"


def compared() -> messages.CompareFleetResponse:
    return json_format.Parse((REPORTS / "compare.json").read_text("utf-8"), messages.CompareFleetResponse())


def answered() -> messages.CheckUpgradeResponse:
    return json_format.Parse((REPORTS / "upgrade.json").read_text("utf-8"), messages.CheckUpgradeResponse())


def comparison(found: messages.CompareFleetResponse, language: str, *, candidate: str = "studio-4") -> str:
    asked = messages.CompareFleetRequest(baseline="studio-3", candidate=candidate)
    return comparison_page.render(found, asked=asked, language=language)


def upgrade(found: messages.CheckUpgradeResponse, language: str) -> str:
    asked = messages.CheckUpgradeRequest(requirement="torch==2.11.0")
    return upgrade_page.render(found, asked=asked, language=language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_comparison_says_what_is_real_and_what_else_differs(language: str) -> None:
    """Both sides by name, as many effects as there are, and every difference of circumstances."""
    found = compared()
    page = comparison(found, language)
    outline = Outline(page)
    assert outline.open == []
    assert all(side in outline.words for side in ("studio-3", "studio-4"))
    assert page.count("<tr>") >= len(found.effects) + len(found.verdict_effects) + len(found.differences)
    assert all(row.name in outline.words for row in found.differences if row.kind != "fact")
    assert page.count('<h2 id="') == 4


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("verdict", ["SAFE", "NOT_SAFE", "NOT_ENOUGH_EVIDENCE", "UNSPECIFIED"], ids=str.lower)
def test_an_answer_on_an_upgrade_comes_first(language: str, verdict: str) -> None:
    """In words, with its reasons; what is not understood is no yes."""
    found = answered()
    found.verdict = messages.UpgradeVerdict.Value(f"UPGRADE_VERDICT_{verdict}")
    page = upgrade(found, language)
    name, _ = upgrade_page.answer_of(found)
    assert name == {"SAFE": "safe", "NOT_SAFE": "not_safe"}.get(verdict, "not_enough")
    section = page[page.index('<h2 id="answer">') :]
    assert section.index(texts(language).say(f"upgrade.{name}")) < section.index("</section>")
    assert page.count("<li>") >= len(found.reasons)


def test_machines_are_called_as_they_were_asked_for() -> None:
    """The answer has their ids, which nobody reads; versions stay what they are."""
    found = compared()
    for row in found.effects:
        row.baseline, row.candidate = "01a22e37-7de2", "01a22e37-7de4"
    assert "01a22e37" not in comparison(found, "en")
    found.kind = "package"
    assert "01a22e37" in comparison(found, "en")


def test_a_single_pair_has_as_many_charts_as_it_needs() -> None:
    """Nothing is left out of the pictures where there is room."""
    found = compared()
    found.effects.extend(list(found.effects) * 7)
    page = comparison(found, "en")
    assert page.count("<svg") == 1 + len(found.effects) // 16 - (len(found.effects) % 16 == 0)
    assert "the table has all" not in page


def test_nothing_that_was_compared_is_said_so() -> None:
    """An empty answer is not the same as no difference."""
    page = comparison(messages.CompareFleetResponse(kind="chip"), "en")
    assert "Nothing of the two could be compared" in page
    assert 'id="differences"' not in page


def test_a_name_does_no_harm() -> None:
    """A side is whatever somebody typed."""
    assert HARM not in comparison(compared(), "en", candidate=HARM)


@pytest.mark.parametrize(
    ("language", "scheme", "size"),
    [("en", "light", "desktop"), ("zh", "dark", "phone")],
    ids=["en-light-desktop", "zh-dark-phone"],
)
def test_anybody_can_read_them(
    browser: Browser, tmp_path: Path, language: str, scheme: str, size: str
) -> None:
    """axe-core finds nothing serious, the page never scrolls sideways, and nothing else is asked for."""
    pages = {"compare": comparison(compared(), language), "upgrade": upgrade(answered(), language)}
    for name, page in pages.items():
        file = tmp_path / f"{name}.html"
        file.write_text(page, encoding="utf-8")
        with opened(browser, file.as_uri(), scheme=scheme, size=size) as watched:
            watched.page.evaluate(
                "document.querySelectorAll('details').forEach((one) => { one.open = true; })"
            )
            assert violations(watched.page) == []
            wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
            assert not watched.page.evaluate(wide)
            assert (watched.requests, watched.complaints) == ([file.as_uri()], [])
