"""The rows of what a run happened on: the machine, its environments, and the conditions around a check."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import environment_pb2, machine_pb2

from llmenv_collector.delivery.fields import optional, word

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv_collector.delivery.rows import Origin, Row

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
