"""The gRPC services of a collector, put together of its parts.

They are the same on both ports, since who may call what is the policy's matter.
"""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING, Any

from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection
from llmenv.arrow_flight import flight_service_pb2
from llmenv.fleet.v1 import (
    agent_service_pb2,
    collector_service_pb2,
    enrollment_service_pb2,
    fleet_service_pb2,
    notice_service_pb2,
)
from llmenv.fleet.v1.agent_service_pb2_grpc import add_AgentServiceServicer_to_server
from llmenv.fleet.v1.collector_service_pb2_grpc import add_CollectorServiceServicer_to_server
from llmenv.fleet.v1.enrollment_service_pb2_grpc import add_EnrollmentServiceServicer_to_server
from llmenv.fleet.v1.fleet_service_pb2_grpc import add_FleetServiceServicer_to_server
from llmenv.fleet.v1.notice_service_pb2_grpc import add_NoticeServiceServicer_to_server

from llmenv_collector.delivery.house import House
from llmenv_collector.delivery.room import Room
from llmenv_collector.delivery.servicer import AgentServicer
from llmenv_collector.fleet.machine_selection import Selector
from llmenv_collector.fleet.servicer import FleetServicer
from llmenv_collector.fleet_commands.desk import CommandDesk
from llmenv_collector.flight import servicer as flight_servicer
from llmenv_collector.identity.lifetimes import Lifetimes
from llmenv_collector.identity.servicer import EnrollmentServicer
from llmenv_collector.identity.trust import Trust
from llmenv_collector.notices.desk import NoticeDesk
from llmenv_collector.notices.servicer import NoticeServicer
from llmenv_collector.serving import metrics
from llmenv_collector.serving.collector_servicer import CollectorServicer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmenv_collector.identity.authority import Authority
    from llmenv_collector.serving.collector import Collector

SERVICES = tuple(
    service.full_name
    for module in (
        agent_service_pb2,
        collector_service_pb2,
        enrollment_service_pb2,
        fleet_service_pb2,
        notice_service_pb2,
        flight_service_pb2,
        health_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
)


def add_services(
    server: Any,
    collector: Collector,
    fleet: FleetServicer,
    *,
    authority: Callable[[], Authority],
    agent_addresses: Sequence[str],
) -> Any:
    """All of them.  Returns the health service."""
    health = HealthServicer()
    add_AgentServiceServicer_to_server(agents(collector, fleet, authority), server)
    add_EnrollmentServiceServicer_to_server(enrollment(collector, authority, agent_addresses), server)
    add_FleetServiceServicer_to_server(fleet, server)
    flight_servicer.add_to_server(flight(collector), server)
    add_CollectorServiceServicer_to_server(
        CollectorServicer(collector.snapshots, draining=collector.streams.draining), server
    )
    add_NoticeServiceServicer_to_server(notices(collector, fleet), server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    reflection.enable_server_reflection((*SERVICES, reflection.SERVICE_NAME), server)
    return health


def fleet_servicer(collector: Collector, authority: Callable[[], Authority]) -> FleetServicer:
    store, identity, streams = collector.store, collector.identity, collector.streams
    selector = Selector(
        store=store, identity=identity, statements=collector.statements, label_copy=collector.label_copy
    )
    return FleetServicer(
        store=store,
        identity=identity,
        streams=streams,
        statements=collector.statements,
        label_copy=collector.label_copy,
        selector=selector,
        analysis=collector.analysis,
        desk=CommandDesk(store=store, identity=identity, streams=streams, selector=selector),
        authority=authority,
    )


def agents(collector: Collector, fleet: FleetServicer, authority: Callable[[], Authority]) -> AgentServicer:
    room = Room()
    observe(collector, room)
    house = House(
        store=collector.store,
        streams=collector.streams,
        room=room,
        sightings=collector.sightings,
        heartbeat_seconds=collector.settings.heartbeat_seconds,
        version=importlib.metadata.version("llmenv"),
        trust=Trust(authority, collector.identity),
        schedules=fleet.assignment,
    )
    return AgentServicer(house)


def observe(collector: Collector, room: Room) -> None:
    """What metrics say of the parts of this collector is read from them at each scrape."""
    store = collector.store
    metrics.read_when_asked(
        {
            metrics.QUEUE_RECORDS: lambda: room.filled.records,
            metrics.QUEUE_BYTES: lambda: room.filled.size,
            metrics.QUEUE_AGE: store.oldest_waiting_seconds,
            metrics.LINE: lambda: room.waiting,
            metrics.STREAMS: lambda: collector.streams.count,
            metrics.WRITABLE: lambda: not store.obstacle(),
            metrics.DATABASE_BYTES: store.size_bytes,
            metrics.LOG_BYTES: store.log_bytes,
            metrics.DISK_FREE_BYTES: store.free_bytes,
        }
    )


def enrollment(
    collector: Collector, authority: Callable[[], Authority], agent_addresses: Sequence[str]
) -> EnrollmentServicer:
    return EnrollmentServicer(
        identity=collector.identity,
        authority=authority,
        lifetimes=Lifetimes.of(collector.settings),
        store=collector.store,
        agent_addresses=agent_addresses,
    )


def flight(collector: Collector) -> flight_servicer.FlightServicer:
    return flight_servicer.FlightServicer(
        store=collector.store,
        identity=collector.identity,
        statements=collector.statements,
        label_copy=collector.label_copy,
    )


def notices(collector: Collector, fleet: FleetServicer) -> NoticeServicer:
    desk = NoticeDesk(
        store=collector.store, identity=collector.identity, selector=fleet.selector, work=collector.notices
    )
    return NoticeServicer(desk)
