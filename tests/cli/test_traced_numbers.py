"""Every number of a report stands in the run that it reports, or follows from it by a stated rule."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format
from llmenv.catalog import known_issues
from llmenv.catalog.texts import tables, texts
from llmenv.fleet.v1.run_pb2 import Run
from llmenv_cli.render import numbers
from llmenv_cli.render.markdown import markdown
from llmenv_cli.render.run_report import whole_report

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNS = Path(__file__).resolve().parent / "runs"
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
# By formula, not from the run: planned memory has its own tests, and a count of statuses counts.
DERIVED = ("Summary", "What the memory is enough for", "Conclusions")
UNITS = ("byte", "s", "1", "FLOP/s", "other")


def values(content: Any) -> Iterator[float]:
    """Every number of a JSON document, also those written as text."""
    if isinstance(content, dict):
        for entry in content.values():
            yield from values(entry)
    elif isinstance(content, list):
        yield float(len(content))
        for entry in content:
            yield from values(entry)
    elif isinstance(content, str):
        yield from (float(number.replace(",", "")) for number in NUMBER.findall(content))
    elif isinstance(content, int | float) and not isinstance(content, bool):
        yield float(content)


def forms(value: float) -> Iterator[str]:
    """A number as a report may write it: in any unit, as a moment's part, or as memory."""
    english = texts("en")
    yield from (numbers.quantity(value, unit, english) for unit in UNITS)
    yield f"{value:.3g}"
    if math.isfinite(value) and value == int(value) and value >= 0:
        yield numbers.memory(int(value))


def written(text: str) -> set[str]:
    return {number.rstrip(",") for number in NUMBER.findall(text)}


def untraced(run_path: Path, document: str) -> set[str]:
    content = json.loads(run_path.read_text())
    known = written(run_path.read_text()) | written(json.dumps(tables("en"), ensure_ascii=False))
    known |= written(" ".join(map(str, known_issues.catalogue().values())))
    known |= {number for value in set(values(content)) for form in forms(value) for number in written(form)}
    places = {str(place) for place in range(1, len(content["results"]) + 1)}
    kept = re.sub(
        rf"^## (?:{'|'.join(DERIVED)})\n.*?(?=^## |\Z)", "", document, flags=re.DOTALL | re.MULTILINE
    )
    return written(kept) - known - places


@pytest.mark.parametrize("name", ["ready_m2_ultra", "not_ready", "correctness_h100"])
def test_every_number_is_traced_to_a_result(name: str) -> None:
    """What is written is in the run's JSON, in a text of ours, or one of its numbers in a unit."""
    path = RUNS / f"{name}.json"
    document = markdown(whole_report(json_format.Parse(path.read_text(), Run()), language="en"))
    allowed = written(_counts(path)) | written(_shares_of_memory(path))
    assert untraced(path, document) - allowed == set()


def test_number_from_nowhere_is_noticed() -> None:
    """The test above can fail."""
    path = RUNS / "correctness_h100.json"
    assert untraced(path, "It took 987.654321 s.") == {"987.654321"}


def _counts(path: Path) -> str:
    """Cases by group and status, which a table of many cases counts."""
    counts: dict[tuple[str, str, str], int] = {}
    for result in json.loads(path.read_text())["results"]:
        for case in result.get("cases", ()):
            for group in ("", case["name"].partition("/")[0]):
                for status in ("", case["status"]):
                    key = (result["check_name"], group, status)
                    counts[key] = counts.get(key, 0) + 1
    return " ".join(map(str, counts.values()))


def _shares_of_memory(path: Path) -> str:
    """Peaks of processes in per cent of the machine's memory, as the memory section says them."""
    run = json_format.Parse(path.read_text(), Run())
    peaks = (result.peak_memory.process_bytes for result in run.results)
    return " ".join(f"{100 * peak / run.machine.memory_bytes:.1f}" for peak in peaks)
