"""The rows of a run: its start and end, the checks begun, and what it happened on."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from llmenv.fleet.v1 import machine_pb2, run_pb2

from llmenv_collector.delivery import messages
from llmenv_collector.delivery.fields import word
from llmenv_collector.delivery.messages import Messages, named

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FACTS = ("hostname", "chip", "os_name", "os_version", "os_build", "is_apple_silicon")
OPTIONAL_FACTS = ("gpu_cores", "memory_bytes")
ID_DIGITS = 16


def of_run_started(started: Messages) -> Iterator[tuple[str, pa.Table]]:
    run = started.part("run").keyed("record_id", "machine_id", "measured_at")
    yield from of_circumstances(run)
    yield (
        "run",
        run.keyed("record_id", "machine_id").table(
            environment_id=environment_ids(run.part("environment")),
            environment_name=run.value("environment.name"),
            run_trigger=named(run.value("trigger"), lambda number: word(run_pb2.Trigger, "TRIGGER_", number)),
            started_at=run.field("started_at"),
            schedule_id=none_if_empty(run.value("schedule_id")),
            **run.values("run_id", "suite", "suite_version", "device", "agent_version", "schedule_name"),
            **{name: run.value(f"machine.{name}") for name in FACTS},
            **{name: run.field(f"machine.{name}") for name in OPTIONAL_FACTS},
            # Packages are stored once for all runs of an environment; results come as records of their own.
            message=run.encoded(without=("environment.packages", "results")),
        ),
    )


def of_run_finished(finished: Messages) -> Iterator[tuple[str, pa.Table]]:
    yield (
        "run_end",
        finished.keyed("record_id", "machine_id").table(
            **finished.values("run_id", "outcome", "wall_seconds"),
            ended_at=finished.field("ended_at"),
            message=finished.encoded(),
        ),
    )


def of_check_started(started: Messages) -> Iterator[tuple[str, pa.Table]]:
    names = ("run_id", "result_id", "check_name", "timeout_seconds")
    yield (
        "check_start",
        started.keyed("record_id", "machine_id", "measured_at").table(**started.values(*names)),
    )


def of_environment_snapshot(snapshot: Messages) -> Iterator[tuple[str, pa.Table]]:
    yield from of_circumstances(snapshot.keyed("record_id", "machine_id", "measured_at"))


def of_circumstances(on: Messages) -> Iterator[tuple[str, pa.Table]]:
    """Of messages with a machine and an environment."""
    yield "machine", of_machines(on.within("machine").keyed("machine_id"))
    environment = on.part("environment")
    identities = environment_ids(environment)
    yield (
        "environment_sighting",
        environment.table(
            environment_id=identities,
            **environment.values("environment_hash", "name", "kind", "python_path"),
        ),
    )
    first = firsts(identities)
    environment, identities = environment.keyed().take(first), identities.take(first)
    yield (
        "environment",
        environment.table(
            environment_id=identities,
            **environment.values("python_version", "python_implementation", "python_architecture"),
        ),
    )
    packages = environment.each("packages", environment_id=identities)
    yield (
        "environment_package",
        packages.table(
            position=environment.positions("packages"), **packages.values("name", "version", "origin")
        ),
    )


def of_machines(machines: Messages) -> pa.Table:
    """Nothing of those whose facts are empty: they must not wipe out better ones."""
    said = machines.only(pc.greater(pc.binary_length(machines.encoded()), 0))
    return said.table(
        **said.values(*FACTS, "model_identifier", "model_name", "architecture"),
        **said.fields(*OPTIONAL_FACTS),
        message=said.encoded(),
    )


def of_known_machines(facts: Mapping[str, machine_pb2.Machine]) -> pa.Table:
    """What machines say of themselves, by their ids."""
    serialised = [each.SerializeToString() for each in facts.values()]
    keys = {"machine_id": pa.array(list(facts), pa.string())}
    return of_machines(messages.of_messages(machine_pb2.Machine.DESCRIPTOR, serialised, keys))


def environment_ids(environments: Messages) -> pa.Array:
    """SHA-256 over what each consists of, first 16 hex digits.

    Computed here and not taken from the agent, so that two sets of packages
    can never share their rows.
    """
    content = environments.encoded(without=("environment_hash", "name", "kind", "python_path", "variables"))
    return named(content, lambda each: hashlib.sha256(each).hexdigest()[:ID_DIGITS])


def firsts(column: pa.Array) -> pa.Array:
    """Of each value the first row that has it."""
    rows = pa.table({"value": column, "row": pa.array(range(len(column)), pa.int64())})
    return rows.group_by("value", use_threads=False).aggregate([("row", "min")])["row_min"].combine_chunks()


def none_if_empty(texts: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(texts, ""), None, texts)
