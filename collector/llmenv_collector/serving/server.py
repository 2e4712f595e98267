"""The running collector: one process, two TLS ports, and an orderly end.

On SIGTERM or SIGINT agents are told to reconnect, what they sent is committed
and acknowledged, and the database is closed.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmenv_collector.errors import StoreError
from llmenv_collector.fleet_report.analysis import Analysis
from llmenv_collector.identity.identity_file import Identity
from llmenv_collector.identity.labels import LabelCopy
from llmenv_collector.serving import metrics, ports
from llmenv_collector.serving.collector import Collector
from llmenv_collector.serving.gate import Gate
from llmenv_collector.serving.pages_port import pages_port
from llmenv_collector.serving.services import add_services, fleet_servicer
from llmenv_collector.serving.upkeep import Upkeep
from llmenv_collector.settings import Settings, parse_address
from llmenv_collector.snapshots.snapshot import Snapshots
from llmenv_collector.storage import quarantine
from llmenv_collector.storage.disk_space import MEGABYTE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmenv_collector.fleet.servicer import FleetServicer
    from llmenv_collector.notices.webhook import Webhook
    from llmenv_collector.scheduled.scheduled_report import ScheduledReport
    from llmenv_collector.serving.server_certificate import ServerCertificate
    from llmenv_collector.storage.data_folder import DataFolder, Serving
    from llmenv_collector.storage.store import Store

logger = logging.getLogger(__name__)

GRACE_SECONDS = 10.0


def serve(
    folder: DataFolder,
    settings: Settings,
    *,
    webhooks: Sequence[Webhook] = (),
    reports: Sequence[ScheduledReport] = (),
) -> None:
    """Returns after an orderly end.  Raises StoreError when the store failed."""
    folder.require_initialised()
    with folder.lock(), opened(folder, settings) as (store, analysis):
        identity = Identity(folder.identity)
        collector = Collector.of(
            folder,
            settings,
            identity=identity,
            store=store,
            analysis=analysis,
            snapshots=snapshots_of(store, folder),
            label_copy=LabelCopy(identity, store),
            webhooks=webhooks,
            reports=reports,
        )
        asyncio.run(run(collector))


@contextmanager
def opened(folder: DataFolder, settings: Settings) -> Iterator[tuple[Store, Analysis]]:
    store = open_store(folder, settings)
    analysis = Analysis()
    try:
        if store.reingested:
            logger.info("%d records that were kept raw are ingested now", store.reingested)
        yield store, analysis
    finally:
        analysis.close()
        store.close()


@dataclass(frozen=True)
class Listening:
    """The gRPC server on its ports, and what stands behind it."""

    server: Any
    gate: Gate
    certificate: ServerCertificate
    fleet: FleetServicer
    health: Any
    serving: Serving

    @classmethod
    def of(cls, collector: Collector) -> Listening:
        settings, gate = collector.settings, Gate(collector.identity)
        server = ports.new_server(gate, ports=2)
        certificate = ports.server_certificate(collector.folder, settings)
        serving = ports.open_ports(server, settings, certificate)
        fleet = fleet_servicer(collector, certificate.authority)
        health = add_services(
            server,
            collector,
            fleet,
            authority=certificate.authority,
            agent_addresses=ports.agent_addresses(settings, serving),
        )
        return cls(server, gate, certificate, fleet, health, serving)


def open_store(folder: DataFolder, settings: Settings) -> Store:
    if settings.store == "file":
        return quarantine.open_store(folder, reserve_bytes=settings.min_free_mb * MEGABYTE)
    from llmenv_collector.lake.opening import open_lake

    return open_lake(folder, settings)


def snapshots_of(store: Store, folder: DataFolder) -> Snapshots:
    if store.lake is None:
        return Snapshots(store, folder.snapshots)
    from llmenv_collector.lake.snapshots import LakeSnapshots

    return LakeSnapshots(store, folder.snapshots, store.lake)


async def run(collector: Collector) -> None:
    await collector.adopt_machines()
    # Before there is a server that would have to be taken down again.
    if collector.settings.metrics_listen:
        metrics.serve(parse_address(collector.settings.metrics_listen, where="--metrics-listen"))
    at = Listening.of(collector)
    await at.server.start()
    stop = stop_signal()
    upkeep = Upkeep(collector, fleet=at.fleet, gate=at.gate, health=at.health)
    async with pages_port(collector, at.certificate, at.fleet, at.serving) as serving:
        await serve_until(stop, collector, serving)
        upkeep.end()
        await at.health.enter_graceful_shutdown()
        collector.streams.drain()
    await end(collector, at.server)
    await upkeep.write_last()
    if collector.store.ended.done():
        raise StoreError(
            f"The database {collector.store.path} failed; nothing that was acknowledged is lost."
        )


async def serve_until(stop: asyncio.Event, collector: Collector, serving: Serving) -> None:
    """Returns also when the store has failed."""
    with collector.folder.announce(serving):
        print(ready(serving), file=sys.stderr, flush=True)  # noqa: T201 (whoever starts it waits)
        endings: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(stop.wait()),
            asyncio.wrap_future(collector.store.ended),
        ]
        await asyncio.wait(endings, return_when=asyncio.FIRST_COMPLETED)


async def end(collector: Collector, server: Any) -> None:
    await server.stop(GRACE_SECONDS)
    # A thread may wait for it, and this process for the thread.
    collector.analysis.close()
    await collector.statements.close()


def stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def ready(serving: Serving) -> str:
    """What whoever starts it waits for."""
    pages = f", pages at https://{serving.pages_address}/" if serving.pages_address else ""
    return f"ready: people at {serving.people_address}, agents at {serving.agents_address}{pages}"
