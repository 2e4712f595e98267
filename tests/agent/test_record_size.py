"""A result of any size becomes records of at most 1 MiB, and what was cut is stated."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from llmenv.fleet.v1 import record_pb2, result_pb2
from llmenv.ids import new_id
from llmenv_agent.definitions import read_definition
from llmenv_agent.record_size import MOST_RECORD_BYTES, ResultRecords, split
from llmenv_agent.runner import run_check
from llmenv_agent.targets import target_from

FAULTS = Path(__file__).parent / "fault_checks"


def sizes(records: ResultRecords) -> list[int]:
    """Serialised sizes of the records, with everything a spool puts around them."""
    around = {"record_id": new_id(), "machine_id": new_id(), "clock_offset_seconds": 0.5}
    wrapped = [record_pb2.Record(check_finished=records.finished, **around)]
    wrapped += [record_pb2.Record(case_batch=batch, **around) for batch in records.batches]
    for record in wrapped:
        record.measured_at.GetCurrentTime()
    return [record.ByteSize() for record in wrapped]


def test_small_result_is_one_record_and_whole() -> None:
    """What fits is not touched."""
    result = result_pb2.Result(result_id=new_id(), log_tail="x" * 60_000)
    result.cases.add(name="one")
    records = split("a run", result)
    assert records.batches == ()
    assert records.finished.result == result


def test_result_of_10_mb_arrives_in_records() -> None:
    """A real check with 4,000 rows of 250 trials: all rows arrive, in order, with their trials."""
    definition = read_definition(FAULTS / "large_result.py")
    result = run_check(definition, target=target_from(sys.executable), device="cpu")
    assert result.ByteSize() > 10_000_000
    records = split("a run", result)
    assert max(sizes(records)) <= MOST_RECORD_BYTES
    whole = records.whole()
    assert [case.name for case in whole.cases] == [f"row {number}" for number in range(4000)]
    assert list(whole.cases[17].measurements[0].trials) == list(result.cases[17].measurements[0].trials)
    assert list(whole.cut) == ["raw trials of 1 measurements"]
    assert whole.measurements[0].value == result.measurements[0].value


def test_result_is_not_changed_by_splitting() -> None:
    """The caller's result stays as it was."""
    result = result_pb2.Result(log_tail="x" * 2_000_000)
    before = result.SerializeToString()
    split("a run", result)
    assert result.SerializeToString() == before


def test_cut_log_is_counted() -> None:
    """The log's end is kept, and the bytes before it are added to those cut before."""
    result = result_pb2.Result(log_tail="x" * 2_000_000 + "end", log_bytes_cut=5)
    kept = split("a run", result).finished.result
    assert kept.log_tail.endswith("xend")
    assert kept.log_bytes_cut + len(kept.log_tail) == 2_000_000 + 3 + 5
    assert list(kept.cut) == [f"{kept.log_bytes_cut - 5} bytes of the log"]


def test_cut_parameters_stay_json() -> None:
    """Half a JSON text is none: it becomes an empty object, and the verdict survives."""
    result = result_pb2.Result(parameters_json=json.dumps({"a": "x" * 2_000_000}), check_name="big")
    result.reason.text = "It failed."
    kept = split("a run", result).finished.result
    assert json.loads(kept.parameters_json) == {}
    assert (kept.check_name, kept.reason.text) == ("big", "It failed.")
    assert list(kept.cut) == ["the ends of 1 texts"]


def test_variables_and_trials_are_cut_after_longer_texts() -> None:
    """They go before facts do: a verdict can be understood without them, and says that they are gone."""
    result = result_pb2.Result(status=result_pb2.STATUS_FAIL)
    result.facts.extend(result_pb2.Fact(name=f"f{n}", text="t" * 600) for n in range(1_000))
    for number in range(1_000):
        result.environment_variables[f"MLX_{number}"] = "x" * 1_000
    kept = split("a run", result).finished.result
    assert len(kept.facts) == 1_000
    assert (dict(kept.environment_variables), list(kept.cut)) == ({}, ["1000 environment variables"])


LENGTHS = st.sampled_from([0, 3, 2_000, 300_000, 1_200_000])
COUNTS = st.sampled_from([0, 1, 50, 3_000])


@st.composite
def large_results(draw: st.DrawFn) -> result_pb2.Result:
    """A failed result with any of its parts large."""
    result = result_pb2.Result(result_id=new_id(), status=result_pb2.STATUS_FAIL)
    result.log_tail = "l" * draw(LENGTHS)
    result.error.traceback = "é" * draw(LENGTHS)
    result.reason.text = "r" * draw(LENGTHS)
    result.reason.values["value"] = "v" * draw(LENGTHS)
    result.facts.extend(result_pb2.Fact(name=f"f{n}", text="t" * 600) for n in range(draw(COUNTS)))
    for number in range(draw(COUNTS)):
        result.expectations.add(name=f"e{number}", observed="o" * 600)
    trials = [0.1] * draw(st.sampled_from([0, 5, 500]))
    result.measurements.extend(
        result_pb2.Measurement(name=f"m{n}", trials=trials) for n in range(draw(COUNTS))
    )
    for number in range(draw(COUNTS)):
        result.environment_variables[f"MLX_{number}"] = "x" * 1_000
    count, text_length = draw(st.sampled_from([(0, 0), (3_000, 10), (50, 200_000), (2, 1_200_000)]))
    for number in range(count):
        case = result.cases.add(name=f"c{number}", status=result_pb2.STATUS_PASS)
        case.facts.add(name="said", text="s" * text_length)
        case.reason.text = "w" * 200
    return result


@settings(max_examples=60, deadline=None)
@given(result=large_results())
def test_no_record_is_too_large_and_no_row_is_lost(result: result_pb2.Result) -> None:
    """Whatever is large in a result, every record fits, every row arrives, and each cut is stated."""
    records = split(new_id(), result)
    whole = records.whole()
    assert max(sizes(records)) <= MOST_RECORD_BYTES
    assert [case.name for case in whole.cases] == [case.name for case in result.cases]
    assert whole.status == result_pb2.STATUS_FAIL
    assert bool(whole.cut) == (whole != result)
