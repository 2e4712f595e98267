"""The network between one virtual Mac and its collector, which can be cut; and why streams over it fail."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import grpc

from llmenv_agent.connection import Diagnosis, Line, Trouble, open_channel, retry_seconds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from llmenv_agent.identity import Identity

CUT_OFF = "cut off by --outage"


class CuttableLine(Line):
    """Use from one event loop. A cut closes the connection without Goodbye; there is none until its end.

    The connection after it is a new one, with a TLS handshake of its own.
    """

    def __init__(self) -> None:
        self.failures: Counter[str] = Counter()
        """Streams that failed, by gRPC's code and the word of connection.Trouble; but for the next."""
        self.refusals = 0
        """Streams that the collector refused for the moment, with a RetryInfo that says for how long."""
        self._is_cut = False
        self._channel: grpc.aio.Channel | None = None
        self._dial: Callable[[], grpc.aio.Channel] | None = None

    @contextlib.asynccontextmanager
    async def open(self, address: str, identity: Identity) -> AsyncIterator[grpc.aio.Channel]:
        self._dial = lambda: open_channel(address, identity)
        try:
            yield cast("grpc.aio.Channel", self)  # of which a stub asks for streams alone
        finally:
            await self._hang_up()

    def stream_stream(self, *method: Any, **how: Any) -> Any:  # gRPC's own signature
        """As grpc.aio.Channel. Raises AioRpcError while the line is cut."""
        if self._is_cut or self._dial is None:
            raise grpc.aio.AioRpcError(
                grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), details=CUT_OFF
            )
        self._channel = self._channel or self._dial()
        return self._channel.stream_stream(*method, **how)

    async def cut(self) -> None:
        self._is_cut = True
        await self._hang_up()

    def mend(self) -> None:
        self._is_cut = False

    def explain(self, address: str, identity: Identity, error: grpc.aio.AioRpcError) -> Diagnosis:
        if error.details() == CUT_OFF:
            self.failures[CUT_OFF] += 1
            return Diagnosis(trouble=Trouble.UNREACHABLE, sentence=CUT_OFF)
        diagnosis = super().explain(address, identity, error)
        if retry_seconds(error):
            self.refusals += 1
        else:
            self.failures[f"{error.code().name} ({diagnosis.trouble.value})"] += 1
        return diagnosis

    async def _hang_up(self) -> None:
        if self._channel is not None:
            channel, self._channel = self._channel, None
            await channel.close()
