"""A collector whose disk is full starts all the same: people can ask it, and agents wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.fleet.v1.fleet_service_pb2_grpc import FleetServiceStub

from .conftest import RunningCollector

if TYPE_CHECKING:
    from pathlib import Path


def test_a_collector_without_room_starts_and_answers(tmp_path: Path) -> None:
    """Also when machines were enrolled that it has to make known to its database."""
    running = RunningCollector(tmp_path / "data")
    machine_id = running.enrol("studio-3").machine_id
    running.stop()
    running.flags = ("--min-free-mb", "999999999")
    running.start()
    metadata = [("authorization", f"Bearer {running.secret('--role', 'viewer')}")]
    with running.people_channel() as channel:
        answer = FleetServiceStub(channel).ListMachines(fleet.ListMachinesRequest(), metadata=metadata)
    assert [one.machine.machine_id for one in answer.machines] == [machine_id]
    assert running.stop() == 0
