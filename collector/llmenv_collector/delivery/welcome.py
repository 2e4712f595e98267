"""The answer to Hello: how far the machine's records are stored, and what became of the rest."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import agent_service_pb2

from llmenv_collector import clock
from llmenv_collector.delivery.acceptance import MAX_SHOWN, is_uuid
from llmenv_collector.delivery.ingest import OLDEST_PROTOCOL_REVISION, PROTOCOL_REVISION
from llmenv_collector.errors import (
    ForbiddenError,
    UnauthenticatedError,
    UnspokenRevisionError,
    UsageError,
)

if TYPE_CHECKING:
    from llmenv_collector.delivery.house import House
    from llmenv_collector.delivery.sieve import Rejection
    from llmenv_collector.storage.store import SpoolState

CAPABILITIES = ("authorities", "cases", "commands", "environments", "schedules")


def require_acceptable(hello: agent_service_pb2.Hello, *, machine_id: str) -> None:
    """Raises CollectorError for a Hello that this machine may not say, or that is not understood."""
    if hello.machine_id != machine_id:
        raise UnauthenticatedError(
            f"Hello is of machine {hello.machine_id[:MAX_SHOWN] or '(none)'},"
            f" the certificate of {machine_id}."
        )
    if not is_uuid(hello.spool_id):
        raise UsageError(f"spool_id is {hello.spool_id[:MAX_SHOWN]!r}, which is not a UUID.")
    oldest = hello.oldest_protocol_revision or hello.protocol_revision
    if hello.protocol_revision < OLDEST_PROTOCOL_REVISION or oldest > PROTOCOL_REVISION:
        raise UnspokenRevisionError(
            f"The agent speaks revisions {oldest} to {hello.protocol_revision},"
            f" this collector {OLDEST_PROTOCOL_REVISION} to {PROTOCOL_REVISION}: upgrade the older one."
        )


async def state_of(house: House, hello: agent_service_pb2.Hello) -> SpoolState:
    """Raises ForbiddenError for a spool of another machine."""
    state = await asyncio.wrap_future(house.store.spool_state(hello.spool_id))
    mark = state.watermark
    if mark is not None and mark.machine_id != hello.machine_id:
        raise ForbiddenError(f"Spool {mark.spool_id} belongs to another machine: begin a new one.")
    return state


def welcome_of(
    house: House, hello: agent_service_pb2.Hello, state: SpoolState, *, received_at: int
) -> agent_service_pb2.Welcome:
    return agent_service_pb2.Welcome(
        watermark=state.watermark.sequence if state.watermark else 0,
        digest=state.watermark.digest if state.watermark else b"",
        protocol_revision=min(PROTOCOL_REVISION, hello.protocol_revision),
        capabilities=CAPABILITIES,
        heartbeat_seconds=house.heartbeat_seconds,
        rejections=[rejected(one) for one in state.rejections],
        received_at=clock.to_timestamp(received_at),
        sent_at=clock.to_timestamp(clock.now()),
        collector_version=house.version,
        is_doubled=house.streams.doubles.are_at_work(hello.machine_id),
    )


def rejected(rejection: Rejection) -> agent_service_pb2.Rejected:
    return agent_service_pb2.Rejected(
        sequence=rejection.sequence, record_id=rejection.record_id, reason=rejection.reason
    )
