"""What was sent and cannot be written down is not sent again."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pytest
from llmenv_collector import clock
from llmenv_collector.errors import FullStoreError
from llmenv_collector.notices import notice_store
from llmenv_collector.notices.notice_store import Notice
from llmenv_collector.notices.outbox import Outbox
from llmenv_collector.notices.sender import Attempt, Sender

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmenv_collector.notices.webhook import Webhook

    from .lab import Lab
    from .receiver import Receiver

A_MOMENT_SECONDS = 0.3


def waiting(lab: Lab, webhooks: Sequence[Webhook]) -> None:
    """A notice for all of them."""
    notice = Notice(kind="machine_silent")
    lab.store.request(
        lambda connection: notice_store.add(connection, notice, webhooks, now=clock.now())
    ).result()


def refuse(*_arguments: Any, **_more: Any) -> Any:
    raise FullStoreError("There is no room.")


@pytest.mark.parametrize("failing", ["audit", "store"])
def test_what_arrived_and_cannot_be_written_down_is_sent_once(
    lab: Lab, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """When there is room again, it is written down once, and the next one is sent."""
    webhook = lab.webhook(receiver)
    outbox = Outbox(lab.store, lab.identity, [webhook], Sender())
    for _ in range(2):
        waiting(lab, [webhook])
    with monkeypatch.context() as full:
        owner, method = {"audit": (lab.identity, "changes"), "store": (lab.store, "request")}[failing]
        full.setattr(owner, method, refuse)
        for _ in range(3):
            with pytest.raises(FullStoreError):
                asyncio.run(outbox.round())
    assert len(receiver.received) == 1
    assert asyncio.run(outbox.round()) == 0
    asyncio.run(outbox.round())
    assert len({one.id for one in receiver.received}) == len(receiver.received) == 2
    assert lab.rows("SELECT state, attempts FROM v1.notices") == [("delivered", 1)] * 2
    assert len(lab.audited("notice.tell")) == 2


def test_a_failure_that_cannot_be_written_down_is_not_repeated_either(
    lab: Lab, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver in trouble is left alone as long as it would be with a store that works."""
    receiver.answers = [500]
    webhook = lab.webhook(receiver, retry_seconds=3_600)
    outbox = Outbox(lab.store, lab.identity, [webhook], Sender())
    waiting(lab, [webhook])
    with monkeypatch.context() as full:
        full.setattr(lab.store, "request", refuse)
        for _ in range(2):
            with pytest.raises(FullStoreError):
                asyncio.run(outbox.round())
    for _ in range(2):
        asyncio.run(outbox.round())
    assert len(receiver.received) == 1
    assert lab.rows("SELECT state, attempts, outcome FROM v1.notices") == [("waiting", 1, "status 500")]


class SlowSender:
    """Arrives at once, but at the webhook `slow` when it is told to."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.let_go = asyncio.Event()

    async def send(self, webhook: Webhook, body: bytes, *, notice_id: str) -> Attempt:
        self.sent.append(webhook.name)
        if webhook.name == "slow":
            await self.let_go.wait()
        return Attempt(is_delivered=True, outcome="status 204")


def test_a_round_ends_when_the_last_webhook_has_ended(
    lab: Lab, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where writing down failed for another: the next would send for a second time at once."""
    webhooks = [lab.webhook(receiver, name=name) for name in ("quick", "slow")]
    waiting(lab, webhooks)

    async def two_rounds() -> list[str]:
        refused, request, sender = asyncio.Event(), lab.store.request, SlowSender()

        def refuse_once(act: Any, **more: Any) -> Future[Any]:
            if refused.is_set():
                return request(act, **more)
            refused.set()
            failed: Future[Any] = Future()
            failed.set_exception(FullStoreError("There is no room."))
            return failed

        monkeypatch.setattr(lab.store, "request", refuse_once)
        outbox = Outbox(lab.store, lab.identity, webhooks, sender)  # type: ignore[arg-type]
        first = asyncio.create_task(outbox.round())
        await refused.wait()
        await asyncio.wait([first], timeout=A_MOMENT_SECONDS)
        assert not first.done()
        sender.let_go.set()
        with pytest.raises(FullStoreError):
            await first
        await outbox.round()
        return sender.sent

    assert sorted(asyncio.run(two_rounds())) == ["quick", "slow"]
    assert lab.rows("SELECT webhook, state FROM v1.notices ORDER BY webhook") == [
        ("quick", "delivered"),
        ("slow", "delivered"),
    ]
