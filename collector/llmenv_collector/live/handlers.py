"""What is answered at each address."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit

from aiohttp import web
from llmenv.catalog.texts import LANGUAGES

from llmenv_collector import clock
from llmenv_collector.errors import NotFoundError, RefusedError, UsageError
from llmenv_collector.live import headers, watching
from llmenv_collector.live.report_question import ReportQuestion
from llmenv_collector.pages import live_page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from llmenv_collector.live.sessions import Session
    from llmenv_collector.live.sources import Report, Sources
    from llmenv_collector.pages.live_page import Content

COOKIE = "__Host-llmenv"
"""Its prefix makes a browser refuse it without Secure, or from another host."""
PLACE = re.compile(r"/(?:\?[!-~]*|(?:machines|runs)/[0-9a-fA-F-]{8,36}(?:\?lang=(?:en|zh))?)?")
"""Where a login may lead: nowhere outside."""
FORM_SECONDS = 10.0


class Handlers:
    """Of one collector."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._streams = 0

    def routes(self) -> list[web.RouteDef]:
        one = "{id:[0-9a-fA-F-]{8,36}}"
        return [
            web.get("/", self.report),
            web.get("/events", self.report_events),
            web.get(f"/machines/{one}", self.machine),
            web.get(f"/machines/{one}/events", self.machine_events),
            web.get(f"/runs/{one}", self.run),
            web.get(f"/runs/{one}/events", self.run_events),
            web.get("/login", self.login_form),
            web.post("/login", self.login),
            web.post("/logout", self.logout),
        ]

    async def report(self, request: web.Request) -> web.Response:
        session = await self._session(request)
        return page((await reported(self._sources, request, session)).made.page)

    async def report_events(self, request: web.Request) -> web.StreamResponse:
        return await self._watched(request, lambda session: reported(self._sources, request, session))

    async def run(self, request: web.Request) -> web.Response:
        return await self._live(request, self._sources.run)

    async def run_events(self, request: web.Request) -> web.StreamResponse:
        return await self._events(request, self._sources.run)

    async def machine(self, request: web.Request) -> web.Response:
        return await self._live(request, self._sources.machine)

    async def machine_events(self, request: web.Request) -> web.StreamResponse:
        return await self._events(request, self._sources.machine)

    async def login_form(self, request: web.Request) -> web.Response:
        return login_page(request, place_of(request.query.get("next", "/")))

    async def login(self, request: web.Request) -> web.Response:
        """Raises HTTPTooManyRequests for an address that failed too often."""
        require_own_form(request)
        address = request.remote or ""
        wait = self._sources.attempts.wait_seconds(address)
        if wait > 0:
            raise web.HTTPTooManyRequests(headers={"Retry-After": f"{wait:.0f}"})
        async with asyncio.timeout(FORM_SECONDS):
            form = await request.post()
        place = place_of(str(form.get("next", "/")))
        try:
            secret, session = await asyncio.to_thread(self._sources.sessions.open, str(form.get("token", "")))
        except RefusedError as error:
            self._sources.attempts.failed(address)
            return login_page(request, place, trouble=str(error))
        answer = web.Response(status=303, headers={"Location": place})
        seconds = max((session.expires_at - clock.now()) // clock.MICROSECONDS, 0)
        answer.set_cookie(
            COOKIE, secret, max_age=seconds, path="/", secure=True, httponly=True, samesite="Strict"
        )
        return answer

    async def logout(self, request: web.Request) -> web.Response:
        require_own_form(request)
        self._sources.sessions.close(request.cookies.get(COOKIE, ""))
        answer = web.Response(status=303, headers={"Location": "/login"})
        answer.del_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="Strict")
        return answer

    async def _session(self, request: web.Request) -> Session:
        """Raises HTTPSeeOther, to the login and from there back."""
        session = await asyncio.to_thread(self._sources.sessions.find, request.cookies.get(COOKIE, ""))
        if session is None:
            raise web.HTTPSeeOther(f"/login?next={quote(place_of(request.path_qs), safe='')}")
        return session

    async def _live(
        self, request: web.Request, look: Callable[[str, str], Awaitable[Content]]
    ) -> web.Response:
        await self._session(request)
        language = language_of(request)
        content = await found(look(request.match_info["id"], language))
        return page(
            live_page.render(content, language=language, events=f"{request.path}/events?lang={language}")
        )

    async def _events(
        self, request: web.Request, look: Callable[[str, str], Awaitable[Content]]
    ) -> web.StreamResponse:
        language, subject = language_of(request), request.match_info["id"]
        return await self._watched(request, lambda _: found(look(subject, language)))

    async def _watched(
        self, request: web.Request, look: Callable[[Session], Awaitable[watching.Watched]]
    ) -> web.StreamResponse:
        """Raises HTTPUnauthorized, HTTPServiceUnavailable when too many watch, and what `look` raises."""
        cookie = request.cookies.get(COOKIE, "")

        async def is_welcome() -> bool:
            return await asyncio.to_thread(self._sources.sessions.find, cookie) is not None

        session = await asyncio.to_thread(self._sources.sessions.find, cookie)
        if session is None:
            raise web.HTTPUnauthorized
        if self._streams >= watching.MOST_STREAMS:
            raise web.HTTPServiceUnavailable(headers={"Retry-After": "30"})
        await look(session)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        headers.add(response)
        self._streams += 1
        try:
            await response.prepare(request)
            await watching.stream(self._sources, response, lambda: look(session), is_welcome)
        finally:
            self._streams -= 1
        return response


async def reported(sources: Sources, request: web.Request, session: Session) -> Report:
    """Raises HTTPBadRequest with the sentence of what cannot be asked."""
    try:
        question = ReportQuestion.of(list(request.query.items()))
        return await sources.report(question, language_of(request), person=session.token_id)
    except (NotFoundError, UsageError) as error:
        raise web.HTTPBadRequest(text=str(error)) from error


async def found(looking: Awaitable[Content]) -> Content:
    """Raises HTTPNotFound with the sentence of what is not here."""
    try:
        return await looking
    except (NotFoundError, UsageError) as error:
        raise web.HTTPNotFound(text=str(error)) from error


def page(text: str, *, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")


def login_page(request: web.Request, place: str, *, trouble: str = "") -> web.Response:
    chosen = parse_qs(urlsplit(place).query).get("lang", [""])[0]
    language = chosen if chosen in LANGUAGES else language_of(request)
    text = live_page.login(language=language, place=place, trouble=trouble)
    return page(text, status=401 if trouble else 200)


def place_of(text: str) -> str:
    """One of our pages; the first for anything else."""
    return text if PLACE.fullmatch(text) else "/"


def require_own_form(request: web.Request) -> None:
    """A browser names the page that a form was sent from; another page's form is refused.

    Raises HTTPForbidden.
    """
    origin = request.headers.get("Origin", "")
    if not origin or urlsplit(origin).netloc != request.host or urlsplit(origin).scheme != "https":
        raise web.HTTPForbidden(text="This form was not sent from a page of this collector.")


def language_of(request: web.Request) -> str:
    """That of the address, else the first of the browser's that there is."""
    chosen = request.query.get("lang", "")
    if chosen in LANGUAGES:
        return chosen
    wanted = request.headers.get("Accept-Language", "").split(",")
    known = (part.strip().partition(";")[0].partition("-")[0].lower() for part in wanted)
    return next((language for language in known if language in LANGUAGES), LANGUAGES[0])
