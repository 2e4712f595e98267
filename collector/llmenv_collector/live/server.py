"""The HTTPS port of the live pages, on the collector's own loop and with its certificate."""

from __future__ import annotations

import asyncio
import logging
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

from llmenv_collector.errors import CollectorError, DataFolderError, UsageError
from llmenv_collector.live import headers
from llmenv_collector.live.door import Door
from llmenv_collector.live.handlers import Handlers, language_of, page
from llmenv_collector.pages import live_page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from llmenv_collector.identity.authority import ServerIdentity
    from llmenv_collector.live.sources import Sources
    from llmenv_collector.settings import Address

logger = logging.getLogger(__name__)

HANDSHAKE_SECONDS, KEEP_ALIVE_SECONDS, STOP_SECONDS = 10.0, 20.0, 3.0
ANSWER_SECONDS = 120.0
LARGEST_FORM_BYTES, LONGEST_LINE_BYTES, LARGEST_HEADER_BYTES = 8 << 10, 4 << 10, 8 << 10
RENEWAL_SECONDS = 60.0


class Certificate(Protocol):
    """The collector's own, or one of the lab's."""

    @property
    def files(self) -> tuple[Path, Path]:
        """The chain and the key."""

    def current(self) -> ServerIdentity:
        """Raises DataFolderError where it cannot be shown."""


class LivePages:
    """Open from open() to the end of its block; shows the certificate as it is now, also when it changes."""

    def __init__(self, sources: Sources, certificate: Certificate) -> None:
        self._sources = sources
        self._certificate = certificate

    @asynccontextmanager
    async def open(self, address: Address) -> AsyncIterator[int]:
        """Listens, and yields the port.  Raises UsageError when it cannot."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        self._show_certificate(context)
        application, doors = self._application()
        runner = web.AppRunner(
            application,
            access_log=None,
            handle_signals=False,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            shutdown_timeout=STOP_SECONDS,
            max_line_size=LONGEST_LINE_BYTES,
            max_field_size=LARGEST_HEADER_BYTES,
        )
        await runner.setup()
        if runner.server is None:
            raise RuntimeError("a runner that is set up has a server")
        door = Door(runner.server)
        doors.append(door)
        server = await listen(door, address, context)
        renewal = asyncio.create_task(self._renew(context))
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            renewal.cancel()
            server.close()
            await runner.cleanup()

    def _application(self) -> tuple[web.Application, list[Door]]:
        doors: list[Door] = []

        @web.middleware
        async def guarded(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            for door in doors:
                door.hear(request)
            response = await answered(request, handler)
            if not response.prepared:
                headers.add(response)
            return response

        application = web.Application(middlewares=[guarded], client_max_size=LARGEST_FORM_BYTES)
        application.add_routes(Handlers(self._sources).routes())
        return application, doors

    def _show_certificate(self, context: ssl.SSLContext) -> None:
        self._shown = self._certificate.current()
        try:
            context.load_cert_chain(*self._certificate.files)
        except ssl.SSLError as error:
            raise DataFolderError(f"{self._certificate.files[0]} cannot be shown: {error.reason}.") from error

    async def _renew(self, context: ssl.SSLContext) -> None:
        """New connections see the next certificate; open ones go on."""
        while True:
            await asyncio.sleep(RENEWAL_SECONDS)
            try:
                if await asyncio.to_thread(self._certificate.current) != self._shown:
                    self._show_certificate(context)
                    logger.info("the pages show the server's next certificate")
            except (DataFolderError, OSError) as error:
                logger.warning("the server's certificate cannot be renewed: %s", error)


async def listen(door: Door, address: Address, context: ssl.SSLContext) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    try:
        return await loop.create_server(
            door,
            address.host,
            address.port,
            ssl=context,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=STOP_SECONDS,
        )
    except OSError as error:
        raise UsageError(
            f"{address} cannot be listened on: it is in use, or not an address of this machine."
        ) from error


async def answered(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """The handler's answer, or a page that says in one sentence why there is none."""
    is_stream = request.path.endswith("/events")
    try:
        async with asyncio.timeout(None if is_stream else ANSWER_SECONDS):
            return await handler(request)
    except web.HTTPSeeOther as elsewhere:
        return web.Response(status=elsewhere.status, headers={"Location": str(elsewhere.location)})
    except web.HTTPException as refused:
        kept = {name: refused.headers[name] for name in ("Retry-After", "Allow") if name in refused.headers}
        answer = problem(request, refused.status, refused.text if is_ours(refused) else "")
        answer.headers.update(kept)
        return answer
    except CollectorError as error:
        return problem(request, 500, str(error))
    except TimeoutError:
        return problem(request, 503, "")
    except (ConnectionError, asyncio.CancelledError):
        raise
    except Exception:  # the one place where a fault of ours must not show its inside to a browser
        logger.exception("a page could not be made")
        return problem(request, 500, "")


def is_ours(refused: web.HTTPException) -> bool:
    """Whether its text is a sentence of ours, and not the name of the status."""
    return bool(refused.text) and not (refused.text or "").startswith(str(refused.status))


def problem(request: web.Request, status: int, sentence: str | None) -> web.Response:
    text = live_page.problem(language=language_of(request), status=status, sentence=sentence or "")
    return page(text, status=status)
