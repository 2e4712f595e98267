"""The fleet on a terminal: one screen, drawn anew in place; what it showed last stays behind."""

from __future__ import annotations

import contextlib
import datetime as dt
import signal
from typing import TYPE_CHECKING

from rich.live import Live

from llmenv_cli.render.fleet.watch import Screen
from llmenv_cli.watched_fleet import WatchedFleet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv.catalog.texts import Texts
    from rich.console import Console, RenderableType

    from llmenv_cli.watched_fleet import Said


class LiveScreen:
    """On the terminal's other screen, so that nothing is pushed out of the one that people scroll back."""

    def __init__(self, console: Console, texts: Texts, *, address: str) -> None:
        self._console = console
        self._screen = Screen(texts, address=address)
        # Drawn when something is known or a second has passed, never by a thread of its own.
        self._live = Live(console=console, screen=True, auto_refresh=False)
        self._shown: tuple[WatchedFleet, str] = WatchedFleet(), ""

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        # Whoever is told to end must not leave the terminal on its other screen.
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            with self._live:
                yield
        finally:
            signal.signal(signal.SIGTERM, before)
            self._console.print(self._frame(*self._shown))

    def said(self, said: Said, fleet: WatchedFleet) -> None:
        """It shows how things are."""

    def show(self, fleet: WatchedFleet, *, lost: str) -> None:
        self._shown = fleet, lost
        self._live.update(self._frame(fleet, lost), refresh=True)

    def _frame(self, fleet: WatchedFleet, lost: str) -> RenderableType:
        now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
        return self._screen.frame(fleet, now=now, lost=lost, height=self._console.height)
