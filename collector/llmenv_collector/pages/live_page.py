"""The frame of the live pages: what a machine's and a run's share, the login, and what went wrong."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv.catalog.texts import texts

from llmenv_collector.pages import html

if TYPE_CHECKING:
    from llmenv_collector.pages.blocks import Section

TITLES = {
    400: "refused",
    403: "refused",
    404: "not_here",
    405: "refused",
    413: "refused",
    429: "too_often",
    503: "too_long",
}


@dataclass(frozen=True)
class Content:
    """All that a page shows of its subject."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]

    @property
    def version(self) -> str:
        """Differs as soon as anything does that a reader would see."""
        return hashlib.sha256(repr(self).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @property
    def rest_seconds(self) -> float:
        """It costs little to be looked at again."""
        return 1.0


def render(content: Content, *, language: str, events: str) -> str:
    """`events` is where the browser hears that the content has changed."""
    return html.render(
        "live.html.j2", language=language, is_live=True, title=content.title, content=content, events=events
    )


def login(*, language: str, place: str, trouble: str = "") -> str:
    """The form that takes a token; `place` is where it leads."""
    title = texts(language).say("pages_live.login_title")
    return html.render(
        "login.html.j2", language=language, is_live=True, title=title, place=place, trouble=trouble
    )


def problem(*, language: str, status: int, sentence: str) -> str:
    """Why there is no page."""
    title = texts(language).say(f"pages_live.{TITLES.get(status, 'broken')}")
    return html.render("problem.html.j2", language=language, is_live=True, title=title, sentence=sentence)
