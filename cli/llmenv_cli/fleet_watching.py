"""Watches the fleet until somebody leaves: as a screen on a terminal, as lines or JSON objects elsewhere."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Protocol

import click
from llmenv.harmless import harmless_line

from llmenv_cli.watched_fleet import Feed, Lost, WatchedFleet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from google.protobuf.message import Message
    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1 import fleet_watch_pb2 as messages

    from llmenv_cli.client import FleetClient
    from llmenv_cli.watched_fleet import Said

CLOCK_SECONDS = 1.0
"""A screen shows the time and how long machines have been away."""


class Display(Protocol):
    """Where what happens is shown."""

    def open(self) -> AbstractContextManager[object]:
        """For as long as it is shown."""

    def said(self, said: Said, fleet: WatchedFleet) -> None:
        """`fleet` is what was known before."""

    def show(self, fleet: WatchedFleet, *, lost: str) -> None:
        """Once a second and whenever something was said; `lost` is why nothing is, else empty."""


def watch(client: FleetClient, request: messages.WatchFleetRequest, display: Display) -> None:
    """Until Ctrl-C, which is raised as KeyboardInterrupt.  Raises CliError when nothing can be watched."""
    feed, fleet, lost = Feed(client, request), WatchedFleet(), ""
    with feed.open():
        first = None
        while first is None:
            first = feed.next(seconds=CLOCK_SECONDS)
        with display.open():
            news: Said | Lost | None = first
            while True:
                if isinstance(news, Lost):
                    lost = news.why
                elif news is not None:
                    lost = ""
                    display.said(news, fleet)
                    fleet.take_in(news)
                display.show(fleet, lost=lost)
                news = feed.next(seconds=CLOCK_SECONDS)


def display_of(output_format: str, texts: Texts, *, address: str) -> Display:
    if output_format == "json":
        return JsonLines()
    from llmenv_cli.render.terminal import console_of

    console = console_of(sys.stdout)
    if console.is_terminal and not console.is_dumb_terminal:
        from llmenv_cli.live_screen import LiveScreen

        return LiveScreen(console, texts, address=address)
    return PlainLines(texts)


class PlainLines:
    """A line each, with the collector's time; that it does not answer is talk."""

    def __init__(self, texts: Texts) -> None:
        from llmenv_cli.render.fleet.watch_lines import Lines

        self._lines = Lines(texts)
        self._lost = ""

    def open(self) -> AbstractContextManager[object]:
        return contextlib.nullcontext()

    def said(self, said: Said, fleet: WatchedFleet) -> None:
        time = f"{said.response.at.ToDatetime():%Y-%m-%d %H:%M:%S} UTC"
        for line in self._said(said, fleet):
            sys.stdout.write(f"{time}  {line}\n")
        sys.stdout.flush()

    def _said(self, said: Said, fleet: WatchedFleet) -> Iterator[str]:
        response = said.response
        self._lines.names = fleet.names(*response.machines)
        if response.left_out_results:
            yield self._lines.left_out(response.left_out_results)
        for result in response.results:
            yield self._lines.result(result)
        yield from self._lines.of_machines(fleet.machines, response.machines)
        for machine_id in left_machines(said, fleet):
            yield self._lines.left(fleet.machines[machine_id])

    def show(self, fleet: WatchedFleet, *, lost: str) -> None:
        del fleet
        if lost and not self._lost:
            click.echo(self._lines.lost(lost), err=True)
        elif self._lost and not lost:
            click.echo(self._lines.found(), err=True)
        self._lost = lost


class JsonLines:
    """One object a line: {"at", "machine"}, {"at", "result"}, {"at", "left_machine_id"} or
    {"at", "left_out_results"}, as the contract names them.
    """

    def __init__(self) -> None:
        self._lost = ""

    def open(self) -> AbstractContextManager[object]:
        return contextlib.nullcontext()

    def said(self, said: Said, fleet: WatchedFleet) -> None:
        response = said.response
        at = response.at.ToJsonString()
        found: list[tuple[str, object]] = []
        if response.left_out_results:
            found.append(("left_out_results", response.left_out_results))
        found += [("result", as_json(result)) for result in response.results]
        changed = (one for one in response.machines if fleet.machines.get(one.machine_id) != one)
        found += [("machine", as_json(machine)) for machine in changed]
        found += [("left_machine_id", machine_id) for machine_id in left_machines(said, fleet)]
        for key, value in found:
            sys.stdout.write(json.dumps({"at": at, key: value}, ensure_ascii=False) + "\n")
        sys.stdout.flush()

    def show(self, fleet: WatchedFleet, *, lost: str) -> None:
        del fleet
        if lost and not self._lost:
            click.echo(harmless_line(lost), err=True)
        self._lost = lost


def as_json(message: Message) -> object:
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(message, preserving_proto_field_name=True)


def left_machines(said: Said, fleet: WatchedFleet) -> list[str]:
    """Ids of machines that were known and are not watched any more."""
    gone = set(said.response.left_machine_ids)
    if said.is_first:
        gone |= fleet.machines.keys() - {one.machine_id for one in said.response.machines}
    return sorted(gone & fleet.machines.keys())
