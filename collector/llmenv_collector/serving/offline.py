"""What only reads, on loopback: a snapshot while its collector is down, or a lake.

Views, roles and clients are the same.  A file is copied and never written to.  The copy is brought to this
program's schema, and nothing else of a collector is at work: no port for agents, no search for changes, no
notices, no schedules.  What would change something is refused.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import os
import shutil
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

from llmenv_collector import clock
from llmenv_collector.errors import ReadOnlyError, UsageError
from llmenv_collector.fleet_report.analysis import Analysis
from llmenv_collector.identity.identity_file import Identity
from llmenv_collector.identity.labels import LabelCopy
from llmenv_collector.lake.opening import open_lake
from llmenv_collector.serving import policy, ports, server
from llmenv_collector.serving.collector import Collector
from llmenv_collector.serving.gate import Gate
from llmenv_collector.serving.health import Health
from llmenv_collector.serving.services import add_services, fleet_servicer
from llmenv_collector.settings import Address, Settings, parse_address
from llmenv_collector.snapshots.parquet import lay_over
from llmenv_collector.snapshots.snapshot import Snapshots
from llmenv_collector.snapshots.source import is_export, require_there, taken_from
from llmenv_collector.storage.data_folder import Serving
from llmenv_collector.storage.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    import grpc.aio

    from llmenv_collector.serving.peer_limits import Peer
    from llmenv_collector.snapshots.snapshot import Snapshot
    from llmenv_collector.storage.data_folder import DataFolder

LOOPBACK = {"127.0.0.1", "::1", "localhost"}
GET_RUN = policy.FLEET + "GetRun"
ENROLMENT = "/llmenv.fleet.v1.EnrollmentService/"


def serve_snapshot(folder: DataFolder, settings: Settings, source: Path) -> None:
    """Returns after an orderly end.  `folder` has the tokens and the certificates of those who ask."""
    require_loopback(settings, what="A snapshot is served")
    require_there(source)
    folder.require_initialised()
    with folder.lock():
        scratch = folder.path / "offline"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(mode=0o700)
        try:
            _serve_copy(folder, settings, source, scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _serve_copy(folder: DataFolder, settings: Settings, source: Path, scratch: Path) -> None:
    database = scratch / folder.database.name
    taken_at = taken_from(source, database)
    identity = Identity(folder.identity)
    as_of = dt.datetime.fromtimestamp(taken_at / clock.MICROSECONDS, dt.UTC)
    gate = ReadOnlyGate(
        identity,
        served=f"a snapshot of {as_of:%Y-%m-%d %H:%M} UTC",
        as_of=f"as of {as_of:%Y-%m-%d %H:%M:%S} UTC",
        instead="the collector itself",
        has_runs=not is_export(source),
    )
    with closing(Store(database)) as store:
        # A store lays the views over its own tables when it is opened.
        store.request(lay_over).result()
        snapshots = FixedSnapshots(store, folder.snapshots, taken_at=taken_at)
        _answer(folder, settings, gate=gate, store=store, snapshots=snapshots)


def serve_lake(folder: DataFolder, settings: Settings) -> None:
    """The lake as it is, to whoever may only read it.  Returns after an orderly end."""
    require_loopback(settings, what="A lake is served read-only")
    folder.require_initialised()
    with folder.lock():
        gate = ReadOnlyGate(
            Identity(folder.identity),
            served="a lake",
            as_of="the lake as it is",
            instead="a collector that writes into it",
        )
        with closing(open_lake(folder, settings, read_only=True)) as store:
            _answer(folder, settings, gate=gate, store=store, snapshots=server.snapshots_of(store, folder))


def _answer(
    folder: DataFolder, settings: Settings, *, gate: ReadOnlyGate, store: Store, snapshots: Snapshots
) -> None:
    with closing(Analysis()) as analysis:
        collector = Collector.of(
            folder,
            settings,
            identity=gate.identity,
            store=store,
            analysis=analysis,
            snapshots=snapshots,
            label_copy=SnapshotLabels(gate.identity, store),
        )
        asyncio.run(run(collector, gate))


def require_loopback(settings: Settings, *, what: str) -> None:
    if parse_address(settings.listen, where="--listen").host not in LOOPBACK:
        raise UsageError(f"{what} on loopback alone, not on {settings.listen}.")


async def run(collector: Collector, gate: ReadOnlyGate) -> None:
    at = ports.new_server(gate, ports=1)
    listen = parse_address(collector.settings.listen, where="--listen")
    certificate = ports.server_certificate(collector.folder, collector.settings)
    port = ports.bind(at, listen, certificate.credentials())
    fleet = fleet_servicer(collector, certificate.authority)
    health = add_services(at, collector, fleet, authority=certificate.authority, agent_addresses=[])
    await at.start()
    watch = asyncio.create_task(Health(health, collector.store).watch())
    serving = Serving(people_address=str(Address(listen.host, port)), agents_address="", pid=os.getpid())
    with collector.folder.announce(serving):
        told = f"ready: people at {serving.people_address}, read-only, {gate.as_of}"
        print(told, file=sys.stderr, flush=True)  # noqa: T201 (whoever starts it waits)
        await server.stop_signal().wait()
    watch.cancel()
    await health.enter_graceful_shutdown()
    await server.end(collector, at)


class ReadOnlyGate(Gate):
    """Lets through what only reads."""

    def __init__(
        self, identity: Identity, *, served: str, as_of: str, instead: str, has_runs: bool = True
    ) -> None:
        """For people: what is served, as of when, and whom to ask for changes."""
        super().__init__(identity)
        self.identity = identity
        self.as_of = as_of
        self._served = served
        self._instead = instead
        self._has_runs = has_runs

    async def admit(self, method: str, context: grpc.aio.ServicerContext[Any, Any]) -> Peer:
        if method.startswith(ENROLMENT):
            raise self._refusal()
        peer = await super().admit(method, context)
        if policy.allowed(method) in (policy.ADMINS, policy.MACHINES):
            raise self._refusal()
        if method == GET_RUN and not self._has_runs:
            raise ReadOnlyError(
                "An export has the rows of a run and not all of it: ask `llmenv sql`, or serve a backup."
            )
        return peer

    def _refusal(self) -> ReadOnlyError:
        return ReadOnlyError(
            f"This is {self._served}, served read-only: nothing can be changed here; ask {self._instead}."
        )


class FixedSnapshots(Snapshots):
    """Every answer is as of the snapshot, whenever it is given."""

    def __init__(self, store: Store, folder: Path, *, taken_at: int) -> None:
        super().__init__(store, folder)
        self._taken_at = taken_at

    async def _take(self) -> Snapshot:
        return dataclasses.replace(await super()._take(), taken_at=self._taken_at)


class SnapshotLabels(LabelCopy):
    """Labels are those of the snapshot, not of the folder with the tokens."""

    async def refresh(self) -> None:
        return None
