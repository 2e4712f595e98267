"""The part of the collector at the door that is about notices."""

from __future__ import annotations

from typing import Any

from llmenv.fleet.v1 import notice_service_pb2 as messages
from llmenv.fleet.v1.notice_service_pb2_grpc import NoticeServiceServicer

MADE = "2026-02-15T16:20:00Z"
LATER = "2026-02-15T17:20:00Z"


def notice(number: int, kind: str, text: str, *deliveries: messages.NoticeDelivery) -> messages.Notice:
    made = messages.Notice(
        notice_id=f"019c6120-0000-7000-8000-00000000040{number}",
        kind=kind,
        text=text,
        changes=1,
        deliveries=deliveries,
    )
    made.made_at.FromJsonString(MADE)
    return made


def waiting() -> messages.NoticeDelivery:
    made = messages.NoticeDelivery(
        webhook="chat",
        state=messages.NoticeDelivery.STATE_WAITING,
        attempts=3,
        outcome="it cannot be connected to: Connection refused",
    )
    made.next_attempt_at.FromJsonString(LATER)
    return made


DELIVERED = messages.NoticeDelivery(
    webhook="lab", state=messages.NoticeDelivery.STATE_DELIVERED, attempts=1, outcome="status 204"
)
FAILING = "Packages: fail on studio-3, air-7 since 2026-02-15 16:02. mlx is missing."
NOTICES = [
    notice(1, "check_failing", FAILING, waiting(), DELIVERED),
    notice(2, "machine_silent", "air-7: silent, longer than usual there."),
]


def muted() -> messages.Mute:
    made = messages.Mute(
        mute_id="019c6120-0000-7000-8000-000000000501",
        hostnames=["air-7"],
        kind="machine_silent",
        reason="It is repaired.",
        muted_by="laptop",
        state=messages.Mute.STATE_IN_FORCE,
        waiting_changes=1,
    )
    made.muted_at.FromJsonString(MADE)
    made.expires_at.FromJsonString(LATER)
    return made


class NoticeCollector(NoticeServiceServicer):
    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.listed = messages.ListNoticesResponse(
            notices=NOTICES, total=2, waiting_changes=3, webhooks=["chat", "lab"]
        )
        self.is_delivered = True

    def ListNotices(self, request: Any, context: Any) -> messages.ListNoticesResponse:  # noqa: N802
        self.requests.append(request)
        return self.listed

    def TestWebhook(self, request: Any, context: Any) -> messages.TestWebhookResponse:  # noqa: N802
        self.requests.append(request)
        return messages.TestWebhookResponse(
            is_delivered=self.is_delivered, outcome="status 204" if self.is_delivered else "status 500"
        )

    def MuteNotices(self, request: Any, context: Any) -> messages.MuteNoticesResponse:  # noqa: N802
        self.requests.append(request)
        return messages.MuteNoticesResponse(mute=muted())

    def UnmuteNotices(self, request: Any, context: Any) -> messages.UnmuteNoticesResponse:  # noqa: N802
        self.requests.append(request)
        return messages.UnmuteNoticesResponse(mute=muted())

    def ListMutes(self, request: Any, context: Any) -> messages.ListMutesResponse:  # noqa: N802
        self.requests.append(request)
        return messages.ListMutesResponse(mutes=[muted()], total=2)
