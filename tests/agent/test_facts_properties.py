"""Whatever a file holds, parsing it ends in an answer or in a sentence, and the answer is JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmenv.fleet.v1 import machine_pb2
from llmenv_agent.facts.document import json_document, json_stream, plist_document
from llmenv_agent.facts.observed import Observed, merge, unnamed_tiers
from llmenv_agent.facts.quantities import hexadecimal_data, leading_number, memory_bytes, whole
from llmenv_agent.facts.recording import KINDS, RecordingError, parse_recording, to_json

RECORDINGS = Path(__file__).resolve().parent.parent / "recordings"
TEXTS = {path: path.read_text("utf-8") for path in sorted(RECORDINGS.glob("*/*"))}
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def answer_or_sentence(kind: str, text: str) -> None:
    """Parse, and see that what comes out survives JSON without NaN and infinity."""
    try:
        answers = parse_recording(kind, text)
    except RecordingError:
        return
    for answer in answers:
        assert json.loads(json.dumps(to_json(answer), allow_nan=False)) == to_json(answer)


@given(kind=st.sampled_from(KINDS), text=st.text())
def test_arbitrary_text_raises_nothing(kind: str, text: str) -> None:
    """Text of any characters, for any kind."""
    answer_or_sentence(kind, text)


@given(
    path=st.sampled_from(sorted(TEXTS)),
    start=st.floats(0, 1),
    length=st.floats(0, 0.3),
    inserted=st.text(max_size=5) | st.integers(min_value=0).map(str),
)
def test_a_damaged_recording_raises_nothing(path: Path, start: float, length: float, inserted: str) -> None:
    """A real output with a piece cut out and something else, often a huge number, put in."""
    text = TEXTS[path]
    begin = int(start * len(text))
    damaged = text[:begin] + inserted + text[begin + int(length * len(text)) :]
    answer_or_sentence(path.parent.name, damaged)


@pytest.mark.parametrize("kind", ["system_profiler", "macmon", "mactop", "localscore"])
@given(value=JSON_VALUES)
def test_json_of_another_shape_raises_nothing(kind: str, value: object) -> None:
    """The right keys may hold anything."""
    keys = [
        *("SPHardwareDataType", "SPDisplaysDataType", "number_processors", "chip_type", "sppci_cores"),
        *("memory", "ram_total", "swap_used", "system_info", "p_core_count", "accelerator", "ram_gb", "type"),
    ]
    for document in (value, dict.fromkeys(keys, value), [dict.fromkeys(keys, dict.fromkeys(keys, value))]):
        answer_or_sentence(kind, json.dumps(document))


@given(tag=st.sampled_from(["real", "integer", "date", "data", "string", "nonsense"]), content=st.text())
def test_a_wrong_property_list_raises_nothing(tag: str, content: str) -> None:
    """Elements of a property list may be malformed, or hold markup."""
    answer_or_sentence(
        "powermetrics", f'<plist version="1.0"><dict><key>gpu</key><{tag}>{content}</{tag}></dict></plist>'
    )


def test_nesting_without_end_is_no_document() -> None:
    """A hundred thousand brackets end in an empty document, not in a recursion error."""
    assert json_document("[" * 100_000).value is None
    assert json_stream("[" * 100_000) == []
    assert plist_document("<plist>" + "<array>" * 100_000).value is None


@given(text=st.text())
def test_a_quantity_is_a_number_or_nothing(text: str) -> None:
    """No text makes a quantity raise or leave its range."""
    for value in (whole(text, bits=32), memory_bytes(text), leading_number(text), hexadecimal_data(text)):
        assert value is None or 0 <= value < 2**64


@given(value=st.integers(0, 2**32 - 1))
def test_what_fits_is_read_as_it_is(value: int) -> None:
    """A count and ioreg's little-endian data give the number that was written."""
    assert whole(str(value), bits=32) == value
    assert hexadecimal_data(f"<{value.to_bytes(4, 'little').hex()}>") == value
    assert whole(str(value + 2**32), bits=32) is None


def test_the_later_source_wins_and_tiers_do_not_add_up() -> None:
    """Merging replaces tiers as a whole, keeps what the later source lacks, and names them by the chip."""
    first = Observed(
        machine=machine_pb2.Machine(chip="Apple M1", gpu_cores=8, cpu_tiers=unnamed_tiers([1, 1]))
    )
    second = Observed(machine=machine_pb2.Machine(chip="Apple M3 Pro", cpu_tiers=unnamed_tiers([5, 6])))
    machine = merge(first, second).machine
    assert (machine.chip, machine.gpu_cores) == ("Apple M3 Pro", 8)
    assert [(tier.name, tier.cores) for tier in machine.cpu_tiers] == [("Performance", 5), ("Efficiency", 6)]
