"""CollectorService over gRPC: what the administrator asks on the collector's own machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1.collector_service_pb2 import TakeSnapshotRequest, TakeSnapshotResponse
from llmenv.fleet.v1.collector_service_pb2_grpc import CollectorServiceServicer

from llmenv_collector import clock

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator

    import grpc.aio

    from llmenv_collector.snapshots.snapshot import Snapshots


class CollectorServicer(CollectorServiceServicer):
    def __init__(self, snapshots: Snapshots, *, draining: asyncio.Event) -> None:
        self._snapshots = snapshots
        self._draining = draining

    async def TakeSnapshot(  # noqa: N802 (gRPC names it)
        self,
        request: TakeSnapshotRequest,  # noqa: ARG002 (gRPC passes it)
        context: grpc.aio.ServicerContext[Any, Any],  # noqa: ARG002 (gRPC passes it)
    ) -> AsyncIterator[TakeSnapshotResponse]:
        async with self._snapshots.whole() as snapshot:
            yield TakeSnapshotResponse(
                path=str(snapshot.path.resolve()), taken_at=clock.to_timestamp(snapshot.taken_at)
            )
            # The copy stays until the caller hangs up, which cancels this.
            await self._draining.wait()
