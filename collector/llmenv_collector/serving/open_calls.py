"""People's calls that are open now: ended when their token is revoked or expires, however little they say."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llmenv_collector import clock
from llmenv_collector.errors import UnauthenticatedError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from llmenv_collector.identity.tokens import Token


class OpenCalls:
    """Lives in the event loop; each call is a task of its own."""

    def __init__(self) -> None:
        self._tokens: dict[asyncio.Task[object], Token] = {}
        self._ended: set[asyncio.Task[object]] = set()

    @contextmanager
    def open(self, token: Token | None) -> Iterator[None]:
        """Around what a call does.  Raises UnauthenticatedError when its token has ended meanwhile."""
        task = asyncio.current_task()
        if token is None or task is None:
            yield
            return
        self._tokens[task] = token
        try:
            yield
        except asyncio.CancelledError:
            if task not in self._ended:
                raise
            task.uncancel()
            raise UnauthenticatedError("The token was revoked or has expired meanwhile.") from None
        finally:
            self._tokens.pop(task, None)
            self._ended.discard(task)

    def end(self, revoked: Collection[str]) -> None:
        """Calls with one of these tokens, and those whose token has expired."""
        now = clock.now()
        for task, token in self._tokens.items():
            if task not in self._ended and (token.token_id in revoked or token.expires_at <= now):
                self._ended.add(task)
                task.cancel()
