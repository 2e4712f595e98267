"""The parts of a collector that live as long as it serves, be it its own database or a snapshot."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv_collector.delivery.sighting import Sighting
from llmenv_collector.delivery.sightings import Sightings
from llmenv_collector.delivery.streams import Streams
from llmenv_collector.notices.work import NoticeWork
from llmenv_collector.sql.statements import Limits, Statements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmenv_collector.fleet_report.analysis import Analysis
    from llmenv_collector.identity.identity_file import Identity
    from llmenv_collector.identity.labels import LabelCopy
    from llmenv_collector.notices.webhook import Webhook
    from llmenv_collector.scheduled.scheduled_report import ScheduledReport
    from llmenv_collector.settings import Settings
    from llmenv_collector.snapshots.snapshot import Snapshots
    from llmenv_collector.storage.data_folder import DataFolder
    from llmenv_collector.storage.store import Store


@dataclass(frozen=True)
class Collector:
    """Whoever opened the store and the analysis closes them."""

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

    @classmethod
    def of(
        cls,
        folder: DataFolder,
        settings: Settings,
        *,
        identity: Identity,
        store: Store,
        analysis: Analysis,
        snapshots: Snapshots,
        label_copy: LabelCopy,
        webhooks: Sequence[Webhook] = (),
        reports: Sequence[ScheduledReport] = (),
    ) -> Collector:
        return cls(
            folder=folder,
            settings=settings,
            identity=identity,
            store=store,
            streams=Streams(),
            label_copy=label_copy,
            snapshots=snapshots,
            statements=Statements(snapshots, Limits.of(settings)),
            sightings=Sightings(store),
            analysis=analysis,
            notices=NoticeWork(store, identity, webhooks, settings),
            reports=reports,
        )

    async def adopt_machines(self) -> None:
        """Those enrolled since the database was last written, also after it was restored from a backup."""
        sightings = [
            Sighting(machine_id=machine.machine_id, seen_at=None, enrolled_at=machine.enrolled_at)
            for machine in self.identity.machines()
        ]
        await asyncio.wrap_future(self.store.see(*sightings))
