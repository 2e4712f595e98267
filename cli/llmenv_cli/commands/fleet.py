"""llmenv fleet: all machines at once."""

from __future__ import annotations

import datetime as dt
import sys
from typing import TYPE_CHECKING

import click

from llmenv_cli import options, settings
from llmenv_cli.commands.fleet_acknowledge import acknowledge
from llmenv_cli.commands.fleet_commands import cancel, commands, run, watch
from llmenv_cli.commands.fleet_delivery import delivery
from llmenv_cli.commands.fleet_notices import notices
from llmenv_cli.commands.fleet_report import compare, report, upgrade_check
from llmenv_cli.commands.fleet_schedule import schedule

if TYPE_CHECKING:
    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_service_pb2 import FleetMachine

    from llmenv_cli.render.listing import Listing, Row


@click.group()
def fleet() -> None:
    """Look at all machines, account for what they delivered, and have them run checks."""


for command in (
    report,
    acknowledge,
    notices,
    compare,
    upgrade_check,
    delivery,
    run,
    watch,
    cancel,
    commands,
    schedule,
):
    fleet.add_command(command)


@fleet.command()
@options.output_format
@options.language
def machines(*, output_format: str, language: str) -> None:
    """List the enrolled machines and when each was last seen."""
    from llmenv.catalog.texts import texts

    from llmenv_cli.client import FleetClient
    from llmenv_cli.credentials import Credentials
    from llmenv_cli.render.listing import write_listing

    with FleetClient(Credentials.load(), timeout_seconds=settings.load().timeout_seconds) as client:
        found = client.machines()
    write_listing(machines_listing(found, texts(language)), output_format=output_format, stream=sys.stdout)


def machines_listing(found: list[FleetMachine], texts: Texts) -> Listing:
    """A row a machine; programs get the bytes and ids that people are spared."""
    from llmenv_cli.render.listing import Field, Listing

    keys = (
        "machine_id",
        "hostname",
        "chip",
        "gpu_cores",
        "memory_bytes",
        "system",
        "connected",
        "last_seen_at",
        "last_run_at",
        "agent_version",
        "labels",
        "doubled_at",
        "state",
    )
    numeric = {"gpu_cores", "memory_bytes"}
    optional = {"gpu_cores", "system", "last_run_at", "agent_version", "labels", "doubled_at", "state"}
    fields = [
        Field(
            key=key,
            title=texts.say(f"column.{key}"),
            is_number=key in numeric,
            is_optional=key in optional,
        )
        for key in keys
    ]
    return Listing(fields=fields, rows=[_row(one, texts) for one in found], hidden=frozenset({"machine_id"}))


def _row(found: FleetMachine, texts: Texts) -> Row:
    from llmenv.fleet.v1.fleet_service_pb2 import MachineState

    from llmenv_cli.render import numbers
    from llmenv_cli.render.listing import Row
    from llmenv_cli.render.sections.wording import when_in_column

    machine = found.machine
    has = {key: found.HasField(key) for key in ("last_seen_at", "last_run_at", "doubled_at")}
    # Not said by a collector that has no states.
    state = MachineState.Name(found.state).removeprefix("MACHINE_STATE_").lower() if found.state else ""
    shown = {
        "state": texts.say(f"machine_state.{state}") if state not in {"", "enrolled"} else "",
        "connected": texts.say("word.mark_yes" if found.is_connected else "word.mark_neither"),
        **(
            {"memory_bytes": numbers.memory(machine.memory_bytes)} if machine.HasField("memory_bytes") else {}
        ),
        **({"last_seen_at": when_in_column(found.last_seen_at)} if has["last_seen_at"] else {}),
        **({"last_run_at": when_in_column(found.last_run_at)} if has["last_run_at"] else {}),
        **({"doubled_at": when_in_column(found.doubled_at)} if has["doubled_at"] else {}),
    }
    values = {
        "machine_id": machine.machine_id,
        "hostname": machine.hostname,
        "chip": machine.chip,
        "gpu_cores": machine.gpu_cores if machine.HasField("gpu_cores") else None,
        "memory_bytes": machine.memory_bytes if machine.HasField("memory_bytes") else None,
        "system": f"{machine.os_name} {machine.os_version}".strip(),
        "connected": found.is_connected,
        "last_seen_at": found.last_seen_at.ToDatetime(dt.UTC) if has["last_seen_at"] else None,
        "last_run_at": found.last_run_at.ToDatetime(dt.UTC) if has["last_run_at"] else None,
        "agent_version": found.agent_version,
        "labels": ", ".join(f"{key}={value}" for key, value in sorted(found.labels.items())),
        "doubled_at": found.doubled_at.ToDatetime(dt.UTC) if has["doubled_at"] else None,
        "state": state,
    }
    return Row(values=values, shown=shown)
