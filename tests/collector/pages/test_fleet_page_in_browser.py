"""The page of the fleet report in a real browser: reachable by everybody, alone, and of use by keyboard."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from llmenv_collector.pages import fleet_page

from .conftest import opened, violations
from .planted_report import planted_report, planted_traces

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same report in both languages."""
    folder = tmp_path_factory.mktemp("pages")
    report = planted_report()
    traces = planted_traces(report)
    saved = {language: folder / f"{language}.html" for language in ("en", "zh")}
    for language, file in saved.items():
        file.write_text(fleet_page.render(report, language=language, traces=traces), encoding="utf-8")
    return saved


@pytest.mark.parametrize(
    ("language", "scheme", "size"),
    [
        ("en", "light", "desktop"),
        ("en", "dark", "phone"),
        ("zh", "dark", "desktop"),
        ("zh", "light", "phone"),
    ],
)
def test_anybody_can_read_it(
    browser: Browser, files: dict[str, Path], language: str, scheme: str, size: str
) -> None:
    """axe-core finds nothing serious, also in what unfolds; the page itself never scrolls sideways; nothing
    but the file is asked for, and the browser has nothing to complain of.
    """
    with opened(browser, files[language].as_uri(), scheme=scheme, size=size) as watched:
        page = watched.page
        wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        assert not page.evaluate(wide)
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert violations(page) == []
        assert not page.evaluate(wide)
        assert watched.requests == [files[language].as_uri()]
        assert watched.complaints == []


def test_the_net_catches_something(browser: Browser, tmp_path: Path) -> None:
    """A picture without words and a field without a name are found."""
    (tmp_path / "bad.html").write_text('<html lang="en"><title>a</title><img src="data:,"><input></html>')
    with opened(browser, (tmp_path / "bad.html").as_uri()) as watched:
        assert {one.partition(":")[0] for one in violations(watched.page)} == {"image-alt", "label"}


def test_all_of_it_is_there_without_script(browser: Browser, files: dict[str, Path]) -> None:
    """Words, tables and charts; no control that would do nothing."""
    with opened(browser, files["en"].as_uri(), java_script_enabled=False) as watched:
        page = watched.page
        assert page.locator("h2").count() == 11
        assert page.locator("svg.chart").first.is_visible()
        assert page.locator("table button").count() == 0
        assert page.locator(".filter:visible").count() == 0
        assert page.get_by_text("Its process ended with SIGABRT without a result.").first.is_visible()


def column(page: Page, table: str, number: int) -> list[str]:
    return [
        text.strip() for text in page.locator(f"#{table} tbody tr > :nth-child({number})").all_inner_texts()
    ]


def test_a_table_is_sorted_by_keyboard(browser: Browser, files: dict[str, Path]) -> None:
    """Return on a column's name sorts, again turns it round, and says so to a screen reader."""
    with opened(browser, files["en"].as_uri()) as watched:
        page = watched.page
        before = column(page, "fitness", 1)
        head = page.locator("#fitness thead th").first
        head.get_by_role("button").focus()
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == "ascending"
        assert column(page, "fitness", 1) == sorted(before)
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == "descending"
        assert column(page, "fitness", 1) == sorted(before, reverse=True)


def test_numbers_are_sorted_as_numbers(browser: Browser, files: dict[str, Path]) -> None:
    """1,204 comes after 310, whatever the letters say."""
    with opened(browser, files["en"].as_uri()) as watched:
        watched.page.locator("#set-aside thead button").nth(1).press("Enter")
        assert column(watched.page, "set-aside", 2) == ["82", "310", "1,204"]


def test_a_table_is_filtered_by_keyboard(browser: Browser, files: dict[str, Path]) -> None:
    """Every word has to occur; how many rows are left is said, and nothing typed brings all back."""
    with opened(browser, files["en"].as_uri()) as watched:
        page = watched.page
        search = page.get_by_label("Filter: Fitness for training")
        search.focus()
        page.keyboard.type("mac-01 yes")
        rows = page.locator("#fitness tbody tr:visible")
        left = rows.count()
        assert 0 < left < 14
        assert all("mac-01" in text and "yes" in text for text in rows.all_inner_texts())
        assert page.locator("#fitness output").inner_text() == f"{left} of 14 rows"
        search.fill("")
        assert rows.count() == 14


def test_whoever_points_at_a_cell_is_told_whose_it_is(browser: Browser, files: dict[str, Path]) -> None:
    """Machine, check and verdict, of the cell below the pointer."""
    with opened(browser, files["en"].as_uri()) as watched:
        page = watched.page
        matrix = page.locator("svg.matrix")
        matrix.scroll_into_view_if_needed()
        # A scroll that is still under way would take away what the pointer brings.
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        box = matrix.bounding_box()
        left, top, cell = (float(matrix.get_attribute(f"data-{name}")) for name in ("left", "top", "cell"))
        page.mouse.move(box["x"] + left + cell / 2, box["y"] + top + cell / 2)
        first = page.locator("svg.matrix .machine").first.get_attribute("data-name")
        page.locator("#tip").wait_for()
        said = page.locator("#tip").inner_text()
        assert said.startswith(f"{first} · PyTorch basics: ")


def test_the_keyboard_reaches_what_scrolls_and_what_unfolds(browser: Browser, files: dict[str, Path]) -> None:
    """The first stop leads past the menu; every wide table and every fold is a stop."""
    with opened(browser, files["en"].as_uri(), size="phone") as watched:
        page = watched.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "report"
        regions = page.locator(".scroll")
        assert regions.count() > 5
        assert regions.evaluate_all("all => all.every((one) => one.tabIndex === 0)")


def test_on_paper_everything_is_unfolded(browser: Browser, files: dict[str, Path]) -> None:
    """What a click would show is printed; menus and filters are not."""
    with opened(browser, files["en"].as_uri()) as watched:
        page = watched.page
        assert page.locator("details:not([open])").count() > 0
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator("details:not([open])").count() == 0
        page.emulate_media(media="print")
        assert not page.locator("nav.bar").is_visible()
        assert not page.locator(".filter").first.is_visible()


def luminance(colour: str) -> float:
    """Relative luminance of rgb(r, g, b), as WCAG 2.2 defines it."""
    parts = [float(part) / 255 for part in colour.removeprefix("rgb(").rstrip(")").split(",")]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_verdicts_differ_in_lightness(browser: Browser, files: dict[str, Path], scheme: str) -> None:
    """Pass, warn, fail and crash are told apart without colour, and each letter stands out from its cell."""
    with opened(browser, files["en"].as_uri(), scheme=scheme) as watched:
        fills = {
            word: luminance(
                watched.page.evaluate(
                    "(word) => { const one = document.createElement('i'); one.className = `b v-${word}`;"
                    " document.body.append(one); return getComputedStyle(one).backgroundColor; }",
                    word,
                )
            )
            for word in ("pass", "warn", "fail", "crash")
        }
    ordered = sorted(fills.values())
    ratios = [(high + 0.05) / (low + 0.05) for low, high in itertools.pairwise(ordered)]
    assert min(ratios) > 1.15, fills
