"""Machines unlike the others of their cohort, each as one sentence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from llmenv.catalog.packages import WATCHED

from llmenv_cli.render.blocks import Paragraph, Section
from llmenv_cli.render.fleet import words
from llmenv_cli.render.fleet.difference import difference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_report_pb2 import GetFleetReportResponse, OutlierRow

    from llmenv_cli.render.blocks import Block


# Further measurements that are named of one machine, and versions that a cohort has in common.
MOST_FURTHER = 2
MOST_VERSIONS = 5
FIRST = ("macos", "python", *WATCHED)


def outliers(answer: GetFleetReportResponse, texts: Texts) -> Section:
    """What is real, a sentence a machine; the rest is counted."""
    return Section(texts.say("fleet.outliers"), tuple(_blocks(answer, texts)))


def by_machine(rows: Iterable[OutlierRow]) -> list[list[OutlierRow]]:
    """Rows of each machine, the farthest from the others first, and each series once."""
    machines: dict[str, dict[tuple[str, ...], OutlierRow]] = {}
    for row in sorted(rows, key=_nearness):
        machines.setdefault(row.machine_id, {}).setdefault(words.series_key(row.series), row)
    return sorted((list(series.values()) for series in machines.values()), key=lambda group: -len(group))


def outlier_sentence(rows: Sequence[OutlierRow], texts: Texts) -> str:
    """Such as "11 % slower than the 7 other M2 Max on the same versions", and in what else."""
    first, *further = rows
    said = texts.say(
        "fleet.outlier_item",
        difference=difference(first.ratio, first.series, texts),
        others=first.others,
        chip=first.variant.chip.removeprefix("Apple "),
        measured=words.measured(first.series, texts),
    )
    if not further:
        return said
    named = words.names(
        (words.figure(row.series, row.ratio, texts) for row in further), texts, most=MOST_FURTHER
    )
    return texts.say("fleet.outlier_further", sentence=said, further=named)


def _blocks(answer: GetFleetReportResponse, texts: Texts) -> Iterator[Block]:
    items = [
        _item(group, texts)
        for given in words.REAL
        for group in by_machine(row for row in answer.outliers if row.judgement == given)
    ]
    yield from words.bullets(items, texts)
    others = [row for row in answer.outliers if row.judgement not in words.REAL]
    if others:
        machines = words.names((row.hostname for row in others), texts)
        yield Paragraph(texts.say("fleet.outliers_inconclusive", count=len(others), machines=machines))


def _item(rows: Sequence[OutlierRow], texts: Texts) -> str:
    first = rows[0]
    versions = words.names(
        (f"{words.package_name(name)} {first.versions[name]}" for name in sorted(first.versions, key=_rank)),
        texts,
        most=MOST_VERSIONS,
    )
    said = texts.say(
        "fleet.outlier_versions" if versions else "fleet.outlier_plain",
        machine=first.hostname,
        sentence=outlier_sentence(rows, texts),
        **({"versions": versions} if versions else {}),
    )
    return texts.say("fleet.judged", judgement=words.judgement(first.judgement, texts), sentence=said)


def _rank(name: str) -> tuple[int, str]:
    return FIRST.index(name) if name in FIRST else len(FIRST), name


def _nearness(row: OutlierRow) -> float:
    return -abs(math.log(row.ratio)) if row.ratio > 0 else -math.inf
