"""What each kind of record leaves, worked out row by row and field by field.

The collector does the same in whole columns; here is the plain way, to hold it against.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import environment_pb2, machine_pb2, record_pb2, result_pb2, run_pb2
from llmenv_collector import clock
from llmenv_collector.delivery.fields import optional, status_word, time_of, word

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from llmenv_collector.delivery.ingest import Arrival

Row = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Origin:
    """Where and when a record comes from."""

    record_id: str
    machine_id: str
    spool_id: str
    sequence: int
    measured_at: int | None
    received_at: int


def record_row(record: record_pb2.Record, origin: Origin) -> Row:
    return "record", {
        "record_id": origin.record_id,
        "spool_id": origin.spool_id,
        "sequence": origin.sequence,
        "kind": record.WhichOneof("kind") or "unknown",
        "machine_id": origin.machine_id,
        "measured_at": origin.measured_at,
        "clock_offset_seconds": record.clock_offset_seconds,
        "received_at": origin.received_at,
    }


def raw_row(serialised: bytes, origin: Origin, *, protocol_revision: int) -> Row:
    return "record_raw", {
        "record_id": origin.record_id,
        "spool_id": origin.spool_id,
        "sequence": origin.sequence,
        "machine_id": origin.machine_id,
        "protocol_revision": protocol_revision,
        "record": serialised,
        "received_at": origin.received_at,
    }


def of_run_started(started: record_pb2.RunStarted, origin: Origin) -> Iterator[Row]:
    run = started.run
    yield from of_machine(run.machine, origin.machine_id)
    yield from of_environment(run.environment, origin)
    yield (
        "run",
        {
            "record_id": origin.record_id,
            "run_id": run.run_id,
            "machine_id": origin.machine_id,
            "environment_id": environment_id(run.environment),
            "environment_name": run.environment.name,
            "suite": run.suite,
            "suite_version": run.suite_version,
            "run_trigger": word(run_pb2.Trigger, "TRIGGER_", run.trigger),
            "device": run.device,
            "started_at": time_of(run, "started_at"),
            "agent_version": run.agent_version,
            "schedule_name": run.schedule_name,
            "schedule_id": run.schedule_id or None,
            **{name: getattr(run.machine, name) for name in FACT_COLUMNS},
            "gpu_cores": optional(run.machine, "gpu_cores"),
            "memory_bytes": optional(run.machine, "memory_bytes"),
            "message": run_alone(run).SerializeToString(),
        },
    )


def of_check_started(started: record_pb2.CheckStarted, origin: Origin) -> Iterator[Row]:
    yield (
        "check_start",
        {
            "record_id": origin.record_id,
            "run_id": started.run_id,
            "result_id": started.result_id,
            "machine_id": origin.machine_id,
            "check_name": started.check_name,
            "timeout_seconds": started.timeout_seconds,
            "measured_at": origin.measured_at,
        },
    )


def of_check_finished(finished: record_pb2.CheckFinished, origin: Origin) -> Iterator[Row]:
    result = finished.result
    yield result_row(finished, origin)
    yield from of_cases(result.cases, origin, run_id=finished.run_id, result_id=result.result_id)
    yield from of_observations(result, origin, result_id=result.result_id, case_name=None)
    yield from of_variables(result, origin)
    yield from of_remedy_trials(
        result.remedy_trials, origin, run_id=finished.run_id, result_id=result.result_id
    )
    for expectation in result.expectations:
        yield (
            "expectation",
            {
                "record_id": origin.record_id,
                "result_id": result.result_id,
                "machine_id": origin.machine_id,
                **{
                    name: getattr(expectation, name)
                    for name in ("name", "met", "expected", "observed", "source")
                },
            },
        )
    for moment in ("before", "after"):
        if result.HasField(f"conditions_{moment}"):  # type: ignore[arg-type]  # both names are fields
            yield condition_row(getattr(result, f"conditions_{moment}"), origin, result.result_id, moment)


def result_row(finished: record_pb2.CheckFinished, origin: Origin) -> Row:
    result = finished.result
    return "result", {
        "record_id": origin.record_id,
        "sequence": origin.sequence,
        "run_id": finished.run_id,
        "result_id": result.result_id,
        "machine_id": origin.machine_id,
        "check_name": result.check_name,
        "definition_hash": result.definition_hash,
        "parameters_json": result.parameters_json,
        "device": result.device,
        "status": status_word(result.status),
        "reason": result.reason.text,
        "cause": result.reason.template or result.reason.text,
        "remedy_id": result.remedy_id,
        "seed": result.seed,
        "error_type": result.error.type,
        "error_missing": result.error.missing,
        "exit_code": optional(result.process_end, "exit_code"),
        "signal_number": optional(result.process_end, "signal_number"),
        "process_peak_bytes": result.peak_memory.process_bytes or None,
        "accelerator_allocated_bytes": result.peak_memory.accelerator_allocated_bytes or None,
        "accelerator_driver_bytes": result.peak_memory.accelerator_driver_bytes or None,
        "import_seconds": result.import_seconds,
        "run_seconds": result.run_seconds,
        "wall_seconds": result.wall_seconds,
        "started_at": time_of(result, "started_at"),
        "measurements_withheld": result.measurements_withheld.text,
        "log_tail": result.log_tail,
        "message": remainder(result, *RESULT_ELSEWHERE).SerializeToString(),
    }


def of_case_batch(batch: record_pb2.CaseBatch, origin: Origin) -> Iterator[Row]:
    yield from of_cases(batch.cases, origin, run_id=batch.run_id, result_id=batch.result_id)


def of_cases(
    cases: Iterable[result_pb2.Case], origin: Origin, *, run_id: str, result_id: str
) -> Iterator[Row]:
    for position, case in enumerate(cases):
        yield (
            "result_case",
            {
                "record_id": origin.record_id,
                "sequence": origin.sequence,
                "position": position,
                "run_id": run_id,
                "result_id": result_id,
                "machine_id": origin.machine_id,
                "name": case.name,
                "parameters_json": case.parameters_json,
                "status": status_word(case.status),
                "reason": case.reason.text,
                "remedy_id": case.remedy_id,
                "duration_seconds": case.duration_seconds,
                "message": remainder(case, *CASE_ELSEWHERE).SerializeToString(),
            },
        )
        yield from of_observations(case, origin, result_id=result_id, case_name=case.name)


def of_observations(
    observed: result_pb2.Result | result_pb2.Case, origin: Origin, *, result_id: str, case_name: str | None
) -> Iterator[Row]:
    """Measurements and facts, of a whole check or of one case."""
    key = {
        "record_id": origin.record_id,
        "result_id": result_id,
        "machine_id": origin.machine_id,
        "case_name": case_name,
    }
    for measurement in observed.measurements:
        yield (
            "measurement",
            {
                **key,
                **{name: getattr(measurement, name) for name in ("name", "unit", "value", "direction")},
                "trials": list(measurement.trials),
                "warmups": list(measurement.warmups),
                "stability": stability_word(measurement.stability),
            },
        )
    for fact in observed.facts:
        values = {name: optional(fact, name) for name in ("text", "number", "flag")}
        yield "fact", {**key, "name": fact.name, **values, "unit": fact.unit}


def stability_word(stability: result_pb2.Stability.ValueType) -> str | None:
    """None where the series was not judged."""
    return word(result_pb2.Stability, "STABILITY_", stability) if stability else None


def of_variables(result: result_pb2.Result, origin: Origin) -> Iterator[Row]:
    for name, value in sorted(result.environment_variables.items()):
        yield (
            "result_variable",
            {
                "record_id": origin.record_id,
                "result_id": result.result_id,
                "machine_id": origin.machine_id,
                "name": name,
                "value": value,
            },
        )


def of_remedy_tried(tried: record_pb2.RemedyTried, origin: Origin) -> Iterator[Row]:
    yield from of_remedy_trials([tried.trial], origin, run_id=tried.run_id, result_id=tried.result_id)


def of_remedy_trials(
    trials: Iterable[result_pb2.RemedyTrial], origin: Origin, *, run_id: str, result_id: str
) -> Iterator[Row]:
    for position, trial in enumerate(trials):
        yield (
            "remedy_trial",
            {
                "record_id": origin.record_id,
                "sequence": origin.sequence,
                "position": position,
                "run_id": run_id,
                "result_id": result_id,
                "machine_id": origin.machine_id,
                "remedy_id": trial.remedy_id,
                "environment_variables": sorted(trial.environment_variables.items()),
                "device": trial.device,
                "status": status_word(trial.status),
                "reason": trial.reason.text,
                "case_names": list(trial.case_names),
                "wall_seconds": trial.wall_seconds,
                "message": trial.SerializeToString(),
            },
        )


def of_run_finished(finished: record_pb2.RunFinished, origin: Origin) -> Iterator[Row]:
    yield (
        "run_end",
        {
            "record_id": origin.record_id,
            "run_id": finished.run_id,
            "machine_id": origin.machine_id,
            "outcome": finished.outcome,
            "ended_at": time_of(finished, "ended_at"),
            "wall_seconds": finished.wall_seconds,
            "message": finished.SerializeToString(),
        },
    )


def of_environment_snapshot(snapshot: record_pb2.EnvironmentSnapshot, origin: Origin) -> Iterator[Row]:
    yield from of_machine(snapshot.machine, origin.machine_id)
    yield from of_environment(snapshot.environment, origin)


def of_command_outcome(outcome: record_pb2.CommandOutcome, origin: Origin) -> Iterator[Row]:
    yield (
        "command_outcome",
        {
            "record_id": origin.record_id,
            "command_id": outcome.command_id,
            "machine_id": origin.machine_id,
            "state": word(record_pb2.CommandOutcome.State, "STATE_", outcome.state),
            "run_id": outcome.run_id or None,
            "reason": outcome.reason,
            "measured_at": origin.measured_at,
        },
    )


def of_suite_waited(waited: record_pb2.SuiteWaited, origin: Origin) -> Iterator[Row]:
    yield (
        "suite_wait",
        {
            "record_id": origin.record_id,
            "machine_id": origin.machine_id,
            "suite": waited.suite,
            "due_at": time_of(waited, "due_at"),
            "waited_seconds": waited.waited_seconds,
            "reason": waited.reason.text,
            "is_given_up": waited.is_given_up,
            "measured_at": origin.measured_at,
            "schedule_name": waited.schedule_name,
        },
    )


def of_schedule_change(change: record_pb2.ScheduleChange, origin: Origin) -> Iterator[Row]:
    yield (
        "schedule_change",
        {
            "record_id": origin.record_id,
            "sequence": origin.sequence,
            "machine_id": origin.machine_id,
            "schedule_id": change.schedule_id,
            "schedule_name": change.schedule_name,
            "state": word(record_pb2.ScheduleChange.State, "STATE_", change.state),
            "reason": change.reason,
            "measured_at": origin.measured_at,
        },
    )


def of_quarantine_change(change: record_pb2.QuarantineChange, origin: Origin) -> Iterator[Row]:
    yield (
        "quarantine_change",
        {
            "record_id": origin.record_id,
            "sequence": origin.sequence,
            "machine_id": origin.machine_id,
            "check_name": change.check_name,
            "environment_name": change.environment_name,
            "is_quarantined": change.is_quarantined,
            "reason": change.reason.text,
            "until": time_of(change, "until"),
            "measured_at": origin.measured_at,
        },
    )


def of_tombstone(tombstone: record_pb2.Tombstone, origin: Origin) -> Iterator[Row]:
    yield (
        "tombstone",
        {
            "record_id": origin.record_id,
            "spool_id": origin.spool_id,
            "machine_id": origin.machine_id,
            "first_sequence": tombstone.first_sequence,
            "last_sequence": tombstone.last_sequence,
            "dropped_records": tombstone.dropped_records,
            "reason": tombstone.reason,
        },
    )


def of_spool_forked(_forked: record_pb2.SpoolForked, _origin: Origin) -> Iterator[Row]:
    """It is kept with the watermark of its spool."""
    return iter(())


OF_KIND: dict[str, Callable[[Any, Origin], Iterator[Row]]] = {
    "run_started": of_run_started,
    "check_started": of_check_started,
    "check_finished": of_check_finished,
    "case_batch": of_case_batch,
    "remedy_tried": of_remedy_tried,
    "run_finished": of_run_finished,
    "environment_snapshot": of_environment_snapshot,
    "command_outcome": of_command_outcome,
    "suite_waited": of_suite_waited,
    "schedule_change": of_schedule_change,
    "quarantine_change": of_quarantine_change,
    "tombstone": of_tombstone,
    "spool_forked": of_spool_forked,
}


def run_alone(run: run_pb2.Run) -> run_pb2.Run:
    """Packages are stored once for all runs of an environment, results as records of their own bring them."""
    copy = run_pb2.Run()
    copy.CopyFrom(run)
    del copy.results[:]
    del copy.environment.packages[:]
    if not run.HasField("environment"):
        copy.ClearField("environment")
    return copy


def remainder(message: Any, *elsewhere: str) -> Any:
    """What has columns or rows of its own is left out."""
    copy = type(message)()
    copy.CopyFrom(message)
    for name in elsewhere:
        copy.ClearField(name)
    return copy


RESULT_ELSEWHERE = (
    *("result_id", "check_name", "definition_hash", "parameters_json", "device", "remedy_id", "seed"),
    *("import_seconds", "run_seconds", "wall_seconds", "log_tail", "conditions_before", "conditions_after"),
    *("measurements", "facts", "expectations", "cases", "remedy_trials", "environment_variables"),
)
CASE_ELSEWHERE = ("name", "parameters_json", "remedy_id", "duration_seconds", "measurements", "facts")


FACT_COLUMNS = ("hostname", "chip", "os_name", "os_version", "os_build", "is_apple_silicon")


def of_machine(machine: machine_pb2.Machine, machine_id: str) -> Iterator[Row]:
    """Nothing when the facts are empty: they must not wipe out better ones."""
    if machine.ByteSize() == 0:
        return
    texts = (*FACT_COLUMNS, "model_identifier", "model_name", "architecture")
    yield (
        "machine",
        {
            "machine_id": machine_id,
            **{name: getattr(machine, name) for name in texts},
            "gpu_cores": optional(machine, "gpu_cores"),
            "memory_bytes": optional(machine, "memory_bytes"),
            "message": machine.SerializeToString(),
        },
    )


def of_environment(environment: environment_pb2.Environment, origin: Origin) -> Iterator[Row]:
    """What it consists of, and that it was seen on this machine."""
    identity = environment_id(environment)
    yield (
        "environment",
        {
            "environment_id": identity,
            "python_version": environment.python_version,
            "python_implementation": environment.python_implementation,
            "python_architecture": environment.python_architecture,
        },
    )
    for position, package in enumerate(environment.packages):
        yield (
            "environment_package",
            {
                "environment_id": identity,
                "position": position,
                **{name: getattr(package, name) for name in ("name", "version", "origin")},
            },
        )
    yield (
        "environment_sighting",
        {
            "record_id": origin.record_id,
            "machine_id": origin.machine_id,
            "environment_id": identity,
            **{
                name: getattr(environment, name)
                for name in ("environment_hash", "name", "kind", "python_path")
            },
            "measured_at": origin.measured_at,
        },
    )


def environment_id(environment: environment_pb2.Environment) -> str:
    """SHA-256 over what the environment consists of, first 16 hex digits.

    Computed here and not taken from the agent, so that two sets of packages
    can never share their rows.
    """
    content = environment_pb2.Environment(
        python_version=environment.python_version,
        python_implementation=environment.python_implementation,
        python_architecture=environment.python_architecture,
        packages=environment.packages,
    )
    return hashlib.sha256(content.SerializeToString(deterministic=True)).hexdigest()[:16]


def condition_row(conditions: machine_pb2.Conditions, origin: Origin, result_id: str, moment: str) -> Row:
    optionals = (
        "low_power_mode",
        "available_memory_bytes",
        "swap_used_bytes",
        "load_1m",
        "uptime_seconds",
        "free_disk_bytes",
        "other_gpu_processes",
    )
    texts = ("power_source", "thermal_pressure", "memory_pressure")
    return "condition", {
        "record_id": origin.record_id,
        "result_id": result_id,
        "machine_id": origin.machine_id,
        "moment": moment,
        **{name: getattr(conditions, name) for name in texts},
        **{name: optional(conditions, name) for name in optionals},
        "session_type": word(machine_pb2.SessionType, "SESSION_TYPE_", conditions.session_type),
    }


def rows_of(arrival: Arrival, *, is_whole: bool = True) -> list[Row]:
    """All rows of an acceptable record."""
    record = record_pb2.Record.FromString(arrival.record)
    origin = Origin(
        record_id=record.record_id,
        machine_id=arrival.machine_id,
        spool_id=arrival.spool_id,
        sequence=arrival.sequence,
        measured_at=clock.from_timestamp(record.measured_at) if record.HasField("measured_at") else None,
        received_at=arrival.received_at,
    )
    kind = record.WhichOneof("kind")
    rows = [] if kind == "tombstone" else [record_row(record, origin)]
    if kind is None or not is_whole or arrival.protocol_revision > 1:
        rows.append(raw_row(arrival.record, origin, protocol_revision=arrival.protocol_revision))
    if kind is not None:
        rows.extend(OF_KIND[kind](getattr(record, kind), origin))
    return rows
