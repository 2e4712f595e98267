"""NoticeService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import notice_service_pb2 as messages
from llmenv.fleet.v1.notice_service_pb2_grpc import NoticeServiceServicer

from llmenv_collector.serving.gate import PERSON

if TYPE_CHECKING:
    import grpc.aio

    from llmenv_collector.notices.desk import NoticeDesk

    Context = grpc.aio.ServicerContext[Any, Any]

# The stubs are those of the synchronous API; gRPC names the methods and their arguments.
# ruff: noqa: N802, ARG002
# mypy: disable-error-code="override"


class NoticeServicer(NoticeServiceServicer):
    def __init__(self, desk: NoticeDesk) -> None:
        self._desk = desk

    async def ListNotices(
        self, request: messages.ListNoticesRequest, context: Context
    ) -> messages.ListNoticesResponse:
        return await self._desk.newest(request)

    async def TestWebhook(
        self, request: messages.TestWebhookRequest, context: Context
    ) -> messages.TestWebhookResponse:
        return await self._desk.test(request.webhook, by=PERSON.get())

    async def MuteNotices(
        self, request: messages.MuteNoticesRequest, context: Context
    ) -> messages.MuteNoticesResponse:
        return messages.MuteNoticesResponse(mute=await self._desk.mute(request, by=PERSON.get()))

    async def UnmuteNotices(
        self, request: messages.UnmuteNoticesRequest, context: Context
    ) -> messages.UnmuteNoticesResponse:
        mute = await self._desk.unmute(request.mute_id, by=PERSON.get())
        return messages.UnmuteNoticesResponse(mute=mute)

    async def ListMutes(
        self, request: messages.ListMutesRequest, context: Context
    ) -> messages.ListMutesResponse:
        return await self._desk.mutes(limit=request.limit)
