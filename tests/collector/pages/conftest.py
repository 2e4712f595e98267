"""Debian's Chromium, where there is one, and pages opened in it that may ask nobody for anything."""

from __future__ import annotations

import importlib.resources
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, ConsoleMessage, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE_MS = 120_000
"""For what takes a moment on a machine that has nothing else to do."""
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
SERIOUS = {"serious", "critical"}


@dataclass
class Opened:
    """A page with what it asked for and what it complained of."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def hear(self, message: ConsoleMessage) -> None:
        """Errors and warnings; a hint to developers is none."""
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for a module: its loop must not outlive it, since other tests have loops of their own."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium here: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        # Containers have no user namespaces for a sandbox, and little shared memory.
        launched = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
            timeout=PATIENCE_MS,
        )
        yield launched
        launched.close()


@contextmanager
def opened(
    browser: Browser, address: str, *, scheme: str = "light", size: str = "desktop", **context: Any
) -> Iterator[Opened]:
    """Motion is off, so that nothing has to be waited for."""
    width, height = SIZES[size]
    own = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce", **context
    )
    try:
        own.set_default_timeout(PATIENCE_MS)
        page = own.new_page()
        watched = Opened(page)
        page.on("request", lambda request: watched.requests.append(request.url))
        page.on("console", watched.hear)
        page.on("pageerror", lambda error: watched.complaints.append(str(error)))
        page.goto(address)
        yield watched
    finally:
        own.close()


def violations(page: Page) -> list[str]:
    """What axe-core finds serious or critical, each with the element."""
    axe = importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {node['html'][:200]} {node['failureSummary']}"
        for one in found["violations"]
        if one["impact"] in SERIOUS
        for node in one["nodes"]
    ]
