"""The frame of a report that is one file: title, sections to jump to, and when it was made."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING

from llmenv_collector.pages import html

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.timestamp_pb2 import Timestamp

    from llmenv_collector.pages.blocks import Section
    from llmenv_collector.pages.wording import Wording


def render(
    wording: Wording,
    *,
    title: str,
    subtitle: str,
    generated_at: Timestamp,
    sections: Sequence[Section],
    is_live: bool = False,
) -> str:
    """It needs nothing else; a live page leads to others and may be logged out of."""
    return html.render(
        "fleet.html.j2",
        language=wording.language,
        is_live=is_live,
        title=title,
        subtitle=subtitle,
        generated=wording.say("pages.generated", moment=wording.moment(generated_at)),
        version=wording.say("pages.version", version=importlib.metadata.version("llmenv")),
        sections=sections,
    )
