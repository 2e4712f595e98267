"""How machines, chips, series, versions and judgements are named wherever the report speaks of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.catalog import known_issues
from llmenv.catalog.sources import source_of
from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_cli.render import numbers
from llmenv_cli.render.blocks import Bullets, Column, Grid, Paragraph
from llmenv_cli.render.fleet.difference import difference
from llmenv_cli.render.sections.wording import title

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from llmenv.catalog.texts import Texts

    from llmenv_cli.render.blocks import Block

JUDGEMENTS = {
    messages.JUDGEMENT_WORSE: "worse",
    messages.JUDGEMENT_BETTER: "better",
    messages.JUDGEMENT_SAME: "same",
    messages.JUDGEMENT_INCONCLUSIVE: "inconclusive",
}
Effect = messages.EffectRow | messages.VerdictEffectRow
REAL = (messages.JUDGEMENT_WORSE, messages.JUDGEMENT_BETTER)
# Names in one sentence, and rows of one table; what is left out is counted where it is.
MOST_NAMES = 8
MOST_ROWS = 40
MOST_SENTENCES = 20


def judgement(given: messages.Judgement.ValueType, texts: Texts) -> str:
    """A mark and the word, such as "✗ worse"."""
    return texts.say(f"judgement.{JUDGEMENTS.get(given, 'unjudged')}")


def names(
    of: Iterable[str], texts: Texts, *, most: int = MOST_NAMES, separator: str = "word.list_separator"
) -> str:
    """Each once, in order; the rest as a count."""
    unique = list(dict.fromkeys(of))
    shown = texts.say(separator).join(unique[:most])
    if len(unique) <= most:
        return shown
    return texts.say("word.and_more", names=shown, count=len(unique) - most)


def place(row: object, texts: Texts) -> str:
    """Such as "studio-3 (train, mps)"; of a row that has a series, the device is the series'."""
    series = getattr(row, "series", None)
    device = series.device if series is not None else getattr(row, "device", "")
    return texts.say(
        "word.place",
        machine=getattr(row, "hostname", ""),
        environment=getattr(row, "environment_name", ""),
        device=device,
    )


def measured(series: messages.Series, texts: Texts, *, with_device: bool = True) -> str:
    """Such as "Network training: steps per second (mps)"."""
    key = "word.measured_case" if series.case_name else "word.measured"
    said = texts.say(
        key,
        check=title(series.check_name, texts),
        case=series.case_name,
        measurement=texts.name_of("name", series.measurement),
    )
    said = texts.say("word.on_device", what=said, device=series.device) if with_device else said
    source = source_of(series.definition_hash)
    return texts.say("imports.measured_by", what=said, source=source) if source else said


def series_key(series: messages.Series) -> tuple[str, ...]:
    """What people take for the same series."""
    source = source_of(series.definition_hash)
    return series.check_name, series.case_name, series.measurement, series.device, source


def figure(series: messages.Series, ratio: float, texts: Texts) -> str:
    """Such as "Network training: steps per second (mps) 11 % slower"."""
    return texts.say(
        "todo.figure", measured=measured(series, texts), difference=difference(ratio, series, texts)
    )


def variant(chip: messages.Variant, texts: Texts) -> str:
    """Such as "Apple M2 Ultra, 60 GPU cores, 64 GiB"."""
    parts = [chip.chip]
    if chip.HasField("gpu_cores"):
        parts.append(texts.say("header.gpu_cores", count=chip.gpu_cores))
    if chip.HasField("memory_bytes"):
        parts.append(numbers.memory(chip.memory_bytes))
    return texts.say("word.list_separator").join(parts)


def short_variant(chip: messages.Variant) -> str:
    """The same for a column whose title says what stands where: "M2 Ultra, 60, 64 GiB"."""
    parts = [chip.chip.removeprefix("Apple ")]
    if chip.HasField("gpu_cores"):
        parts.append(str(chip.gpu_cores))
    if chip.HasField("memory_bytes"):
        parts.append(numbers.memory(chip.memory_bytes))
    return ", ".join(parts)


def package_name(package: str) -> str:
    return "macOS" if package == "macos" else package


def versions(row: Effect, texts: Texts) -> str:
    """Such as "torch 2.10.0 → 2.11.0"."""
    package = package_name(row.package)
    return texts.say("word.versions", package=package, before=row.baseline, after=row.candidate).strip()


def issue_words(issue_id: str, texts: Texts) -> tuple[str, str]:
    """Title and remedy of the catalogue; a word for it where a newer catalogue has more."""
    issue = known_issues.find(issue_id)
    if issue is None:
        return texts.say("fleet.issue_unknown"), ""
    return texts.pick(issue.title).rstrip(".。"), texts.pick(issue.remedy)


def severity_of(issue_id: str) -> int:
    """From 0, info, up; what a newer catalogue has may be the worst."""
    issue = known_issues.find(issue_id)
    severities = known_issues.SEVERITIES
    return severities.index(issue.severity) if issue is not None else len(severities)


def severity(issue_id: str, texts: Texts) -> str:
    issue = known_issues.find(issue_id)
    return texts.say(f"severity.{issue.severity}") if issue is not None else texts.say("word.unknown")


def column(
    key: str, texts: Texts, *, is_number: bool = False, wraps: bool = False, is_optional: bool = False
) -> Column:
    return Column(texts.say(f"column.{key}"), is_number, wraps, is_optional)


def table(columns: Sequence[Column], rows: Sequence[tuple[str, ...]], texts: Texts) -> Iterator[Block]:
    """The rows that fit a report, and how many are left out."""
    if rows:
        yield Grid(tuple(columns), tuple(rows[:MOST_ROWS]))
    if len(rows) > MOST_ROWS:
        yield Paragraph(texts.say("fleet.rows_left_out", count=len(rows) - MOST_ROWS))


def bullets(items: Sequence[str], texts: Texts) -> Iterator[Block]:
    """The same for a list of sentences."""
    if items:
        yield Bullets(tuple(items[:MOST_SENTENCES]))
    if len(items) > MOST_SENTENCES:
        yield Paragraph(texts.say("fleet.rows_left_out", count=len(items) - MOST_SENTENCES))
