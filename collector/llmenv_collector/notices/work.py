"""The work on notices that goes on while a collector serves."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from llmenv_collector.notices.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmenv_collector.identity.identity_file import Identity
    from llmenv_collector.notices.outbox import Outbox
    from llmenv_collector.notices.sender import Sender
    from llmenv_collector.notices.webhook import Webhook
    from llmenv_collector.settings import Settings
    from llmenv_collector.storage.store import Store

logger = logging.getLogger(__name__)


def say_end(task: asyncio.Task[Any]) -> None:
    """Work that ends by a fault of its own does not end unseen."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("notices are not looked for or sent until a restart", exc_info=error)


class NoticeWork:
    """Changes are looked for also where nobody is told, so that they can be listed."""

    def __init__(
        self, store: Store, identity: Identity, webhooks: Sequence[Webhook], settings: Settings
    ) -> None:
        self.webhooks = {one.name: one for one in webhooks}
        self._store = store
        self._identity = identity
        self._settings = settings
        self._outbox: Outbox | None = None
        self._sender: Sender | None = None

    def begin(self) -> list[asyncio.Task[Any]]:
        """In the event loop; they go on until they are cancelled."""
        watch = Watch(
            self._store,
            self._identity,
            list(self.webhooks.values()),
            gather_seconds=self._settings.notices_gather_seconds,
            wake=self.wake,
        )
        tasks = [asyncio.create_task(watch.keep_watch(self._settings.notices_seconds))]
        if self.webhooks:
            # Only here: a collector that tells nobody starts without the HTTP library.
            from llmenv_collector.notices.outbox import Outbox

            self._outbox = Outbox(self._store, self._identity, list(self.webhooks.values()), self.sender())
            tasks.append(asyncio.create_task(self._outbox.keep_sending()))
        for task in tasks:
            task.add_done_callback(say_end)
        return tasks

    def wake(self) -> None:
        """Something new waits to be sent."""
        if self._outbox is not None:
            self._outbox.wake()

    def sender(self) -> Sender:
        from llmenv_collector.notices.sender import Sender

        self._sender = self._sender or Sender()
        return self._sender
