"""The frame of a report that is one file: title, sections to jump to, and when it was made."""

from __future__ import annotations

import hashlib
import importlib.metadata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv_collector.pages import html

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from google.protobuf.timestamp_pb2 import Timestamp

    from llmenv_collector.pages.blocks import Section
    from llmenv_collector.pages.wording import Wording


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What a live report has around it."""

    events: str
    """Where the browser hears that the report has changed."""
    alternate: str
    """The same in the other language."""
    question: Mapping[str, str]
    """The options that were given, by name."""


@dataclass(frozen=True)
class LiveReport:
    page: str
    version: str
    """Differs as soon as anything does that a reader would see, but for the time."""


def version_of(title: str, sections: Sequence[Section]) -> str:
    said = repr((title, tuple(sections)))
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def render(
    wording: Wording,
    *,
    title: str,
    subtitle: str,
    generated_at: Timestamp,
    sections: Sequence[Section],
    frame: Frame | None = None,
) -> str:
    """It needs nothing else, unless it has a frame: then it leads to others and may be logged out of."""
    return html.render(
        "fleet.html.j2",
        language=wording.language,
        is_live=frame is not None,
        frame=frame,
        version_mark=version_of(title, sections) if frame is not None else "",
        **({"alternate": frame.alternate} if frame is not None else {}),
        title=title,
        subtitle=subtitle,
        generated=wording.say("pages.generated", moment=wording.moment(generated_at)),
        version=wording.say("pages.version", version=importlib.metadata.version("llmenv")),
        sections=sections,
    )
