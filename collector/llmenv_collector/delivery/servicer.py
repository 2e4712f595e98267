"""AgentService over gRPC: hands each stream to a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from llmenv.fleet.v1.agent_service_pb2_grpc import AgentServiceServicer

from llmenv_collector.delivery.session import Session
from llmenv_collector.errors import CollectorError, GoneError
from llmenv_collector.identity.standing import State
from llmenv_collector.serving import metrics
from llmenv_collector.serving.gate import MACHINE, STATE
from llmenv_collector.serving.refusal import status_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from llmenv.fleet.v1.agent_service_pb2 import ConnectRequest, ConnectResponse

    from llmenv_collector.delivery.house import House


class AgentServicer(AgentServiceServicer):
    def __init__(self, house: House) -> None:
        self._house = house

    async def Connect(  # type: ignore[override]  # the stub is that of the synchronous API  # noqa: N802 (gRPC names it)
        self, request_iterator: AsyncIterator[ConnectRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        async def send(response: ConnectResponse) -> None:
            try:
                await context.write(response)
            except grpc.aio.InternalError as error:
                raise GoneError("The agent went away while it was written to.") from error

        session = Session(
            house=self._house,
            machine_id=MACHINE.get(),
            send=send,
            is_pending=STATE.get() is State.PENDING,
        )
        code = grpc.StatusCode.CANCELLED
        try:
            await session.serve(aiter(request_iterator))
            code = grpc.StatusCode.OK
        except CollectorError as error:
            code = status_of(error)
            raise
        finally:
            metrics.STREAMS_ENDED.labels(code.name).inc()
