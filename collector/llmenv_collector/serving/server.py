"""The running collector: one process, two TLS ports, and an orderly end.

People and enrolment come to a port that shows the server's certificate; agents
to a port that asks for theirs as well (gRPC cannot ask for an optional one).
On SIGTERM or SIGINT agents are told to reconnect, what they sent is committed
and acknowledged, and the database is closed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import importlib.metadata
import logging
import os
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
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

from llmenv_collector.changes.upkeep import ChangeUpkeep
from llmenv_collector.delivery.group import Sighting
from llmenv_collector.delivery.room import Room
from llmenv_collector.delivery.servicer import AgentServicer
from llmenv_collector.delivery.session import House
from llmenv_collector.delivery.sightings import LONGEST_SECONDS, Sightings
from llmenv_collector.delivery.streams import Streams
from llmenv_collector.errors import StoreError, UsageError
from llmenv_collector.fleet.machine_selection import Selector
from llmenv_collector.fleet.servicer import FleetServicer
from llmenv_collector.fleet_commands.desk import CommandDesk
from llmenv_collector.fleet_report.analysis import Analysis
from llmenv_collector.flight import servicer as flight_servicer
from llmenv_collector.identity import rotation
from llmenv_collector.identity.identity_file import Identity
from llmenv_collector.identity.identity_watch import IdentityWatch
from llmenv_collector.identity.labels import LabelCopy
from llmenv_collector.identity.lifetimes import WARN_OF_CA, Lifetimes
from llmenv_collector.identity.servicer import EnrollmentServicer
from llmenv_collector.identity.trust import Trust
from llmenv_collector.notices.desk import NoticeDesk
from llmenv_collector.notices.servicer import NoticeServicer
from llmenv_collector.notices.work import NoticeWork
from llmenv_collector.scheduled.made_report import ReportMaker
from llmenv_collector.scheduled.report_work import ReportWork
from llmenv_collector.serving import metrics, open_files
from llmenv_collector.serving.collector_servicer import CollectorServicer
from llmenv_collector.serving.gate import Gate
from llmenv_collector.serving.health import Health
from llmenv_collector.serving.lab_certificate import LabCertificate
from llmenv_collector.serving.server_certificate import ServerCertificate
from llmenv_collector.settings import Address, Settings, advertised, parse_address
from llmenv_collector.snapshots.snapshot import Snapshots
from llmenv_collector.sql.statements import Limits, Statements
from llmenv_collector.storage import quarantine
from llmenv_collector.storage.data_folder import DataFolder, Serving
from llmenv_collector.storage.disk_space import MEGABYTE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from llmenv_collector.identity.authority import Authority
    from llmenv_collector.notices.webhook import Webhook
    from llmenv_collector.scheduled.scheduled_report import ScheduledReport
    from llmenv_collector.storage.store import Store

logger = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 4 << 20
GRACE_SECONDS = 10.0
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
OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # A laptop that went to sleep is noticed only with the ping timeout as well.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 8_000),
    ("grpc.http2.ping_timeout_ms", 8_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    # Who connects and says nothing, or a little at a time, does not stay.
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.http2.settings_timeout", 10_000),
    ("grpc.max_connection_idle_ms", 600_000),
    ("grpc.max_concurrent_streams", 128),
    # Two collectors on one port would share its calls between their databases.
    ("grpc.so_reuseport", 0),
)


@dataclass(frozen=True)
class Collector:
    """The parts of a collector that live as long as it serves."""

    folder: DataFolder
    settings: Settings
    identity: Identity
    store: Store
    streams: Streams
    label_copy: LabelCopy
    snapshots: Snapshots
    statements: Statements
    sightings: Sightings
    analysis: Analysis
    notices: NoticeWork
    reports: Sequence[ScheduledReport]


def serve(
    folder: DataFolder,
    settings: Settings,
    *,
    webhooks: Sequence[Webhook] = (),
    reports: Sequence[ScheduledReport] = (),
) -> None:
    """Returns after an orderly end.  Raises StoreError when the store failed."""
    folder.require_initialised()
    with folder.lock():
        store = quarantine.open_store(folder, reserve_bytes=settings.min_free_mb * MEGABYTE)
        analysis = Analysis()
        try:
            if store.reingested:
                logger.info("%d records that were kept raw are ingested now", store.reingested)
            identity = Identity(folder.identity)
            snapshots = Snapshots(store, folder.snapshots)
            collector = Collector(
                folder=folder,
                settings=settings,
                identity=identity,
                store=store,
                streams=Streams(),
                label_copy=LabelCopy(identity, store),
                snapshots=snapshots,
                statements=Statements(snapshots, Limits.of(settings)),
                sightings=Sightings(store),
                analysis=analysis,
                notices=NoticeWork(store, identity, webhooks, settings),
                reports=reports,
            )
            asyncio.run(run(collector))
        finally:
            analysis.close()
            store.close()


async def run(collector: Collector) -> None:
    await adopt_machines(collector)
    # Before there is a server that would have to be taken down again.
    if collector.settings.metrics_listen:
        metrics.serve(parse_address(collector.settings.metrics_listen, where="--metrics-listen"))
    most = ("grpc.max_allowed_incoming_connections", open_files.most_connections(ports=2))
    gate = Gate(collector.identity)
    server: Any = grpc.aio.server(interceptors=[gate], options=(*OPTIONS, most))
    certificate = server_certificate(collector)
    serving = open_ports(server, collector, certificate)
    fleet = fleet_servicer(collector)
    health = add_services(
        server,
        collector,
        fleet,
        certificate=certificate,
        agent_addresses=agent_addresses(collector.settings, serving),
    )
    await server.start()
    watch = IdentityWatch(
        identity=collector.identity, store=collector.store, streams=collector.streams, calls=gate.calls
    )
    stop = stop_signal()
    ended = asyncio.wrap_future(collector.store.ended)
    tasks = [
        asyncio.create_task(Health(health, collector.store).watch()),
        asyncio.create_task(
            collector.sightings.write_every(min(LONGEST_SECONDS, collector.settings.heartbeat_seconds))
        ),
        asyncio.create_task(gate.uses.write_every()),
        asyncio.create_task(fleet.assignment.keep_up()),
        asyncio.create_task(watch.keep_up()),
        asyncio.create_task(watch.keep_copying()),
        asyncio.create_task(
            ChangeUpkeep(collector.store, collector.analysis).keep_up(collector.settings.changes_seconds)
        ),
        *scheduled_reports(collector, fleet),
    ]
    for task in tasks:
        task.add_done_callback(say_end)
    tasks += collector.notices.begin()
    async with live_pages(collector, certificate, fleet, serving) as serving_pages:
        with collector.folder.announce(serving_pages):
            print(ready(serving_pages), file=sys.stderr, flush=True)  # noqa: T201 (whoever starts it waits)
            endings: list[asyncio.Future[Any]] = [asyncio.ensure_future(stop.wait()), ended]
            await asyncio.wait(endings, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await health.enter_graceful_shutdown()
        collector.streams.draining.set()
    await server.stop(GRACE_SECONDS)
    # A thread may wait for it, and this process for the thread.
    collector.analysis.close()
    await collector.statements.close()
    await collector.sightings.write()
    await gate.uses.write()
    await watch.copy_last()
    if ended.done():
        raise StoreError(
            f"The database {collector.store.path} failed; nothing that was acknowledged is lost."
        )


def say_end(task: asyncio.Task[Any]) -> None:
    """Work that ends by a fault of its own does not end unseen."""
    if not task.cancelled() and (error := task.exception()) is not None:
        name = getattr(task.get_coro(), "__qualname__", task.get_name())
        logger.error("%s is not done any more until a restart", name, exc_info=error)


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
            metrics.DATABASE_BYTES: lambda: store.path.stat().st_size,
            metrics.LOG_BYTES: store.log_bytes,
            metrics.DISK_FREE_BYTES: store.free_bytes,
        }
    )


def stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def adopt_machines(collector: Collector) -> None:
    """Machines enrolled since the database was last written, also after it was restored from a backup."""
    sightings = [
        Sighting(machine_id=machine.machine_id, seen_at=None, enrolled_at=machine.enrolled_at)
        for machine in collector.identity.machines()
    ]
    await asyncio.wrap_future(collector.store.see(*sightings))


def ready(serving: Serving) -> str:
    """What whoever starts it waits for."""
    pages = f", pages at https://{serving.pages_address}/" if serving.pages_address else ""
    return f"ready: people at {serving.people_address}, agents at {serving.agents_address}{pages}"


@asynccontextmanager
async def live_pages(
    collector: Collector, certificate: ServerCertificate, fleet: FleetServicer, serving: Serving
) -> AsyncIterator[Serving]:
    """Serves the pages where that was asked for; yields where everything is."""
    if not collector.settings.http_listen:
        yield serving
        return
    # Only here: a collector without pages starts without the HTTP library.
    from llmenv_collector.live.server import LivePages
    from llmenv_collector.live.sessions import Sessions
    from llmenv_collector.live.sources import Sources

    sources = Sources(
        store=collector.store,
        identity=collector.identity,
        streams=collector.streams,
        sessions=Sessions(collector.identity),
        report_page=fleet.live_page,
    )
    listen = parse_address(collector.settings.http_listen, where="--http-listen")
    shown = LabCertificate.of(collector.settings) or certificate
    async with LivePages(sources, shown).open(listen) as port:
        host = advertised(collector.settings, reachable(listen.host))[0]
        yield dataclasses.replace(serving, pages_address=str(Address(host, port)))


def server_certificate(collector: Collector) -> ServerCertificate:
    """The one that every port shows, for the host that people are told."""
    settings, folder = collector.settings, collector.folder
    authority = rotation.load(folder)
    warn_of_end(authority)
    certificate = ServerCertificate(folder, authority, lifetime=Lifetimes.of(settings).server)
    listen = parse_address(settings.listen, where="--listen")
    certificate.with_names(advertised(settings, reachable(listen.host)))
    return certificate


def open_ports(server: Any, collector: Collector, certificate: ServerCertificate) -> Serving:
    """Binds both ports; returns where they really are."""
    settings = collector.settings
    listen = parse_address(settings.listen, where="--listen")
    agents_listen = parse_address(settings.agents_listen, where="--agents-listen")
    host = advertised(settings, reachable(listen.host))[0]
    people_port = bind(server, listen, certificate.credentials())
    agents_port = bind(server, agents_listen, certificate.credentials(asks_clients=True))
    agents_host = advertised(settings, reachable(agents_listen.host))[0]
    return Serving(
        people_address=str(Address(host, people_port)),
        agents_address=str(Address(agents_host, agents_port)),
        pid=os.getpid(),
    )


def agent_addresses(settings: Settings, serving: Serving) -> list[str]:
    """host:port of the agents' port under every name, the preferred one first."""
    at = parse_address(serving.agents_address, where="serving")
    return [str(Address(host, at.port)) for host in advertised(settings, at.host)]


def warn_of_end(authority: Authority) -> None:
    """A year before, since a rotation takes as long as machines take to renew."""
    if authority.ends - dt.datetime.now(dt.UTC) < WARN_OF_CA:
        logger.warning(
            "the authority of this collector ends on %s: `llmenv-collector ca rotate` makes the next one",
            authority.ends.date(),
        )


def reachable(host: str) -> str:
    """A host to connect to; a wildcard address is none."""
    return os.uname().nodename if host in {"0.0.0.0", "::"} else host  # noqa: S104 (compares, binds nothing)


def bind(server: Any, address: Address, server_credentials: grpc.ServerCredentials) -> int:
    try:
        port = server.add_secure_port(str(address), server_credentials)
    except RuntimeError:
        port = 0
    if port == 0:
        raise UsageError(f"{address} cannot be listened on: it is in use, or not an address of this machine.")
    return int(port)


def scheduled_reports(collector: Collector, fleet: FleetServicer) -> list[asyncio.Task[None]]:
    """Their work, where there are any."""
    if not collector.reports:
        return []
    work = ReportWork(
        collector.reports,
        store=collector.store,
        identity=collector.identity,
        notices=collector.notices,
        make=ReportMaker(fleet).make,
    )
    return [asyncio.create_task(work.keep_on_time())]


def fleet_servicer(collector: Collector) -> FleetServicer:
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
    )


def flight(collector: Collector) -> flight_servicer.FlightServicer:
    return flight_servicer.FlightServicer(
        store=collector.store,
        identity=collector.identity,
        statements=collector.statements,
        label_copy=collector.label_copy,
    )


def add_services(
    server: Any,
    collector: Collector,
    fleet: FleetServicer,
    *,
    certificate: ServerCertificate,
    agent_addresses: Sequence[str],
) -> Any:
    """All services on both ports: who may call what is the policy's matter.  Returns the health service."""
    room = Room()
    observe(collector, room)
    house = House(
        store=collector.store,
        streams=collector.streams,
        room=room,
        sightings=collector.sightings,
        heartbeat_seconds=collector.settings.heartbeat_seconds,
        version=importlib.metadata.version("llmenv"),
        trust=Trust(certificate.authority, collector.identity),
        schedules=fleet.assignment,
    )
    enrollment = EnrollmentServicer(
        identity=collector.identity,
        authority=certificate.authority,
        lifetimes=Lifetimes.of(collector.settings),
        store=collector.store,
        agent_addresses=agent_addresses,
    )
    health = HealthServicer()
    add_AgentServiceServicer_to_server(AgentServicer(house), server)
    add_EnrollmentServiceServicer_to_server(enrollment, server)
    add_FleetServiceServicer_to_server(fleet, server)
    flight_servicer.add_to_server(flight(collector), server)
    add_CollectorServiceServicer_to_server(
        CollectorServicer(collector.snapshots, draining=collector.streams.draining), server
    )
    notice_desk = NoticeDesk(
        store=collector.store, identity=collector.identity, selector=fleet.selector, work=collector.notices
    )
    add_NoticeServiceServicer_to_server(NoticeServicer(notice_desk), server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    reflection.enable_server_reflection((*SERVICES, reflection.SERVICE_NAME), server)
    return health
