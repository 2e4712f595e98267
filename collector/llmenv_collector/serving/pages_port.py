"""The port of the live pages, where one was asked for."""

from __future__ import annotations

import dataclasses
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from llmenv_collector.serving.lab_certificate import LabCertificate
from llmenv_collector.serving.ports import told
from llmenv_collector.settings import parse_address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from llmenv_collector.fleet.servicer import FleetServicer
    from llmenv_collector.live.server import LivePages
    from llmenv_collector.serving.collector import Collector
    from llmenv_collector.serving.server_certificate import ServerCertificate
    from llmenv_collector.storage.data_folder import Serving


@asynccontextmanager
async def pages_port(
    collector: Collector, certificate: ServerCertificate, fleet: FleetServicer, serving: Serving
) -> AsyncIterator[Serving]:
    """Serves the pages meanwhile; yields where everything is."""
    if not collector.settings.http_listen:
        yield serving
        return
    listen = parse_address(collector.settings.http_listen, where="--http-listen")
    async with live_pages(collector, certificate, fleet).open(listen) as port:
        yield dataclasses.replace(serving, pages_address=told(collector.settings, listen, port))


def live_pages(collector: Collector, certificate: ServerCertificate, fleet: FleetServicer) -> LivePages:
    # Only here: a collector without pages starts without the HTTP library.
    from llmenv_collector.live.server import LivePages
    from llmenv_collector.live.sessions import Sessions
    from llmenv_collector.live.sources import Sources

    sources = Sources(
        store=collector.store,
        identity=collector.identity,
        streams=collector.streams,
        sessions=Sessions(collector.identity),
        report_page=fleet.live_page,
    )
    return LivePages(sources, LabCertificate.of(collector.settings) or certificate)
