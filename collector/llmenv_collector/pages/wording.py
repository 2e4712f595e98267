"""How pages name checks, verdicts, machines, chips and times, in one language."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING

from llmenv.catalog import known_issues
from llmenv.catalog.sources import source_of
from llmenv.catalog.status import WORDS
from llmenv.catalog.texts import texts as texts_in

from llmenv_collector.pages import figures
from llmenv_collector.pages.blocks import Cell

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from google.protobuf.timestamp_pb2 import Timestamp
    from llmenv.catalog.known_issues import KnownIssue
    from llmenv.fleet.v1.fleet_report_pb2 import Estimate, Judgement, Series, Variant
    from llmenv.fleet.v1.result_pb2 import Sentence, Status

SIGNS = {
    "pass": "✓",
    "warn": "!",
    "fail": "✗",
    "error": "E",
    "timeout": "T",
    "crash": "C",
    "skip": "○",
    "unknown": "?",
}
JUDGEMENT_MARKS = ("", "better", "worse", "same", "inconclusive")
JUDGEMENT_SIGNS = ("", "▲", "▼", "■", "○")
NAMES_IN_A_ROW = 4
NAMES_UNFOLDED = 25


class Wording:
    """What one language says."""

    def __init__(self, language: str, *, is_live: bool = False) -> None:
        """A live page leads to those of machines; a file has nowhere to lead."""
        self.language = language
        self._is_live = is_live
        self.texts = texts_in(language)
        self.say = self.texts.say

    def column(self, name: str) -> str:
        return self.say(f"pages_column.{name}")

    def check(self, name: str) -> str:
        return self.texts.name_of("check", name)

    def word(self, word: str) -> str:
        return self.say(f"status.{word}")

    def verdict(self, word: str, *, key: float | None = None) -> Cell:
        """A status with its mark; what is worst is sorted first."""
        order = float(SEVERITY.index(word)) if key is None else key
        return Cell(self.word(word), key=order, mark=f"v-{word}", sign=SIGNS[word])

    def status(self, status: Status.ValueType) -> Cell:
        """That of a newer agent is unknown here."""
        return self.verdict(WORDS.get(status, "unknown"))

    def judgement(self, judgement: Judgement.ValueType, *, said: str = "") -> Cell:
        """A judgement with its mark; what is worse is sorted first."""
        known = judgement if 0 <= judgement < len(JUDGEMENT_MARKS) else 0
        return Cell(
            said or self.say(f"pages_judgement.{known}"),
            key=float((4, 1, 0, 3, 2)[known]),
            mark=f"j-{JUDGEMENT_MARKS[known]}" if known else "",
            sign=JUDGEMENT_SIGNS[known],
        )

    def counts(self, counts: Mapping[str, int]) -> str:
        """Such as "pass 12, fail 1"."""
        said = [f"{self.word(word)} {counts[word]:,}" for word in SIGNS if counts.get(word)]
        return self.listed(said)

    def sentence(self, sentence: Sentence) -> str:
        return self.texts.sentence(sentence)

    def moment(self, timestamp: Timestamp) -> str:
        """In UTC, to the minute."""
        return f"{self.moment_in_column(timestamp)} UTC"

    def moment_in_column(self, timestamp: Timestamp) -> str:
        return f"{moment_of(timestamp):%Y-%m-%d %H:%M}"

    def when(self, timestamp: Timestamp) -> Cell:
        return Cell(self.moment_in_column(timestamp), key=float(timestamp.seconds))

    def listed(self, names: Iterable[str]) -> str:
        return self.say("word.list_separator").join(names)

    def names(self, names: Sequence[str]) -> Cell:
        """The first few, and the rest to unfold; sorted by how many there are."""
        if len(names) <= NAMES_IN_A_ROW:
            return Cell(self.listed(names), key=float(len(names)))
        first = self.listed(names[: NAMES_IN_A_ROW - 1])
        rest = len(names) - NAMES_IN_A_ROW + 1
        return Cell(
            self.say("pages.and_more", names=first, count=rest),
            key=float(len(names)),
            more=self.unfolded(names),
            more_label=self.say("pages.more", count=len(names)),
        )

    def unfolded(self, names: Sequence[str]) -> str:
        """As many as somebody reads; the rest as a count, so that no cell outweighs the page."""
        if len(names) <= NAMES_UNFOLDED:
            return self.listed(names)
        first = self.listed(names[:NAMES_UNFOLDED])
        return self.say("pages.and_more", names=first, count=len(names) - NAMES_UNFOLDED)

    def series(self, series: Series) -> str:
        """What was measured, within its check: "tokens per second, fp16/1024"."""
        name = self.texts.name_of("name", series.measurement)
        return self.listed([name, series.case_name] if series.case_name else [name])

    def series_of_check(self, series: Series) -> str:
        said = self.say(
            "pages.measured_on",
            check=self.check(series.check_name),
            series=self.series(series),
            device=series.device,
        )
        return self.with_source(said, series)

    def with_source(self, said: str, series: Series) -> str:
        """What was imported says from where."""
        source = source_of(series.definition_hash)
        return self.say("imports.measured_by", what=said, source=source) if source else said

    def told_apart(self, several: Sequence[Series]) -> list[str]:
        """The same of each, with what distinguishes those that would be called alike."""
        names = [self.series_of_check(series) for series in several]
        variants: dict[str, set[tuple[str, str]]] = {}
        for name, series in zip(names, several, strict=True):
            variants.setdefault(name, set()).add((series.parameters_json, series.definition_hash))
        return [
            name if len(variants[name]) == 1 else self.listed([name, distinction(series, variants[name])])
            for name, series in zip(names, several, strict=True)
        ]

    def check_on(self, name: str, device: str) -> str:
        return self.say("pages.checked_on", check=self.check(name), device=device)

    def quantity(self, value: float, series: Series) -> str:
        return figures.quantity(value, series.unit, self.texts)

    def interval(self, estimate: Estimate, series: Series) -> str:
        low, high = (self.quantity(value, series) for value in (estimate.low, estimate.high))
        return self.say("fleet.range", low=low, high=high)

    def ratio_interval(self, estimate: Estimate) -> str:
        return self.say("fleet.range", low=figures.percent(estimate.low), high=figures.percent(estimate.high))

    def variant(self, variant: Variant) -> str:
        """A chip with its GPU cores and memory, as far as they are known."""
        parts = [variant.chip]
        if variant.HasField("gpu_cores"):
            parts.append(self.say("header.gpu_cores", count=variant.gpu_cores))
        if variant.HasField("memory_bytes"):
            parts.append(figures.memory(variant.memory_bytes))
        return self.listed(parts)

    def variant_in_chart(self, variant: Variant) -> str:
        """The same in as few letters as a phone has room for."""
        parts = [variant.chip.removeprefix("Apple ")]
        if variant.HasField("gpu_cores"):
            parts.append(self.say("pages_chips.cores", count=variant.gpu_cores))
        if variant.HasField("memory_bytes"):
            parts.append(figures.memory(variant.memory_bytes))
        return self.listed(parts)

    def package(self, name: str) -> str:
        """macOS is compared as packages are."""
        return "macOS" if name == "macos" else name

    def packages(self, names: Iterable[str]) -> str:
        return self.listed(self.package(name) for name in names)

    def machine(self, machine_id: str, hostname: str) -> Cell:
        """Its label, which leads to its own page where there is one."""
        href = f"/machines/{machine_id}?lang={self.language}" if self._is_live and machine_id else ""
        return Cell(hostname or machine_id, href=href)

    def issue(self, issue_id: str) -> KnownIssue | None:
        return known_issues.find(issue_id) if issue_id else None

    def remedy(self, issue_id: str) -> str:
        """What helps, by the catalogue; its bare id where the catalogue does not know it."""
        issue = self.issue(issue_id)
        return f"{issue.id}: {self.texts.pick(issue.remedy)}" if issue else issue_id


SEVERITY = ("crash", "timeout", "error", "fail", "unknown", "warn", "skip", "pass")
"""Status words, what is most urgent first."""


def moment_of(timestamp: Timestamp) -> dt.datetime:
    """The epoch for what no calendar holds."""
    try:
        return timestamp.ToDatetime()
    except (ValueError, OverflowError):
        return dt.datetime(1970, 1, 1)  # noqa: DTZ001 (naive as ToDatetime's, in UTC)


def distinction(series: Series, variants: set[tuple[str, str]]) -> str:
    """The parameters where they differ, else the definition."""
    if len({parameters_json for parameters_json, _ in variants}) == 1:
        return series.definition_hash[:8]
    return parameters(series)


def parameters(series: Series) -> str:
    """In one line, names sorted."""
    try:
        values = json.loads(series.parameters_json or "{}")
    except ValueError:
        return series.parameters_json
    if not isinstance(values, dict):
        return series.parameters_json
    return ", ".join(f"{name}={value}" for name, value in sorted(values.items()))
