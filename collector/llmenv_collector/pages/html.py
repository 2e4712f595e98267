"""Templates to one HTML file that needs nothing else: style and script lie inside, known by their hashes.

Whatever an agent said is escaped by the templates; the policy that stands in the file lets nothing
run or load but its own style and its own script, should an escape ever be missing.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib import resources
from typing import TYPE_CHECKING

import jinja2
from llmenv.catalog.texts import LANGUAGES, texts
from markupsafe import Markup

from llmenv_collector.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

PART_BYTES = 256 << 10
HTML_LANGUAGES = {"en": "en", "zh": "zh-Hans"}


def known_language(language: str) -> str:
    """English for none; raises UsageError for one that there are no texts in."""
    if language and language not in LANGUAGES:
        raise UsageError(f"There is no page in {language!r}, only in {' and '.join(LANGUAGES)}.")
    return language or LANGUAGES[0]


def parts(content: bytes) -> Iterator[bytes]:
    """The content in messages that no limit of gRPC cuts off."""
    for begin in range(0, len(content), PART_BYTES):
        yield content[begin : begin + PART_BYTES]


def render(template: str, *, language: str, is_live: bool = False, **values: object) -> str:
    """The file that a template makes of these values; a live page has its policy in the answer's header."""
    page = templates().get_template(template)
    values.setdefault("alternate", f"?lang={next(one for one in LANGUAGES if one != language)}")
    return page.render(
        say=texts(language).say,
        language=HTML_LANGUAGES[language],
        style=asset("page.css"),
        script=asset("page.js"),
        content_policy="" if is_live else content_policy(),
        is_live=is_live,
        **values,
    )


@functools.cache
def templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("llmenv_collector.pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@functools.cache
def asset(name: str) -> Markup:
    """A file of ours that is put into a page as it is."""
    return Markup(resources.files(__package__).joinpath("assets", name).read_text("utf-8"))  # noqa: S704 (ours)


@functools.cache
def content_policy() -> str:
    """What a browser may do with a page: run its own script, apply its own style, and nothing else."""
    style, script = (digest(asset(name)) for name in ("page.css", "page.js"))
    return (
        f"default-src 'none'; style-src {style}; script-src {script};"
        " img-src data:; base-uri 'none'; form-action 'none'"
    )


@functools.cache
def live_policy() -> str:
    """The same for a page that a collector serves: it may also ask that collector, and send it a form."""
    own = content_policy().replace("form-action 'none'", "form-action 'self'")
    return f"{own}; connect-src 'self'; frame-ancestors 'none'"


def digest(text: str) -> str:
    """As a Content-Security-Policy names an inline style or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
