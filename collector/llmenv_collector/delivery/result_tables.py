"""The rows of a result: its verdict, its cases, what it measured and found, and what surrounded it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from llmenv.fleet.v1 import machine_pb2, result_pb2

from llmenv_collector.delivery.fields import status_word, word
from llmenv_collector.delivery.messages import named

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv_collector.delivery.messages import Messages

OF_RESULT = ("record_id", "machine_id", "result_id")
OF_CASES = ("record_id", "sequence", "machine_id", "run_id", "result_id")
CONDITION_TEXTS = ("power_source", "thermal_pressure", "memory_pressure")
CONDITION_FIGURES = (
    "low_power_mode",
    "available_memory_bytes",
    "swap_used_bytes",
    "load_1m",
    "uptime_seconds",
    "free_disk_bytes",
    "other_gpu_processes",
)

RESULT_PLAIN = (
    *("check_name", "definition_hash", "parameters_json", "device", "remedy_id", "seed"),
    *("import_seconds", "run_seconds", "wall_seconds", "log_tail"),
)
CASE_PLAIN = ("name", "parameters_json", "remedy_id", "duration_seconds")
OBSERVED = ("measurements", "facts")
CASE_ELSEWHERE = (*CASE_PLAIN, *OBSERVED)
"""What has columns or rows of its own is not in the message beside them: see fleet/observed.py."""
RESULT_ELSEWHERE = (
    *RESULT_PLAIN,
    *OBSERVED,
    *("result_id", "expectations", "cases", "remedy_trials", "environment_variables"),
    *("conditions_before", "conditions_after"),
)


def of_check_finished(finished: Messages) -> Iterator[tuple[str, pa.Table]]:
    result = finished.part("result")
    ids = {"run_id": finished.value("run_id"), "result_id": result.value("result_id")}
    result = result.keyed("record_id", "sequence", "machine_id", **ids)
    yield "result", result_table(result)
    yield from of_cases(result.each("cases"), positions=result.positions("cases"))
    yield from of_trials(result.each("remedy_trials"), positions=result.positions("remedy_trials"))
    alone = result.keyed(*OF_RESULT)
    yield from of_observations(alone.keyed(*OF_RESULT, case_name=pa.nulls(len(alone), pa.string())))
    yield "result_variable", alone.entries("environment_variables")
    expectations = alone.each("expectations")
    yield (
        "expectation",
        expectations.table(**expectations.values("name", "met", "expected", "observed", "source")),
    )
    for moment in ("before", "after"):
        yield "condition", condition_table(alone.within(f"conditions_{moment}"), moment)


def of_case_batch(batch: Messages) -> Iterator[tuple[str, pa.Table]]:
    batch = batch.keyed("record_id", "sequence", "machine_id", **batch.values("run_id", "result_id"))
    yield from of_cases(batch.each("cases"), positions=batch.positions("cases"))


def of_remedy_tried(tried: Messages) -> Iterator[tuple[str, pa.Table]]:
    keys = tried.values("run_id", "result_id")
    trials = tried.part("trial").keyed("record_id", "sequence", "machine_id", **keys)
    yield from of_trials(trials, positions=pa.array([0] * len(trials), pa.uint32()))


def result_table(result: Messages) -> pa.Table:
    text, template = result.value("reason.text"), result.value("reason.template")
    memory = ("process_bytes", "accelerator_allocated_bytes", "accelerator_driver_bytes")
    process, allocated, driver = (none_if_zero(result.value(f"peak_memory.{name}")) for name in memory)
    return result.table(
        status=statuses(result),
        reason=text,
        cause=pc.if_else(pc.equal(template, ""), text, template),
        error_type=result.value("error.type"),
        error_missing=result.value("error.missing"),
        exit_code=result.field("process_end.exit_code"),
        signal_number=result.field("process_end.signal_number"),
        process_peak_bytes=process,
        accelerator_allocated_bytes=allocated,
        accelerator_driver_bytes=driver,
        started_at=result.field("started_at"),
        measurements_withheld=result.value("measurements_withheld.text"),
        message=result.encoded(without=RESULT_ELSEWHERE),
        **result.values(*RESULT_PLAIN),
    )


def of_cases(cases: Messages, *, positions: pa.Array) -> Iterator[tuple[str, pa.Table]]:
    yield (
        "result_case",
        cases.keyed(*OF_CASES).table(
            position=positions,
            status=statuses(cases),
            reason=cases.value("reason.text"),
            message=cases.encoded(without=CASE_ELSEWHERE),
            **cases.values(*CASE_PLAIN),
        ),
    )
    yield from of_observations(cases.keyed(*OF_RESULT, case_name=cases.value("name")))


def of_observations(observed: Messages) -> Iterator[tuple[str, pa.Table]]:
    """Measurements and facts, of whole checks or of single cases."""
    measurements = observed.each("measurements")
    yield (
        "measurement",
        measurements.table(
            **measurements.values("name", "unit", "value", "direction"),
            **measurements.fields("trials", "warmups"),
            stability=named(measurements.value("stability"), stability_word),
        ),
    )
    facts = observed.each("facts")
    yield "fact", facts.table(**facts.values("name", "unit"), **facts.fields("text", "number", "flag"))


def of_trials(trials: Messages, *, positions: pa.Array) -> Iterator[tuple[str, pa.Table]]:
    yield (
        "remedy_trial",
        trials.table(
            position=positions,
            status=statuses(trials),
            reason=trials.value("reason.text"),
            message=trials.encoded(),
            **trials.values("remedy_id", "device", "wall_seconds"),
            **trials.fields("environment_variables", "case_names"),
        ),
    )


def condition_table(conditions: Messages, moment: str) -> pa.Table:
    return conditions.table(
        moment=pa.repeat(moment, len(conditions)),
        session_type=named(
            conditions.value("session_type"),
            lambda number: word(machine_pb2.SessionType, "SESSION_TYPE_", number),
        ),
        **conditions.values(*CONDITION_TEXTS),
        **conditions.fields(*CONDITION_FIGURES),
    )


def statuses(judged: Messages) -> pa.Array:
    return named(judged.value("status"), status_word)


def stability_word(stability: int) -> str | None:
    """None where the series was not judged."""
    return word(result_pb2.Stability, "STABILITY_", stability) if stability else None


def none_if_zero(figures: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(figures, 0), None, figures)
