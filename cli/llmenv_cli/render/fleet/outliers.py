"""Machines unlike the others of their cohort, each as one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_cli.render.blocks import Paragraph, Section
from llmenv_cli.render.fleet import words
from llmenv_cli.render.fleet.difference import difference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_report_pb2 import GetFleetReportResponse, OutlierRow

    from llmenv_cli.render.blocks import Block


def outliers(answer: GetFleetReportResponse, texts: Texts) -> Section:
    """What is real; the rest is counted."""
    return Section(texts.say("fleet.outliers"), tuple(_blocks(answer, texts)))


def outlier_sentence(row: OutlierRow, texts: Texts) -> str:
    """Such as "11 % slower than the 7 other M2 Max on the same versions"."""
    return texts.say(
        "fleet.outlier_item",
        difference=difference(row.ratio, row.series, texts),
        others=row.others,
        chip=row.variant.chip.removeprefix("Apple "),
        measured=words.measured(row.series, texts),
    )


def _blocks(answer: GetFleetReportResponse, texts: Texts) -> Iterator[Block]:
    real = [row for given in words.REAL for row in answer.outliers if row.judgement == given]
    yield from words.bullets([_item(row, texts) for row in real], texts)
    others = [row for row in answer.outliers if row not in real]
    if others:
        machines = words.names((row.hostname for row in others), texts)
        yield Paragraph(texts.say("fleet.outliers_inconclusive", count=len(others), machines=machines))


def _item(row: OutlierRow, texts: Texts) -> str:
    mark = words.judgement(row.judgement, texts)
    versions = words.names(
        (f"{words.package_name(name)} {row.versions[name]}" for name in sorted(row.versions)), texts, most=5
    )
    key = "fleet.outlier_versions" if versions else "fleet.outlier_plain"
    said = texts.say(
        key,
        machine=row.hostname,
        sentence=outlier_sentence(row, texts),
        **({"versions": versions} if versions else {}),
    )
    return texts.say("fleet.judged", judgement=mark, sentence=said)
