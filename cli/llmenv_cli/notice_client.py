"""Asks a collector about the notices that it sends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.fleet.v1 import notice_service_pb2 as messages
from llmenv.fleet.v1.notice_service_pb2_grpc import NoticeServiceStub

from llmenv_cli.client import FleetClient

if TYPE_CHECKING:
    from llmenv_cli.credentials import Credentials

LONGEST_TEST_SECONDS = 75
"""A webhook may take a minute to answer."""


class NoticeClient(FleetClient):
    def __init__(self, credentials: Credentials, *, timeout_seconds: float) -> None:
        super().__init__(credentials, timeout_seconds=timeout_seconds)
        self._notices = NoticeServiceStub(self._channel)

    def notices(self, *, only_undelivered: bool, limit: int, language: str) -> messages.ListNoticesResponse:
        """Newest first."""
        request = messages.ListNoticesRequest(
            only_undelivered=only_undelivered, limit=limit, language=language
        )
        with self._translated():
            return self._notices.ListNotices(request, timeout=self._timeout, metadata=self._metadata)

    def test(self, webhook: str) -> messages.TestWebhookResponse:
        request = messages.TestWebhookRequest(webhook=webhook)
        patience = max(self._timeout, LONGEST_TEST_SECONDS)
        with self._translated():
            return self._notices.TestWebhook(request, timeout=patience, metadata=self._metadata)

    def mute(self, request: messages.MuteNoticesRequest) -> messages.Mute:
        with self._translated():
            return self._notices.MuteNotices(request, timeout=self._timeout, metadata=self._metadata).mute

    def unmute(self, mute_id: str) -> messages.Mute:
        """By its id or a unique prefix."""
        request = messages.UnmuteNoticesRequest(mute_id=mute_id)
        with self._translated():
            return self._notices.UnmuteNotices(request, timeout=self._timeout, metadata=self._metadata).mute

    def mutes(self, *, limit: int) -> messages.ListMutesResponse:
        """Newest first."""
        request = messages.ListMutesRequest(limit=limit)
        with self._translated():
            return self._notices.ListMutes(request, timeout=self._timeout, metadata=self._metadata)
