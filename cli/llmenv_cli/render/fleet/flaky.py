"""Checks whose verdict changes although nothing changed: no single verdict of them may be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_cli.render import numbers
from llmenv_cli.render.blocks import Section
from llmenv_cli.render.fleet import words
from llmenv_cli.render.run_view import STATUS_WORDS
from llmenv_cli.render.sections.wording import title

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_report_pb2 import FlakyRow, GetFleetReportResponse


def flaky(answer: GetFleetReportResponse, texts: Texts) -> Section:
    items = [_item(row, texts) for row in answer.flaky]
    return Section(texts.say("fleet.flaky"), tuple(words.bullets(items, texts)))


def counted(statuses: Mapping[str, int], texts: Texts) -> str:
    """Such as "pass 10, fail 2"."""
    return texts.say("word.list_separator").join(
        f"{texts.say(f'status.{word}')} {numbers.count(statuses[word])}"
        for word in STATUS_WORDS
        if statuses.get(word)
    )


def _item(row: FlakyRow, texts: Texts) -> str:
    return texts.say(
        "fleet.flaky_item",
        place=words.place(row, texts),
        check=title(row.check_name, texts),
        changes=row.changes,
        results=row.results,
        counts=counted(row.status_counts, texts),
    )
